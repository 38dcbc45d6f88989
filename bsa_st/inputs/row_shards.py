"""Embeddings in several files, each a memory map, as one matrix; and a cache of them that several processes fill together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.inputs.distributed import join, wait_for_all
from bsa_st.inputs.embeddings import cached_embeddings, finished_embeddings

SHARD_ROWS = 1 << 20
"""Texts per entry of the cache."""


class RowShards:
    """Matrices below each other, read where they are: what training needs of an array (n, d), and no more.

    Args:
        parts: float (n_i, d) each, at least one; usually memory maps.

    Raises:
        BSAError: If they differ in width.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) != 1:
            raise BSAError(f"shards of embeddings must have one width, got {', '.join(map(str, widths))}")
        self._parts = list(parts)
        self._starts = np.cumsum([0, *map(len, parts)])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.ndim = 2
        self.shape = (int(self._starts[-1]), widths[0])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Rows of a slice, or by position in any order, int (m,): (m, d), read from the shards they are in."""
        rows = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must lie between 0 and {len(self) - 1}, got {rows.min()} to {rows.max()}")
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        for number in np.unique(owners):
            mine = owners == number
            found[mine] = self._parts[number][rows[mine] - self._starts[number]]
        return found


Embeddings = np.ndarray | RowShards


def cached_together(encoder: SentenceTransformer, texts: list[str], **options: Any) -> Embeddings:
    """:func:`bsa_st.inputs.embeddings.cached_embeddings` in entries of a million texts, which the launched processes compute in turns."""
    parts = [texts[start : start + SHARD_ROWS] for start in range(0, len(texts), SHARD_ROWS)]
    rank, processes = join()
    for part in parts[rank::processes]:
        cached_embeddings(encoder, part, **options)
    wait_for_all()
    shards = [cached_embeddings(encoder, part, **options) for part in parts]
    return shards[0] if len(shards) == 1 else RowShards(shards)


def finished_together(encoder: SentenceTransformer, texts: Iterable[str], **options: Any) -> Embeddings | None:
    """What :func:`cached_together` once computed for these texts, or ``None``; a million texts are in memory at a time."""
    shards = []
    stream = iter(texts)
    while part := list(islice(stream, SHARD_ROWS)):
        rows = finished_embeddings(encoder, part, **options)
        if rows is None:
            return None
        shards.append(rows)
    return shards[0] if len(shards) == 1 else RowShards(shards) if shards else None


def open_rows(path: str | Path) -> np.ndarray:
    """Embeddings in an ``.npy`` file, memory-mapped: float (n, d).

    Raises:
        BSAError: If it cannot be read or holds something else.
    """
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BSAError(f"cannot read embeddings from {path}: {error}") from error
    return check_rows(rows, f"{path}: ")


def check_rows(rows: np.ndarray, where: str = "") -> np.ndarray:
    """The array itself, if it is one of embeddings: float (n, d), n > 0; else raises :class:`BSAError`, which ``where`` begins."""
    if rows.ndim != 2 or len(rows) == 0 or rows.dtype.kind != "f":
        raise BSAError(f"{where}embeddings must be a float array (n, d) with n > 0, got {rows.dtype} {rows.shape}")
    return rows


def read_row_shards(folder: Path) -> RowShards:
    """All ``.npy`` files of a folder, in the order of their names, memory-mapped.

    Raises:
        BSAError: If there is none, one cannot be read, or they do not fit together.
    """
    parts = [open_rows(path) for path in sorted(folder.glob("*.npy"))]
    if not parts:
        raise BSAError(f"{folder}: no .npy file in the folder")
    return RowShards(parts)
