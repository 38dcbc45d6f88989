"""Binary sparse codes as arrays: the active feature ids of many texts in CSR form. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import gammaln

from bsa_st import codefile
from bsa_st.errors import BSAError

if TYPE_CHECKING:
    import torch

Form = Literal["compressed", "ids", "packed", "memory"]


class BinaryCodes:
    """The codes of ``n`` texts over ``hidden_dim`` features, as active feature ids.

    Args:
        ids: Active features of all texts, text after text, integer (nnz,); ascending within a text.
        indptr: Where each text's ids start, integer (n + 1,), from 0 to nnz.
        hidden_dim: Number D of features.
        scale: Optional byte per text, uint8 (n,), for asymmetric scores
            (:func:`bsa_st.scoring.decode_scale`).

    Attributes:
        ids: uint16 (nnz,) for D up to 65,536, else uint32.
        indptr: int64 (n + 1,).

    Raises:
        BSAError: If the arrays do not form valid codes.
    """

    def __init__(self, ids: npt.ArrayLike, indptr: npt.ArrayLike, hidden_dim: int, scale: npt.ArrayLike | None = None) -> None:
        ids, indptr = np.asarray(ids), np.asarray(indptr)
        _check(ids, indptr, hidden_dim)
        self.ids = np.ascontiguousarray(ids, dtype=id_dtype(hidden_dim))
        self.indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        self.hidden_dim = int(hidden_dim)
        self.scale = None if scale is None else np.ascontiguousarray(scale, dtype=np.uint8)
        if self.scale is not None and self.scale.shape != (len(self),):
            raise BSAError(f"scale must hold one byte for each of the {len(self)} texts, got shape {self.scale.shape}")

    # -- from and to other forms ------------------------------------------------------------------------------------

    @classmethod
    def from_dense(cls, dense: Any) -> BinaryCodes:
        """Codes of a dense 0/1 matrix (numpy or torch), shape (n, D); anything but 0 and 1 raises :class:`BSAError`."""
        array = dense.detach().cpu().numpy() if hasattr(dense, "detach") else np.asarray(dense)
        if array.ndim != 2:
            raise BSAError(f"dense codes must have shape (n, hidden_dim), got {array.shape}")
        active = array != 0
        if not np.array_equal(active, array):
            raise BSAError("dense codes must hold only 0 and 1")
        return cls._from_mask(active)

    @classmethod
    def from_packed(cls, packed: npt.ArrayLike, hidden_dim: int | None = None) -> BinaryCodes:
        """Codes of packed bits as ``encode(precision="ubinary")`` gives them, uint8 (n, ceil(D / 8))."""
        array = np.asarray(packed)
        if array.ndim != 2 or array.dtype != np.uint8:
            raise BSAError(f"packed codes must be uint8 of shape (n, bytes), got {array.dtype} {array.shape}")
        hidden_dim = array.shape[1] * 8 if hidden_dim is None else hidden_dim
        if not 0 <= array.shape[1] * 8 - hidden_dim < 8:
            raise BSAError(f"{array.shape[1]} bytes per text cannot hold exactly {hidden_dim} features")
        bits = np.unpackbits(array, axis=1)
        if bits[:, hidden_dim:].any():
            raise BSAError(f"packed codes have a bit set beyond feature {hidden_dim - 1}")
        return cls._from_mask(bits[:, :hidden_dim].astype(bool))

    @classmethod
    def from_scipy(cls, matrix: Any) -> BinaryCodes:
        """Codes of a scipy sparse matrix (n, D) whose stored values are all 1."""
        csr = sparse.csr_matrix(matrix, copy=True)
        csr.eliminate_zeros()
        csr.sort_indices()
        if not np.all(csr.data == 1):
            raise BSAError("a sparse matrix of codes must hold only 0 and 1")
        return cls(csr.indices, csr.indptr, csr.shape[1])

    @classmethod
    def from_torch_sparse(cls, tensor: torch.Tensor) -> BinaryCodes:
        """Codes of a torch sparse tensor (COO or CSR), shape (n, D)."""
        coo = tensor.detach().cpu().to_sparse_coo().coalesce()
        rows, columns = coo.indices().numpy()
        return cls.from_scipy(sparse.coo_matrix((coo.values().float().numpy(), (rows, columns)), shape=tuple(coo.shape)))

    @classmethod
    def _from_mask(cls, active: np.ndarray) -> BinaryCodes:
        indptr = np.concatenate([[0], np.cumsum(active.sum(axis=1))])
        return cls(np.nonzero(active)[1], indptr, active.shape[1])

    def to_scipy(self) -> sparse.csr_matrix:
        """scipy CSR matrix, float32 (n, D)."""
        values = np.ones(len(self.ids), dtype=np.float32)
        return sparse.csr_matrix((values, self.ids.astype(np.int32), self.indptr), shape=(len(self), self.hidden_dim))

    def to_dense(self) -> np.ndarray:
        """float32 (n, D) in {0.0, 1.0}; takes 4 D bytes per text."""
        dense = np.zeros((len(self), self.hidden_dim), dtype=np.float32)
        dense[np.repeat(np.arange(len(self)), self.counts), self.ids] = 1
        return dense

    def to_packed(self) -> np.ndarray:
        """uint8 (n, ceil(D / 8)), the layout of ``encode(precision="ubinary")``."""
        packed = np.zeros((len(self), -(-self.hidden_dim // 8)), dtype=np.uint8)
        rows = np.repeat(np.arange(len(self)), self.counts)
        ids = self.ids.astype(np.int64)
        np.bitwise_or.at(packed, (rows, ids >> 3), (128 >> (ids & 7)).astype(np.uint8))
        return packed

    def to_torch_sparse(self) -> torch.Tensor:
        """torch sparse COO tensor, float32 (n, D)."""
        import torch

        rows = np.repeat(np.arange(len(self)), self.counts)
        indices = torch.from_numpy(np.stack([rows, self.ids.astype(np.int64)]))
        return torch.sparse_coo_tensor(indices, torch.ones(len(self.ids)), (len(self), self.hidden_dim)).coalesce()

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the compressed, checksummed file format of :mod:`bsa_st.codefile`, atomically."""
        codefile.write(Path(path), self.ids, self.indptr, self.hidden_dim, self.scale)

    @classmethod
    def load(cls, path: str | Path) -> BinaryCodes:
        """Read a file written by :meth:`save`; a damaged or foreign file raises :class:`BSAError`."""
        return cls(*codefile.read(Path(path)))

    # -- container --------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> np.ndarray:
        """Active features of each text, int64 (n,)."""
        return np.diff(self.indptr)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, key: int | slice | list[int] | np.ndarray) -> BinaryCodes:
        """Some of the texts, as codes again: an int, a slice, an array of positions or a boolean mask."""
        rows = np.arange(len(self))[key]
        rows = np.atleast_1d(rows)
        scale = None if self.scale is None else self.scale[rows]
        starts, counts = self.indptr[rows], self.counts[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            ids = self.ids[starts[0] : starts[0] + indptr[-1]]
        else:
            ids = self.ids[np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])]
        return BinaryCodes(ids, indptr, self.hidden_dim, scale)

    @classmethod
    def concatenate(cls, parts: Iterable[BinaryCodes]) -> BinaryCodes:
        """One set of codes from several of the same ``hidden_dim``; the scale is kept if all parts carry one."""
        parts = list(parts)
        dims = {part.hidden_dim for part in parts}
        if len(dims) != 1:
            raise BSAError(f"codes to concatenate must share one hidden_dim, got {sorted(dims) or 'no codes'}")
        scales = [part.scale for part in parts if part.scale is not None]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], np.cumsum(np.concatenate([part.counts for part in parts]))]),
            dims.pop(),
            np.concatenate(scales) if len(scales) == len(parts) else None,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinaryCodes):
            return NotImplemented
        if self.scale is None or other.scale is None:
            same_scale = self.scale is other.scale
        else:
            same_scale = np.array_equal(self.scale, other.scale)
        return (
            self.hidden_dim == other.hidden_dim
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.ids, other.ids)
            and same_scale
        )

    __hash__ = None  # type: ignore[assignment]  # mutable arrays, compared by value

    def __repr__(self) -> str:
        mean = len(self.ids) / max(1, len(self))
        return f"BinaryCodes({len(self)} texts, hidden_dim={self.hidden_dim}, {mean:.1f} active features per text)"

    # -- sizes ------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed form, scale included: what :meth:`save` writes, measured by encoding."""
        return self.nbytes_as("compressed")

    def nbytes_as(self, form: Form) -> int:
        """Bytes of all texts in a form, everything a reader needs included.

        Args:
            form: ``"compressed"`` the file of :meth:`save`; ``"ids"`` plain ids and a 4-byte offset per text;
                ``"packed"`` one bit per feature; ``"memory"`` the arrays of this object.
        """
        scale = 0 if self.scale is None else len(self)
        if form == "compressed":
            return len(codefile.encode(self.ids, self.indptr, self.hidden_dim, self.scale))
        if form == "ids":
            return self.ids.nbytes + 4 * len(self) + scale
        if form == "packed":
            return len(self) * -(-self.hidden_dim // 8) + scale
        if form == "memory":
            return self.ids.nbytes + self.indptr.nbytes + scale
        raise BSAError(f"form must be compressed, ids, packed or memory, got {form!r}")

    @property
    def ideal_nbytes(self) -> float:
        """``sum over texts of log2 C(D, active) / 8`` bytes: the floor for codes whose features are all equally likely."""
        return float(log2_binomial(self.hidden_dim, self.counts).sum() / 8)


def id_dtype(hidden_dim: int) -> type[np.uint16] | type[np.uint32]:
    """Smallest unsigned type that holds every feature id."""
    return np.uint16 if hidden_dim <= 1 << 16 else np.uint32


def log2_binomial(n: npt.ArrayLike, k: npt.ArrayLike) -> np.ndarray:
    """``log2 C(n, k)``, elementwise, float64."""
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return (gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / math.log(2)


def _check(ids: np.ndarray, indptr: np.ndarray, hidden_dim: int) -> None:
    if hidden_dim < 1:
        raise BSAError(f"hidden_dim must be at least 1, got {hidden_dim}")
    if ids.ndim != 1 or indptr.ndim != 1 or len(indptr) < 1:
        raise BSAError(f"ids and indptr must be one-dimensional, got shapes {ids.shape} and {indptr.shape}")
    if len(ids) and not np.issubdtype(ids.dtype, np.integer):
        raise BSAError(f"ids must be integers, got {ids.dtype}")
    if indptr[0] != 0 or indptr[-1] != len(ids) or (len(indptr) > 1 and (indptr[1:] < indptr[:-1]).any()):
        raise BSAError(f"indptr must rise from 0 to the number of ids, {len(ids)}")
    if len(ids) == 0:
        return
    if ids.max() >= hidden_dim or ids.min() < 0:
        raise BSAError(f"feature id {ids.max()} does not fit hidden_dim = {hidden_dim}")
    rises = ids[1:] > ids[:-1]
    starts = indptr[1:-1]
    rises[starts[(starts > 0) & (starts < len(ids))] - 1] = True
    if not rises.all():
        raise BSAError("the ids of a text must be ascending and distinct")
