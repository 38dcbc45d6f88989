"""Embeddings in several files, each a memory map, as one matrix; and a cache of them that several processes fill together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.inputs.distributed import join, wait_for_all
from bsa_st.inputs.embeddings import cached_embeddings

SHARD_ROWS = 1 << 20  # texts per entry of the cache


class RowShards:
    """Matrices below each other, float (n_i, d), at least one, usually memory maps, read where they are: what training needs of an array (n, d), and no
    more. Raises :class:`BSAError` if they differ in width."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) != 1:
            raise BSAError(f"shards of embeddings must have one width, got {', '.join(map(str, widths))}")
        self._parts = list(parts)
        self._starts = np.cumsum([0, *map(len, parts)])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.shape = (int(self._starts[-1]), widths[0])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Rows of a slice, or by position in any order, int (m,): (m, d), read from the shards they are in."""
        rows = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        for number in np.unique(owners):
            mine = owners == number
            found[mine] = self._parts[number][rows[mine] - self._starts[number]]
        return found


Embeddings = np.ndarray | RowShards


def cached_together(
    encoder: SentenceTransformer, texts: list[str], *, shard_rows: int = SHARD_ROWS, **options: Any
) -> Embeddings:
    """:func:`bsa_st.inputs.embeddings.cached_embeddings` in entries of a million texts, which the launched processes compute in turns."""
    parts = [texts[start : start + shard_rows] for start in range(0, len(texts), shard_rows)]
    rank, processes = join()
    for part in parts[rank::processes]:
        cached_embeddings(encoder, part, **options)
    wait_for_all()
    shards = [cached_embeddings(encoder, part, **options) for part in parts]
    return shards[0] if len(shards) == 1 else RowShards(shards)


def precomputed(source: Any) -> Embeddings | None:
    """The embeddings that ``source`` is or names, or ``None`` where it is, or names, texts.

    It may be a float array (n, d), n > 0; the ``Path`` of an ``.npy`` file or of a folder of them, which are memory-mapped and read in the order of their
    names. Raises :class:`BSAError` if a file cannot be read or holds something else, or a folder holds none or such that do not fit together.
    """
    if isinstance(source, np.ndarray) and source.dtype.kind not in "UO":
        return _checked(source, "")
    if not isinstance(source, Path) or (source.suffix != ".npy" and not source.is_dir()):
        return None
    parts = [_open(path) for path in (sorted(source.glob("*.npy")) if source.is_dir() else [source])]
    if not parts:
        raise BSAError(f"{source}: no .npy file in the folder")
    return parts[0] if len(parts) == 1 else RowShards(parts)


def _open(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BSAError(f"cannot read embeddings from {path}: {error}") from error
    return _checked(rows, f"{path}: ")


def _checked(rows: np.ndarray, where: str) -> np.ndarray:
    if rows.ndim != 2 or len(rows) == 0 or rows.dtype.kind != "f":
        raise BSAError(f"{where}embeddings must be a float array (n, d) with n > 0, got {rows.dtype} {rows.shape}")
    return rows
