"""The inverted index of some blocks of documents: what the kernels of :mod:`bsa_st.index.scan_kernel` read."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bsa_st.index.rows import Rows, bits_of
from bsa_st.index.store import IDS, TEXTS, CodeStore
from bsa_st.index.tables import Inverted
from bsa_st.index.words import WORDS

DENSE = 512
"""Documents of a block from which on a feature gets a bitmap of 4 KB instead of a list of 2 bytes each."""
CROWDED = 16
"""Where at least one in so many features is active, bitmaps are made by turning the documents' bits: 64 by 64 at a time."""


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
        from bsa_st.index.postings_kernel import invert_bits, invert_ids

        total = int(store.table[first:last, IDS].sum())
        blocks = last - first
        bitmaps = np.empty((total // DENSE, WORDS), np.uint64)  # upper bounds; pages that are not written take no memory
        postings = np.empty(total, np.uint16)
        slots = np.empty((blocks, store.hidden_dim), np.int32)
        starts = np.empty((blocks, store.hidden_dim + 1), np.uint32)
        bases = np.zeros(blocks, np.int64)
        counts = []
        frequency = np.zeros(store.hidden_dim, np.int64)
        by_document, nothing = None, np.empty((0, 0), np.uint64)
        if with_rows:
            by_document = Rows.empty(
                store.hidden_dim, int(store.table[first:last, TEXTS].sum()), total, like.rows if like else None
            )
        rows, used, document, place = 0, 0, 0, 0
        for number in range(blocks):
            ids, lengths = store.decode(first + number)
            bases[number] = used
            bits = nothing
            if by_document is not None:
                by_document.fill(ids, lengths, document, place)
                bits = by_document.bits[document : document + len(lengths)]
            if len(bits) == 0 and len(ids) * CROWDED >= len(lengths) * store.hidden_dim:
                bits = bits_of(ids, lengths, store.hidden_dim)
            own = (DENSE, bitmaps, rows, slots[number], postings[used:], starts[number], frequency)
            rows = invert_bits(bits, *own) if len(bits) else invert_ids(ids, lengths, *own)
            used += int(starts[number, -1])
            document += len(lengths)
            place += len(ids)
            counts.append(lengths)
        return cls(bitmaps[:rows], slots, postings[:used], starts, bases, np.concatenate(counts), frequency, by_document)

    @property
    def nbytes(self) -> int:
        return sum(0 if (value := getattr(self, entry.name)) is None else value.nbytes for entry in fields(self))

    @property
    def inverted(self) -> Inverted:
        """What the kernels read."""
        return Inverted(self.bitmaps, self.slots, self.postings, self.starts, self.bases)

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
