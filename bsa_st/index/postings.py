"""The inverted index of some blocks of documents: what the kernels of :mod:`bsa_st.index.scan_kernel` read."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bsa_st.index.rows import Rows
from bsa_st.index.store import BLOCK, IDS, TEXTS, CodeStore

WORDS = BLOCK // 64
DENSE = 512
"""Documents of a block from which on a feature gets a bitmap of 4 KB instead of a list of 2 bytes each."""
CLASSES = 8
"""Groups by size, so that what a score needs at least can be told more tightly than for the whole block."""


@dataclass(frozen=True)
class Classes:
    """Documents of each block in groups of similar size (active features, or the factor of the asymmetric score).

    Attributes:
        sizes: float32 (documents,), or (1,) where all are equal.
        masks: uint64 (blocks, classes, 512).
        low: float32 (blocks, classes), smallest size of each group; above ``high`` where the group is empty.
        high: float32 (blocks, classes), largest size.
    """

    sizes: np.ndarray
    masks: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, entry.name).nbytes for entry in fields(self))

    @classmethod
    def of(cls, sizes: np.ndarray) -> Classes:
        """Groups of about equal number within each block.

        Args:
            sizes: float32 (documents,).
        """
        blocks = -(-len(sizes) // BLOCK)
        if len(sizes) == 0 or sizes.min() == sizes.max():
            masks = np.full((1, 1, WORDS), np.iinfo(np.uint64).max, dtype=np.uint64)
            one = np.full((blocks, 1), sizes[0] if len(sizes) else 0, dtype=np.float32)
            return cls(np.ascontiguousarray(sizes[:1], np.float32), np.repeat(masks, blocks, axis=0), one, one)
        masks = np.zeros((blocks, CLASSES, WORDS), dtype=np.uint64)
        low = np.full((blocks, CLASSES), np.inf, dtype=np.float32)
        high = np.full((blocks, CLASSES), -np.inf, dtype=np.float32)
        for block in range(blocks):
            part = sizes[block * BLOCK : (block + 1) * BLOCK]
            edges = np.quantile(part, np.arange(1, CLASSES) / CLASSES, method="lower")
            group = np.searchsorted(edges, part, side="left")
            for number in np.unique(group):
                members = group == number
                masks[block, number] = to_words(members)
                low[block, number], high[block, number] = part[members].min(), part[members].max()
        return cls(np.ascontiguousarray(sizes, np.float32), masks, low, high)


@dataclass(frozen=True)
class Postings:
    """Bitmaps and offset lists of consecutive blocks; never changed after it was built.

    Attributes:
        bitmaps: uint64 (rows, 512).
        slots: int32 (blocks, D).
        postings: uint16.
        starts: uint32 (blocks, D + 1).
        bases: int64 (blocks,).
        counts: int32 (documents,), active features of each document.
        frequency: int64 (D,), documents of each feature.
        rows: The codes document by document, where there is a decoder to score them with.
    """

    bitmaps: np.ndarray
    slots: np.ndarray
    postings: np.ndarray
    starts: np.ndarray
    bases: np.ndarray
    counts: np.ndarray
    frequency: np.ndarray
    rows: Rows | None

    @classmethod
    def build(cls, store: CodeStore, first: int, last: int, like: Postings | None, *, with_rows: bool) -> Postings:
        """Invert the blocks ``first`` to ``last - 1`` of a store.

        Args:
            store: The codes.
            first: First block.
            last: Behind the last block.
            like: What the result is going to extend, so that its rows are of the same kind.
            with_rows: Whether documents are going to be scored one by one.
        """
        from bsa_st.index.postings_kernel import invert

        total = int(store.table[first:last, IDS].sum())
        blocks = last - first
        bitmaps = np.empty((total // DENSE, WORDS), np.uint64)  # upper bounds; pages that are not written take no memory
        postings = np.empty(total, np.uint16)
        slots = np.empty((blocks, store.hidden_dim), np.int32)
        starts = np.empty((blocks, store.hidden_dim + 1), np.uint32)
        bases = np.zeros(blocks, np.int64)
        counts = []
        frequency = np.zeros(store.hidden_dim, np.int64)
        by_document = None
        if with_rows:
            by_document = Rows.empty(
                store.hidden_dim, int(store.table[first:last, TEXTS].sum()), total, like.rows if like else None
            )
        rows, used, document, place = 0, 0, 0, 0
        for number in range(blocks):
            ids, lengths = store.decode(first + number)
            bases[number] = used
            rows = invert(ids, lengths, DENSE, bitmaps, rows, slots[number], postings[used:], starts[number], frequency)
            used += int(starts[number, -1])
            if by_document is not None:
                by_document.fill(ids, lengths, document, place)
            document += len(lengths)
            place += len(ids)
            counts.append(lengths)
        return cls(bitmaps[:rows], slots, postings[:used], starts, bases, np.concatenate(counts), frequency, by_document)

    @property
    def nbytes(self) -> int:
        return sum(0 if (value := getattr(self, entry.name)) is None else value.nbytes for entry in fields(self))

    def extend(self, more: Postings) -> Postings:
        """These blocks followed by ``more``."""
        slots = np.where(more.slots >= 0, more.slots + len(self.bitmaps), more.slots).astype(np.int32)
        return Postings(
            np.concatenate([self.bitmaps, more.bitmaps]),
            np.concatenate([self.slots, slots]),
            np.concatenate([self.postings, more.postings]),
            np.concatenate([self.starts, more.starts]),
            np.concatenate([self.bases, more.bases + len(self.postings)]),
            np.concatenate([self.counts, more.counts]),
            self.frequency + more.frequency,
            self.rows.extend(more.rows) if self.rows and more.rows else None,
        )


def to_words(mask: np.ndarray) -> np.ndarray:
    """A boolean mask of up to 2^15 documents as uint64 (512,)."""
    packed = np.zeros(BLOCK // 8, dtype=np.uint8)
    bits = np.packbits(mask, bitorder="little")
    packed[: len(bits)] = bits
    return packed.view("<u8").astype(np.uint64, copy=False)
