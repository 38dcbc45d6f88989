"""What a search reads: stored codes, postings and the documents that may be found, unchanged by later additions and deletions."""

from __future__ import annotations

import numpy as np

from bsa_st.codes.scoring import inverse_norms
from bsa_st.index.counting import Decoder
from bsa_st.index.groups import grouped
from bsa_st.index.part import Part
from bsa_st.index.store import BLOCK, CodeStore
from bsa_st.index.tables import COSINE, JACCARD, Groups
from bsa_st.index.words import all_words


class View:
    """A snapshot of an index.

    Args:
        store: The documents' codes.
        parts: Their inversion: full blocks, then the last one.
        live: Documents that are not deleted, bool (n,).
        decoder: For asymmetric scores.

    Attributes:
        count: Live documents.
        frequency: Live documents of each feature, int64 (D,).
    """

    def __init__(self, store: CodeStore, parts: list[Part], live: np.ndarray, decoder: Decoder | None) -> None:
        self.store = store
        self.parts = parts
        self.live = live
        self.decoder = decoder
        self.frequency = sum((part.frequency for part in parts), np.zeros(store.hidden_dim, np.int64))
        self.count = int(np.count_nonzero(live))
        if self.count < len(live):
            self.frequency = self.frequency - np.bincount(store.take(np.flatnonzero(~live)).ids, minlength=store.hidden_dim)
        self._live_words = all_words(live, store.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes of what the view adds to the store and its parts."""
        return self._live_words.nbytes

    def factors(self, number: int) -> np.ndarray:
        """What ``q . x_hat`` of each document of a part is multiplied by: float32 (documents,).

        ``1 / |x_hat|``, which takes a while when it is first needed.
        """
        part = self.parts[number]
        if part.factors is None:
            assert self.decoder is not None
            blocks = [self.store.block_codes(block) for block in range(part.first, part.last)]
            part.factors = np.concatenate([inverse_norms(codes, *self.decoder) for codes in blocks])
        return part.factors

    def factors_of(self, documents: np.ndarray) -> np.ndarray:
        """:meth:`factors` of some documents, by position."""
        if any(part.factors is None for part in self.parts):
            assert self.decoder is not None
            return inverse_norms(self.store.take(documents), *self.decoder)
        factors = np.empty(len(documents), np.float32)
        for number, part in enumerate(self.parts):
            inside = self._inside(part, documents)
            factors[inside] = self.factors(number)[documents[inside] - part.first * BLOCK]
        return factors

    def weigh(self, documents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of ``weights`` over each document's active features, added in the order of the ids: float64 (m,).

        Args:
            documents: Positions, int64 (m,).
            weights: float64 (D,).
        """
        rows = [part.postings.rows if part.postings is not None else None for part in self.parts]
        if any(entry is None for entry in rows):
            return self.store.weigh(documents, weights)
        sums = np.empty(len(documents))
        for part, entry in zip(self.parts, rows, strict=True):
            assert entry is not None
            inside = self._inside(part, documents)
            sums[inside] = entry.weigh(documents[inside] - part.first * BLOCK, weights)
        return sums

    @staticmethod
    def _inside(part: Part, documents: np.ndarray) -> np.ndarray:
        return np.asarray((documents >= part.first * BLOCK) & (documents < part.documents))

    def groups(self, number: int, measure: int) -> Groups:
        """A part's documents in groups by :meth:`sizes`."""
        part = self.parts[number]
        if measure not in part.groups:
            part.groups[measure] = grouped(self.sizes(number, measure))
        return part.groups[measure]

    def sizes(self, number: int, measure: int) -> np.ndarray:
        """What :func:`bsa_st.index.score_kernel.score_of` calls the size of a part's documents; for ``SCALED`` their factors: float32 (n,)."""
        part = self.parts[number]
        if measure in (COSINE, JACCARD):
            return part.counts().astype(np.float32)
        if measure == SCALED:
            return self.factors(number)
        return np.ones(part.documents - part.first * BLOCK, np.float32)

    def words(self, number: int, allowed: np.ndarray | None) -> np.ndarray:
        """A mask of documents, bool (n,), default the live ones, for the blocks of a part: uint64 (blocks, 512)."""
        part = self.parts[number]
        words = self._live_words if allowed is None else all_words(allowed, self.store.blocks)
        return words[part.first : part.last]


SCALED = 3
"""Besides the measures of :mod:`bsa_st.index.tables`: sums that are multiplied by the documents' factors."""
