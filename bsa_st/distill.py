"""Distillation: train a BSA head against a frozen dense encoder."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from transformers import TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from bsa_st.atomic import atomic_file
from bsa_st.cache import cached_embeddings
from bsa_st.cachedrows import CachedRows, Student
from bsa_st.encoding import rebuild
from bsa_st.errors import BSAError
from bsa_st.hardware import hardware_name
from bsa_st.losses import BSALoss
from bsa_st.module import BinarySparsityAlignment
from bsa_st.monitor import HeadEvaluator, code_statistics
from bsa_st.precision import has_fast_bfloat16
from bsa_st.settings import DistillSettings
from bsa_st.texts import Texts, read_texts

INITIAL_SAMPLE = 8192
FIRING_SAMPLE = 20_000
FINAL_SAMPLE = 100_000
FINITE_ROWS = 1 << 16


def distill(
    teacher: SentenceTransformer | str | Path,
    texts: Texts | np.ndarray,
    *,
    settings: DistillSettings | None = None,
    text_column: str = "text",
    cache_dir: str | Path | None = None,
    precision: str = "auto",
    checkpoint_dir: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    training_args: dict[str, Any] | None = None,
    show_progress_bar: bool = True,
    **overrides: Any,
) -> SentenceTransformer:
    """Train a :class:`~bsa_st.module.BinarySparsityAlignment` head on texts and put it behind the frozen teacher.

    The texts are embedded once into a cache on disk; the head is then trained from the cache by
    :class:`sentence_transformers.SentenceTransformerTrainer`.

    Args:
        teacher: A model, its name on the Hub or its folder. It is not changed.
        texts: Texts in any form that :func:`bsa_st.texts.read_texts` takes; or their dense embeddings, as a float array (n, d) or
            the path of an .npy file.
        settings: Training settings; single ones can be given as keyword arguments instead, e.g. ``k=64``.
        text_column: Field that holds the text in .jsonl, .parquet and datasets.
        cache_dir: Folder of the embedding cache; default ``$BSA_ST_CACHE`` or ``~/.cache/bsa_st``.
        precision: Number format for caching: ``"auto"``, ``"float32"`` or ``"bfloat16"`` (:mod:`bsa_st.precision`).
        checkpoint_dir: Folder for the trainer's checkpoints; if it holds one, training resumes from it. Default: none are kept.
        callbacks: Additional trainer callbacks.
        training_args: Overrides for :class:`sentence_transformers.SentenceTransformerTrainingArguments`.
        show_progress_bar: Show progress of encoding and training.
        **overrides: Fields of :class:`~bsa_st.settings.DistillSettings`.

    Returns:
        The teacher's modules followed by the trained head, in evaluation mode. ``model[-1].report`` tells the settings, seconds
        and figures of the training.

    Raises:
        BSAError: If the teacher or the texts cannot be used, or a setting is out of range.

    Source: "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations".
    """
    settings = dataclasses.replace(settings or DistillSettings(), **overrides)
    model = load_teacher(teacher)
    width = model.get_embedding_dimension()
    started = time.perf_counter()
    embeddings = ready_embeddings(texts)
    if embeddings is None:
        embeddings = cached_embeddings(
            model,
            read_texts(texts, text_column),
            cache_dir=cache_dir,
            precision=precision,
            show_progress_bar=show_progress_bar,
        )
    if embeddings.shape[1] != width:
        raise BSAError(f"the embeddings have width {embeddings.shape[1]}, the teacher gives {width}")
    encoded = time.perf_counter()
    head = train_head(
        embeddings,
        settings,
        device=model.device,
        checkpoint_dir=checkpoint_dir,
        callbacks=callbacks,
        training_args=training_args,
        show_progress_bar=show_progress_bar,
    )
    head.report["seconds_encoding"] = round(encoded - started, 1)
    return rebuild(model, [*model, head])


def train_head(
    embeddings: np.ndarray,
    settings: DistillSettings,
    *,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    training_args: dict[str, Any] | None = None,
    show_progress_bar: bool = True,
) -> BinarySparsityAlignment:
    """Train a head from dense embeddings, float (n, d); see :func:`distill` for the other arguments.

    Training runs on embeddings of about unit length, so that learning rates mean the same for every encoder; the head is
    scaled back afterwards.

    Raises:
        BSAError: If a row holds NaN or infinite values, or ``checkpoint_dir`` holds checkpoints of other settings.
    """
    started = time.perf_counter()
    _check_finite(embeddings)
    checkpoint = _checkpoint(checkpoint_dir, settings)
    set_seed(settings.seed)
    train_rows, held_out_rows = _split(len(embeddings), settings)
    sample = np.array(embeddings[train_rows[:FINAL_SAMPLE]], dtype=np.float32)
    held_out = np.array(embeddings[held_out_rows], dtype=np.float32)
    unit = 2.0 ** round(math.log2(max(float(np.linalg.norm(sample, axis=1).mean()), 1e-30)))
    sample, held_out = sample / unit, held_out / unit
    head = BinarySparsityAlignment(embeddings.shape[1], settings.hidden_dim, settings.k, settings.selection)
    head.initialise(torch.from_numpy(sample[:INITIAL_SAMPLE]))
    student = Student(
        modules=[CachedRows(embeddings, unit, settings.noise), head],
        device=str(device),
        model_card_data=SentenceTransformerModelCardData(generate_widget_examples=False),
    )
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _training_arguments(settings, checkpoint_dir, scratch, torch.device(device), show_progress_bar)
        trainer = SentenceTransformerTrainer(
            model=student,
            args=SentenceTransformerTrainingArguments(**{**arguments, **(training_args or {})}),
            train_dataset=Dataset.from_dict({"row": np.sort(train_rows)}),
            loss=BSALoss(student, settings.alignment_weight),
            evaluator=HeadEvaluator(held_out, sample[:FIRING_SAMPLE]),
            callbacks=list(callbacks),
        )
        trainer.remove_callback(trainer.model_card_callback_class)  # it would run the student on widget texts
        if not show_progress_bar:
            trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=checkpoint)
    head.eval()
    head.rescale(unit)
    sample, held_out = sample * unit, held_out * unit
    head.calibrate(torch.from_numpy(sample).to(head.weight.device))
    figures = code_statistics(head, held_out)
    rates = code_statistics(head, sample)
    figures.update({name: rates[name] for name in ("never_fired", "highest_rate")})
    head.report = {
        "settings": dataclasses.asdict(settings),
        "texts": len(embeddings),
        "texts_held_out": len(held_out),
        "seconds_training": round(time.perf_counter() - started, 1),
        "hardware": hardware_name(device),
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }
    return head


def load_teacher(teacher: SentenceTransformer | str | Path) -> SentenceTransformer:
    """The teacher as a model; a name or folder that cannot be loaded raises :class:`BSAError`."""
    if isinstance(teacher, SentenceTransformer):
        return teacher
    name = str(teacher)
    if (name.startswith((".", "/", "~")) or isinstance(teacher, Path)) and not Path(name).expanduser().is_dir():
        raise BSAError(f"teacher model folder not found: {name}")
    try:
        if Path(name).expanduser().is_dir():
            return SentenceTransformer(str(Path(name).expanduser()))
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise BSAError(f"cannot load the teacher model {name!r}: {str(error).splitlines()[0]}") from error
    model.model_card_data.base_model = model.model_card_data.base_model or name
    return model


def ready_embeddings(texts: Texts | np.ndarray) -> np.ndarray | None:
    """The array where ``texts`` already is, or names, an array of dense embeddings; else ``None``."""
    if isinstance(texts, (str, Path)) and str(texts).endswith(".npy"):
        try:
            texts = np.load(texts, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BSAError(f"cannot read embeddings from {texts}: {error}") from error
    if not isinstance(texts, np.ndarray) or texts.dtype.kind in "UO":
        return None
    if texts.ndim != 2 or len(texts) == 0 or texts.dtype.kind != "f":
        raise BSAError(f"embeddings must be a float array (n, d) with n > 0, got {texts.dtype} {texts.shape}")
    return texts


def _check_finite(embeddings: np.ndarray) -> None:
    for start in range(0, len(embeddings), FINITE_ROWS):
        rows = np.isfinite(embeddings[start : start + FINITE_ROWS]).all(axis=1)
        if not rows.all():
            raise BSAError(f"the embeddings hold NaN or infinite values, first in row {start + int(rows.argmin()) + 1}")


def _checkpoint(folder: str | Path | None, settings: DistillSettings) -> str | None:
    """The last checkpoint in a folder, which from now on belongs to these settings."""
    if folder is None:
        return None
    owner = Path(folder) / "settings.json"
    mine = dataclasses.asdict(settings)
    try:
        if owner.is_file():
            if json.loads(owner.read_text()) != mine:
                raise BSAError(f"{folder} holds checkpoints of other settings ({owner}); choose another folder")
        else:
            owner.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(owner) as file:
                file.write(json.dumps(mine, indent=2).encode())
    except (OSError, json.JSONDecodeError) as error:
        raise BSAError(f"cannot use the checkpoint folder {folder}: {error}") from error
    return get_last_checkpoint(str(folder))


def _split(rows: int, settings: DistillSettings) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and held out, both shuffled."""
    if rows < 2:
        raise BSAError(f"training needs at least 2 texts, got {rows}")
    order = np.random.default_rng(settings.seed).permutation(rows)
    held_out = min(5000, max(1, round(rows * settings.held_out)))
    return order[held_out:], order[:held_out]


def _training_arguments(
    settings: DistillSettings, checkpoint_dir: str | Path | None, scratch: str, device: torch.device, bar: bool
) -> dict[str, Any]:
    return {
        "output_dir": str(checkpoint_dir or scratch),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "dataloader_drop_last": False,
        "learning_rate": settings.learning_rate,
        "warmup_steps": max(1, round(settings.steps * 0.05)),
        "weight_decay": 0.0,
        "bf16": has_fast_bfloat16(device),
        "use_cpu": device.type == "cpu",
        "eval_strategy": "steps",
        "eval_steps": settings.eval_steps,
        "logging_steps": min(100, settings.steps),
        "save_strategy": "steps" if checkpoint_dir else "no",
        "save_steps": settings.eval_steps,
        "save_total_limit": 2,
        "report_to": "none",
        "seed": settings.seed,
        "disable_tqdm": not bar,
    }
