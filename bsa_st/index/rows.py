"""The codes of some blocks, document after document, uncompressed: what scores candidates without waiting for many places in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bsa_st.codes.binary_codes import id_dtype

WORD_BITS = 64


@dataclass(frozen=True)
class Rows:
    """Ids of each document, or its bits where those are smaller; made with numba only.

    Attributes:
        ids: uint16 or uint32 (nnz,); empty where there are bits.
        starts: uint32 or int64 (documents + 1,), where a document's ids start; empty where there are bits.
        bits: uint64 (documents, ceil(D / 64)); no rows where there are ids.
    """

    ids: np.ndarray
    starts: np.ndarray
    bits: np.ndarray

    @classmethod
    def empty(cls, hidden_dim: int, documents: int, total: int, like: Rows | None = None) -> Rows:
        """Room for ``documents`` with ``total`` active features, of the kind of ``like`` or of the smaller kind."""
        words = -(-hidden_dim // WORD_BITS)
        start_dtype = np.uint32 if total < 1 << 32 else np.int64
        id_bytes = total * np.dtype(id_dtype(hidden_dim)).itemsize + documents * np.dtype(start_dtype).itemsize
        if documents * words * 8 < id_bytes if like is None else like.is_packed:
            return cls(np.empty(0, np.uint16), np.empty(0, np.uint32), np.zeros((documents, words), np.uint64))
        ids = np.empty(total, id_dtype(hidden_dim))
        return cls(ids, np.zeros(documents + 1, start_dtype), np.empty((0, words), np.uint64))

    @property
    def is_packed(self) -> bool:
        return len(self.starts) == 0

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, entry.name).nbytes for entry in fields(self))

    def fill(self, ids: np.ndarray, counts: np.ndarray, document: int, place: int) -> None:
        """Write the documents from ``document`` on.

        Args:
            ids: Their active ids, integer.
            counts: Active features of each.
            document: First document.
            place: Active features of the documents before it.
        """
        if self.is_packed:
            _set_bits(ids, counts, self.bits[document : document + len(counts)])
            return
        self.ids[place : place + len(ids)] = ids
        self.starts[document + 1 : document + 1 + len(counts)] = place + np.cumsum(counts)

    def extend(self, more: Rows) -> Rows:
        """These documents followed by ``more``."""
        if self.is_packed:
            return Rows(self.ids, self.starts, np.concatenate([self.bits, more.bits]))
        starts = np.concatenate([self.starts.astype(np.int64), more.starts[1:].astype(np.int64) + len(self.ids)])
        dtype = np.uint32 if starts[-1] < 1 << 32 else np.int64
        return Rows(np.concatenate([self.ids, more.ids]), starts.astype(dtype), self.bits)

    def weigh(self, documents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of ``weights`` over each document's active features, added in the order of the ids: float64 (m,).

        Args:
            documents: Positions within these rows, int64 (m,).
            weights: float64 (D,).
        """
        from bsa_st.index.rows_kernel import weigh_bits, weigh_ids

        sums = np.empty(len(documents))
        if self.is_packed:
            weigh_bits(self.bits, documents, weights, sums)
        else:
            weigh_ids(self.ids, self.starts, documents, weights, sums)
        return sums


def bits_of(ids: np.ndarray, counts: np.ndarray, hidden_dim: int) -> np.ndarray:
    """The bits of documents, uint64 (documents, ceil(D / 64)), from their active ids and the number of each."""
    bits = np.zeros((len(counts), -(-hidden_dim // WORD_BITS)), np.uint64)
    _set_bits(ids, counts, bits)
    return bits


def _set_bits(ids: np.ndarray, counts: np.ndarray, bits: np.ndarray) -> None:
    from bsa_st.index.rows_kernel import set_bits

    set_bits(ids, counts, bits)
