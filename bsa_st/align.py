"""A new encoder in front of an old dictionary, so that stored codes stay searchable after a model upgrade.

Old codes can be decoded only into the old encoder's space. An orthogonal map, fitted to a few thousand texts that both encoders
embed, takes the new encoder's embeddings there; no stored text is encoded again, and most of them need not even be at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from torch import nn

from bsa_st.cache import cached_embeddings
from bsa_st.distill import load_teacher
from bsa_st.encoding import put_behind, rebuild, split_model
from bsa_st.errors import BSAError
from bsa_st.module import BinarySparsityAlignment
from bsa_st.texts import Texts, read_texts


def align(
    new: SentenceTransformer | str | Path,
    old: SentenceTransformer,
    texts: Texts,
    *,
    text_column: str = "text",
    cache_dir: str | Path | None = None,
    show_progress_bar: bool = True,
) -> SentenceTransformer:
    """A model whose queries, embedded by the new encoder, search the codes that the old model has stored.

    Search with float queries (``asymmetric``, or the index's ``two-stage``). This is a bridge, not a replacement: how good it is depends
    on how alike the two spaces are. For the unlike encoders measured in ``evaluation/PAPER.md`` it ranks far below encoding again, and
    below the old encoder's own queries: keep the old encoder for queries while it runs. A new head on
    the same encoder needs no alignment: keep the old head for the old codes.

    Args:
        new: The new encoder, its name or its folder; of a BSA model the head is left out. It is not changed.
        old: The BSA model that encoded the stored texts. It is not changed.
        texts: A few thousand texts like those searched, in any form that :func:`bsa_st.texts.read_texts` takes; at least as many
            as the narrower encoder has dimensions. Both encoders embed them, once.
        text_column: Field that holds the text in .jsonl, .parquet and datasets.
        cache_dir: Folder of the embedding cache; default ``$BSA_ST_CACHE`` or ``~/.cache/bsa_st``.
        show_progress_bar: Show progress of encoding.

    Returns:
        The new encoder, the orthogonal map as a stock ``Dense``, and the old head: a BSA model to search, to save and to push.

    Raises:
        BSAError: If ``old`` has no BSA head, ``new`` cannot be loaded, or there are too few texts.

    Source: P. Schönemann, "A generalized solution of the orthogonal Procrustes problem" (1966).
    """
    old_encoder, head = split_model(old)
    encoder = load_teacher(new)
    if isinstance(encoder[-1], BinarySparsityAlignment):
        encoder, _ = split_model(encoder)
    lines = read_texts(texts, text_column)
    left, right = (
        np.asarray(cached_embeddings(one, lines, cache_dir=cache_dir, show_progress_bar=show_progress_bar), dtype=np.float32)
        for one in (encoder, old_encoder)
    )
    mapping = orthogonal_map(left, right)
    rotation = Dense(
        len(mapping),
        mapping.shape[1],
        bias=False,
        activation_function=nn.Identity(),
        init_weight=torch.from_numpy(np.ascontiguousarray(mapping.T)),
    )
    return put_behind(rebuild(encoder, [*encoder, rotation.to(encoder.device)]), head)


def orthogonal_map(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The orthogonal map from one embedding space to another that fits pairs of embeddings best, keeping mean lengths.

    Between spaces of different width it is semi-orthogonal: the narrower space is turned within the wider one.

    Args:
        new: float (n, d_new), one row for each text; n at least the smaller width.
        old: float (n, d_old), rows of the same texts.

    Returns:
        float32 (d_new, d_old); ``new @ mapping`` approximates ``old``.

    Raises:
        BSAError: If the arrays are not paired, hold NaN or infinite values, or are too few rows to fix the map.
    """
    new, old = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if new.ndim != 2 or old.ndim != 2 or len(new) != len(old):
        raise BSAError(f"alignment needs embeddings (n, d) of the same texts on both sides, got {new.shape} and {old.shape}")
    narrow = min(new.shape[1], old.shape[1])
    if narrow == 0 or len(new) < narrow:
        raise BSAError(f"aligning {new.shape[1]} with {old.shape[1]} dimensions needs at least {narrow} texts, got {len(new)}")
    if not (np.isfinite(new).all() and np.isfinite(old).all()):
        raise BSAError("the embeddings hold NaN or infinite values")
    width = max(new.shape[1], old.shape[1])
    rotation, _ = orthogonal_procrustes(*(np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (new, old)))
    rotation = rotation[: new.shape[1], : old.shape[1]]
    length = np.linalg.norm(new @ rotation)
    if length == 0 or not old.any():
        raise BSAError("the embeddings are all zero")
    return np.asarray(rotation * (np.linalg.norm(old) / length), dtype=np.float32)
