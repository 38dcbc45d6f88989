"""Distillation: train a BSA head against a frozen dense encoder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from bsa_st.encoding.encode import put_behind
from bsa_st.errors import BSAError
from bsa_st.head.settings import DistillSettings
from bsa_st.inputs.distributed import join
from bsa_st.inputs.prompts import document_prompt, under_prompt
from bsa_st.inputs.row_shards import cached_together, precomputed
from bsa_st.inputs.texts import Texts, read_texts
from bsa_st.training.trainer import train_head


def distill(
    teacher: SentenceTransformer | str | Path,
    texts: Texts | np.ndarray,
    *,
    code_bytes: int | None = None,
    settings: DistillSettings | None = None,
    text_column: str = "text",
    prompt_name: str | None = None,
    cache_dir: str | Path | None = None,
    precision: str = "auto",
    checkpoint_dir: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    training_args: dict[str, Any] | None = None,
    show_progress_bar: bool = True,
    **overrides: Any,
) -> SentenceTransformer:
    """Train a :class:`~bsa_st.head.layer.BinarySparsityAlignment` head on texts and put it behind the frozen teacher.

    The texts are embedded once into a cache on disk; the head is then trained from the cache by
    :class:`sentence_transformers.SentenceTransformerTrainer`. Launched by ``torchrun`` or ``accelerate launch``, all processes train one head.

    Args:
        teacher: A model, its name on the Hub or its folder. It is not changed.
        texts: Texts in any form that :func:`bsa_st.inputs.texts.read_texts` takes; or their dense embeddings, as a float array (n, d) or
            the ``Path`` of an .npy file or of a folder of such files, which are read in the order of their names.
        code_bytes: Bytes of a code: a compact head of ``8 code_bytes`` features, half of them active. Default: a sparse head, whose sizes are
            ``hidden_dim`` and ``k``.
        settings: Training settings; single ones can be given as keyword arguments instead, e.g. ``k=64``.
        text_column: Field that holds the text in .jsonl, .parquet and datasets.
        prompt_name: Name of one of the teacher's prompts, put before every text; default the one for documents, if it has one. It is
            not kept: name another one again where texts are encoded.
        cache_dir: Folder of the embedding cache; default ``$BSA_ST_CACHE`` or ``~/.cache/bsa_st``.
        precision: Number format for caching: ``"auto"``, ``"float32"`` or ``"bfloat16"`` (:mod:`bsa_st.inputs.embed`).
        checkpoint_dir: Folder for the trainer's checkpoints; if it holds one, training resumes from it. Default: none are kept.
        callbacks: Additional trainer callbacks.
        training_args: Overrides for :class:`sentence_transformers.SentenceTransformerTrainingArguments`.
        show_progress_bar: Show progress of encoding and training.
        **overrides: Fields of :class:`~bsa_st.head.settings.DistillSettings`.

    Returns:
        The teacher's modules, ``Normalize`` unless they end in one, and the trained head, in evaluation mode. ``model[-1].report`` tells the settings, seconds
        and figures of the training.

    Raises:
        BSAError: If the teacher or the texts cannot be used, or a setting is out of range.

    Source: "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations".

    Example: ``model = bsa_st.distill(encoder, texts, code_bytes=16)``
    """
    if code_bytes is not None and settings is not None:
        raise BSAError("give settings or code_bytes, not both")
    if code_bytes is not None:
        settings = DistillSettings.of_bytes(code_bytes, **overrides)
    else:
        settings = dataclasses.replace(settings, **overrides) if settings else DistillSettings(**overrides)
    if isinstance(texts, str):
        raise BSAError(f"a head is not trained on one text, got the str {texts[:60]!r}; a file is a pathlib.Path")
    show_progress_bar = show_progress_bar and join()[0] == 0
    model = load_teacher(teacher)
    prompted = under_prompt(model, document_prompt(model, prompt_name))
    started = time.perf_counter()
    embeddings = precomputed(texts)
    if embeddings is None:
        options: dict[str, Any] = {"cache_dir": cache_dir, "precision": precision, "show_progress_bar": show_progress_bar}
        embeddings = cached_together(prompted, read_texts(texts, text_column), **options)
    elif prompt_name is not None:
        raise BSAError(f"prompt_name {prompt_name!r} needs texts: these embeddings are made already")
    if embeddings.shape[1] != model.get_embedding_dimension():
        raise BSAError(f"the embeddings have width {embeddings.shape[1]}, the teacher gives {model.get_embedding_dimension()}")
    seconds_encoding = round(time.perf_counter() - started, 1)
    head = train_head(
        embeddings,
        settings,
        device=model.device,
        checkpoint_dir=checkpoint_dir,
        callbacks=callbacks,
        training_args=training_args,
        show_progress_bar=show_progress_bar,
    )
    head.report["seconds_encoding"] = seconds_encoding
    return put_behind(model, head)


def load_teacher(teacher: SentenceTransformer | str | Path) -> SentenceTransformer:
    """The teacher as a model; a name or folder that cannot be loaded raises :class:`BSAError`."""
    if isinstance(teacher, SentenceTransformer):
        return teacher
    name, folder = str(teacher), Path(teacher).expanduser()
    if (name.startswith((".", "/", "~")) or isinstance(teacher, Path)) and not folder.is_dir():
        raise BSAError(f"teacher model folder not found: {name}")
    try:
        model = SentenceTransformer(str(folder) if folder.is_dir() else name)
    except (OSError, ValueError) as error:
        raise BSAError(f"cannot load the teacher model {name!r}: {str(error).splitlines()[0]}") from error
    if not folder.is_dir():
        model.model_card_data.base_model = model.model_card_data.base_model or name
    return model
