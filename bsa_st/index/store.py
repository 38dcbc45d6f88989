"""The documents' codes in compressed form: blocks of 2^15 documents, any document readable by itself."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from bsa_st.codes import file as codefile
from bsa_st.codes.binary_codes import BinaryCodes, id_dtype
from bsa_st.errors import BSAError

HAS_NUMBA = find_spec("numba") is not None

SHIFT = 15
BLOCK = 1 << SHIFT
"""Documents per block."""
FIELDS = ("offset", "texts", "ids", "least", "count_bits", "rice", "counts_bytes", "remainder_bytes", "bytes")
OFFSET, TEXTS, IDS, LEAST, COUNT_BITS, RICE, COUNTS_BYTES, REMAINDER_BYTES, BYTES = range(len(FIELDS))
STRIDE = 16
"""Documents between two entries of the skip table, which tells where a document's ids and quotients start."""
PADDING = 8
"""Bytes after the last block that a word-wise reader may touch."""


class CodeStore:
    """Compressed codes; appending copies, so that a reader of the arrays before it is not disturbed.

    Args:
        hidden_dim: Number D of features.
        raw: Bytes of all blocks and ``PADDING`` bytes, uint8; may be a memory map.
        table: One row per block, int64 (blocks, 9), the columns of ``FIELDS``.
    """

    def __init__(self, hidden_dim: int, raw: np.ndarray, table: np.ndarray) -> None:
        self.hidden_dim = hidden_dim
        self.raw = raw
        self.table = table
        self.skips = np.zeros((len(table), BLOCK // STRIDE, 2), dtype=np.uint32)
        self._skipped = np.zeros(len(table), dtype=bool)

    @classmethod
    def empty(cls, hidden_dim: int) -> CodeStore:
        table = np.zeros((0, len(FIELDS)), dtype=np.int64)
        return cls(hidden_dim, np.zeros(PADDING, np.uint8), table)

    def __len__(self) -> int:
        return int(self.table[:, TEXTS].sum())

    @property
    def blocks(self) -> int:
        return len(self.table)

    @property
    def code_bytes(self) -> int:
        return int(self.table[:, BYTES].sum())

    @property
    def most_active(self) -> int:
        """An upper bound of the active features of a document."""
        table = self.table
        return int(min((table[:, LEAST] + (1 << table[:, COUNT_BITS]) - 1).max(initial=0), self.hidden_dim))

    def append(self, codes: BinaryCodes) -> CodeStore:
        """A store with further documents; an unfinished last block is written anew."""
        if len(codes) == 0:
            return self
        keep = self.blocks if len(self) % BLOCK == 0 else self.blocks - 1
        kept = self.table[:keep]
        start = int(kept[-1, OFFSET] + kept[-1, BYTES]) if keep else 0
        pending = codes
        if keep < self.blocks:
            pending = BinaryCodes.concatenate([self.block_codes(keep), BinaryCodes(codes.ids, codes.indptr, codes.hidden_dim)])
        rows, bodies, offset = [], [], start
        for first in range(0, len(pending), BLOCK):
            indptr = pending.indptr[first : first + BLOCK + 1]
            row, body = encode_block(pending.ids[indptr[0] : indptr[-1]], indptr - indptr[0])
            row[OFFSET] = offset
            offset += len(body)
            rows.append(row)
            bodies.append(body)
        raw = np.concatenate([self.raw[:start], *bodies, np.zeros(PADDING, np.uint8)])
        grown = CodeStore(self.hidden_dim, raw, np.concatenate([kept, np.array(rows)]))
        known = self._skipped[:keep].copy()  # before the tables, which another thread may be filling
        grown.skips[:keep], grown._skipped[:keep] = self.skips[:keep], known
        return grown

    def decode(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Active ids of all documents of a block, int32, and the number of each, int32."""
        row = self.table[block]
        if HAS_NUMBA:
            from bsa_st.index import code_kernel

            ids, counts = np.empty(row[IDS], np.int32), np.empty(row[TEXTS], np.int32)
            if not code_kernel.decode_block(self.raw, row, self.hidden_dim, ids, counts, self.skips[block]):
                raise BSAError(f"block {block} of {self.blocks} of the index is damaged")
            self._skipped[block] = True
        else:
            entry = dict(zip(FIELDS, row.tolist(), strict=True))
            body = self.raw[row[OFFSET] : row[OFFSET] + row[BYTES]].tobytes()
            decoded, lengths = codefile.decode_gaps(entry, np.frombuffer(body, np.uint8))
            ids, counts = decoded.astype(np.int32), lengths.astype(np.int32)
            if len(ids) and (ids.max() >= self.hidden_dim or ids.min() < 0):
                raise BSAError(f"block {block} of {self.blocks} of the index is damaged")
        return ids, counts

    def block_codes(self, block: int) -> BinaryCodes:
        """The codes of a block."""
        ids, counts = self.decode(block)
        return BinaryCodes(ids, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]), self.hidden_dim)

    def take(self, documents: np.ndarray) -> BinaryCodes:
        """Codes of documents by position, int64 (m,), in that order."""
        documents = np.asarray(documents, dtype=np.int64)
        if HAS_NUMBA:
            from bsa_st.index import code_kernel

            self._prepare(documents)
            indptr, ids = np.empty(len(documents) + 1, np.int64), np.empty(len(documents) * self.most_active, np.int32)
            code_kernel.decode_documents(self.raw, self.table, self.skips, SHIFT, documents, indptr, ids)
            return BinaryCodes(ids[: indptr[-1]], indptr, self.hidden_dim)
        blocks, groups = np.unique(documents >> SHIFT, return_inverse=True)
        if len(blocks) == 0:
            return BinaryCodes(np.zeros(0, id_dtype(self.hidden_dim)), [0], self.hidden_dim)
        parts = [self.block_codes(int(block))[documents[groups == number] & (BLOCK - 1)] for number, block in enumerate(blocks)]
        return BinaryCodes.concatenate(parts)[np.argsort(np.argsort(groups, kind="stable"), kind="stable")]

    def weigh(self, documents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of ``weights`` over each document's active features, added in the order of the ids: float64 (m,).

        Args:
            documents: Positions, int64 (m,).
            weights: float64 (D,).
        """
        if not HAS_NUMBA:
            return np.asarray(self.take(documents).to_scipy().astype(np.float64) @ weights)
        from bsa_st.index import code_kernel

        self._prepare(documents)
        sums = np.empty(len(documents), np.float64)
        room = np.empty(self.most_active, np.int32)
        code_kernel.weigh_documents(self.raw, self.table, self.skips, SHIFT, documents, weights, room, sums)
        return sums

    def _prepare(self, documents: np.ndarray) -> None:
        """Skip tables of the blocks of these documents."""
        if not self._skipped.all():
            for block in np.unique(documents >> SHIFT):
                if not self._skipped[block]:
                    self.decode(int(block))


def encode_block(ids: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Table row, int64, and bytes, uint8, of a block; the same bytes with and without numba."""
    counts = np.diff(indptr)
    if HAS_NUMBA:
        from bsa_st.index import encode_kernel

        gaps = encode_kernel.gaps_of(ids, indptr)
        rice, quotients = encode_kernel.choose_rice(gaps, len(ids))
        least, most = int(counts.min()), int(counts.max())
        count_bits = (most - least).bit_length()
        sizes = [count_bits * -(-len(counts) // 8), rice * -(-len(ids) // 8)]
        body = np.zeros(sum(sizes) + -(-quotients // 8), np.uint8)
        encode_kernel.encode_block(gaps, indptr, rice, least, count_bits, body)
        row = [0, len(counts), len(ids), least, count_bits, rice, *sizes, len(body)]
        return np.array(row, dtype=np.int64), body
    entry, data = codefile.encode_gaps(ids, counts)
    row = [0, *(entry[name] for name in FIELDS[1:-1]), len(data)]
    return np.array(row, dtype=np.int64), np.frombuffer(data, dtype=np.uint8)
