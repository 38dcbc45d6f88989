"""Binary codes of many texts, as packed bits or as lists of active feature ids. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bsa_st.atomic import atomic_file
from bsa_st.codes import file
from bsa_st.errors import BSAError

BLOCK_CELLS = 1 << 25  # bits that a conversion unpacks at a time: 32 MB


class BinaryCodes:
    """The codes of ``n`` texts over ``hidden_dim`` features.

    They are held as they were made: as packed bits (compact codes; ``hidden_dim / 8`` bytes per text) or as active feature ids in CSR form
    (sparse codes; 2 bytes per active feature). The other form is made when it is asked for, and kept.

    Args:
        ids: Active features of all texts, text after text, integer (nnz,); ascending within a text.
        indptr: Where each text's ids start, integer (n + 1,), from 0 to nnz.
        hidden_dim: Number D of features.

    Raises:
        BSAError: If the arrays do not form valid codes.

    Example: ``bsa_st.BinaryCodes([0, 5, 3], [0, 2, 3], hidden_dim=8).to_packed()``
    """

    def __init__(self, ids: npt.ArrayLike, indptr: npt.ArrayLike, hidden_dim: int) -> None:
        ids, indptr = np.asarray(ids), np.asarray(indptr)
        if hidden_dim < 1:
            raise BSAError(f"hidden_dim must be at least 1, got {hidden_dim}")
        if ids.ndim != 1 or indptr.ndim != 1 or len(indptr) < 1:
            raise BSAError(f"ids and indptr must be one-dimensional, got shapes {ids.shape} and {indptr.shape}")
        if len(ids) and not np.issubdtype(ids.dtype, np.integer):
            raise BSAError(f"ids must be integers, got {ids.dtype}")
        if indptr[0] != 0 or indptr[-1] != len(ids) or (indptr[1:] < indptr[:-1]).any():
            raise BSAError(f"indptr must rise from 0 to the number of ids, {len(ids)}")
        if len(ids) and (ids.max() >= hidden_dim or ids.min() < 0):
            raise BSAError(f"feature id {ids.max()} does not fit hidden_dim = {hidden_dim}")
        rises, starts = ids[1:] > ids[:-1], indptr[1:-1]
        rises[starts[(starts > 0) & (starts < len(ids))] - 1] = True
        if not rises.all():
            raise BSAError("the ids of a text must be ascending and distinct")
        self.hidden_dim = int(hidden_dim)
        self._ids: np.ndarray | None = np.ascontiguousarray(ids, dtype=id_dtype(hidden_dim))
        self._indptr: np.ndarray | None = np.ascontiguousarray(indptr, dtype=np.int64)
        self._packed: np.ndarray | None = None
        self.is_packed = False  # whether the codes were made as packed bits

    @classmethod
    def from_packed(cls, packed: npt.ArrayLike, hidden_dim: int | None = None) -> BinaryCodes:
        """Codes of packed bits as ``encode(precision="ubinary")`` gives them, uint8 (n, ceil(D / 8)); the array is not copied."""
        array = np.asarray(packed)
        if array.ndim != 2 or array.dtype != np.uint8:
            raise BSAError(f"packed codes must be uint8 of shape (n, bytes), got {array.dtype} {array.shape}")
        hidden_dim = array.shape[1] * 8 if hidden_dim is None else int(hidden_dim)
        spare = array.shape[1] * 8 - hidden_dim
        if hidden_dim < 1 or not 0 <= spare < 8:
            raise BSAError(f"{array.shape[1]} bytes per text cannot hold exactly {hidden_dim} features")
        if spare and (array[:, -1] & ((1 << spare) - 1)).any():
            raise BSAError(f"packed codes have a bit set beyond feature {hidden_dim - 1}")
        codes = cls.__new__(cls)
        codes.hidden_dim = hidden_dim
        codes._packed, codes._ids, codes._indptr = np.ascontiguousarray(array), None, None
        codes.is_packed = True
        return codes

    @classmethod
    def from_dense(cls, dense: Any) -> BinaryCodes:
        """Codes of a dense 0/1 matrix (numpy or torch), shape (n, D), in the smaller form; anything but 0 and 1 raises :class:`BSAError`."""
        array = dense.detach().cpu().numpy() if hasattr(dense, "detach") else np.asarray(dense)
        if array.ndim != 2:
            raise BSAError(f"dense codes must have shape (n, hidden_dim), got {array.shape}")
        active = array != 0
        if not np.array_equal(active, array):
            raise BSAError("dense codes must hold only 0 and 1")
        return cls.from_packed(np.packbits(active, axis=1), array.shape[1])._smaller()

    def to_scipy(self) -> sparse.csr_matrix:
        """scipy CSR matrix, float32 (n, D)."""
        values = np.ones(len(self.ids), dtype=np.float32)
        return sparse.csr_matrix((values, self.ids.astype(np.int32), self.indptr), shape=(len(self), self.hidden_dim))

    def to_dense(self) -> np.ndarray:
        """float32 (n, D) in {0.0, 1.0}; takes 4 D bytes per text."""
        if self.is_packed:
            return np.unpackbits(self.to_packed(), axis=1, count=self.hidden_dim).astype(np.float32)
        dense = np.zeros((len(self), self.hidden_dim), dtype=np.float32)
        dense[np.repeat(np.arange(len(self)), self.counts), self.ids] = 1
        return dense

    def to_packed(self) -> np.ndarray:
        """uint8 (n, ceil(D / 8)), the layout of ``encode(precision="ubinary")``; not a copy, where the codes are held so."""
        if self._packed is None:
            width = -(-self.hidden_dim // 8)
            packed = np.empty((len(self), width), dtype=np.uint8)
            step = max(1, BLOCK_CELLS // (8 * width))
            for start in range(0, len(packed), step):
                starts = self.indptr[start : start + step + 1]
                bits = np.zeros((len(starts) - 1) * width * 8, dtype=bool)
                rows = np.repeat(np.arange(len(starts) - 1) * (8 * width), np.diff(starts))
                bits[rows + self.ids[starts[0] : starts[-1]]] = True
                packed[start : start + step] = np.packbits(bits).reshape(-1, width)
            self._packed = packed
        return self._packed

    @property
    def ids(self) -> np.ndarray:
        """Active features of all texts, text after text: uint16 (nnz,) for D up to 65,536, else uint32."""
        if self._ids is None:
            packed, dtype = self.to_packed(), id_dtype(self.hidden_dim)
            width, parts = 8 * packed.shape[1], [np.zeros(0, dtype)]
            step = max(1, BLOCK_CELLS // width)
            for start in range(0, len(packed), step):
                bits = np.unpackbits(packed[start : start + step]).view(bool)
                parts.append((np.flatnonzero(bits) % width).astype(dtype))
            self._ids = np.concatenate(parts)
        return self._ids

    @property
    def indptr(self) -> np.ndarray:
        """Where each text's ids start: int64 (n + 1,)."""
        if self._indptr is None:
            self._indptr = _indptr(self.counts)
        return self._indptr

    @property
    def counts(self) -> np.ndarray:
        """Active features of each text, int64 (n,)."""
        if self._indptr is not None:
            return np.diff(self._indptr)
        return np.bitwise_count(self.to_packed()).sum(axis=1, dtype=np.int64)

    def save(self, path: str | Path) -> None:
        """Write the compressed, checksummed file format of :mod:`bsa_st.codes.file`, atomically."""
        with atomic_file(Path(path)) as opened:
            opened.writelines(file.encoded(self))

    @classmethod
    def load(cls, path: str | Path) -> BinaryCodes:
        """Read a file written by :meth:`save`; a damaged or foreign file raises :class:`BSAError`."""
        return file.read(cls, Path(path))

    def __len__(self) -> int:
        return len(self._packed) if self._packed is not None else len(self.indptr) - 1

    def __getitem__(self, key: int | slice | list[int] | np.ndarray) -> BinaryCodes:
        """Some of the texts, as codes again: an int, a slice, an array of positions or a boolean mask."""
        if not isinstance(key, slice):
            key = np.atleast_1d(key)
            key = key if len(key) else key.astype(np.int64)
        if self.is_packed:
            return BinaryCodes.from_packed(self.to_packed()[key], self.hidden_dim)
        rows = np.arange(len(self))[key]
        starts, counts = self.indptr[rows], self.counts[rows]
        indptr = _indptr(counts)
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            ids = self.ids[starts[0] : starts[0] + indptr[-1]]
        else:
            ids = self.ids[np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])]
        return BinaryCodes(ids, indptr, self.hidden_dim)

    @classmethod
    def concatenate(cls, parts: Iterable[BinaryCodes]) -> BinaryCodes:
        """One set of codes from several of the same ``hidden_dim``, in their form or, where they differ, the smaller one."""
        parts = list(parts)
        dims = {part.hidden_dim for part in parts}
        if len(dims) != 1:
            raise BSAError(f"codes to concatenate must share one hidden_dim, got {sorted(dims) or 'no codes'}")
        if all(part.is_packed for part in parts):
            return cls.from_packed(np.concatenate([part.to_packed() for part in parts]), dims.pop())
        ids, counts = np.concatenate([part.ids for part in parts]), np.concatenate([part.counts for part in parts])
        whole = cls(ids, _indptr(counts), dims.pop())
        return whole._smaller() if any(part.is_packed for part in parts) else whole

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinaryCodes):
            return NotImplemented
        if (self.hidden_dim, len(self)) != (other.hidden_dim, len(other)):
            return False
        if self.is_packed or other.is_packed:
            return np.array_equal(self.to_packed(), other.to_packed())
        return np.array_equal(self.indptr, other.indptr) and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]  # mutable arrays, compared by value

    def __repr__(self) -> str:
        mean = self.counts.sum() / max(1, len(self))
        return f"BinaryCodes({len(self)} texts, hidden_dim={self.hidden_dim}, {mean:.1f} active features per text)"

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed form: what :meth:`save` writes, measured by encoding."""
        return len(file.encode(self))

    def nbytes_as(self, form: Literal["ids", "packed"]) -> int:
        """Bytes of all texts as plain ids and a 4-byte offset per text, or as one bit per feature."""
        if form == "packed":
            return len(self) * -(-self.hidden_dim // 8)
        return int(self.counts.sum()) * np.dtype(id_dtype(self.hidden_dim)).itemsize + 4 * len(self)

    def _smaller(self) -> BinaryCodes:
        """The same codes, held in the form that takes less memory."""
        if self.nbytes_as("packed") <= self.nbytes_as("ids") + 4 * len(self):
            return self if self.is_packed else BinaryCodes.from_packed(self.to_packed(), self.hidden_dim)
        return BinaryCodes(self.ids, self.indptr, self.hidden_dim) if self.is_packed else self


def id_dtype(hidden_dim: int) -> type[np.uint16] | type[np.uint32]:
    """Smallest unsigned type that holds every feature id."""
    return np.uint16 if hidden_dim <= 1 << 16 else np.uint32


def _indptr(counts: np.ndarray) -> np.ndarray:
    indptr = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr
