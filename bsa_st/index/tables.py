"""Arrays that go together into the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OVERLAP, COSINE, JACCARD = range(3)
"""What a counter is turned into, see :func:`bsa_st.index.score_kernel.score_of`."""


class Inverted(NamedTuple):
    """Inverted blocks of 2^15 documents.

    Attributes:
        bitmaps: uint64 (rows, 512), bitmaps of frequent features.
        slots: int32 (blocks, D), row of the feature's bitmap, or -1.
        postings: uint16, offsets within the block of the other features' documents.
        starts: uint32 (blocks, D + 1), where a feature's offsets start within the block's part of ``postings``.
        bases: int64 (blocks,), where that part starts.
    """

    bitmaps: np.ndarray
    slots: np.ndarray
    postings: np.ndarray
    starts: np.ndarray
    bases: np.ndarray


class Counting(NamedTuple):
    """Weighted features of some queries, whose sums over the documents' features are turned into scores.

    Attributes:
        features: int32, features of all queries.
        weights: int32, their weights, at least 1.
        indptr: int64 (queries + 1,), where each query's features start.
        measure: One of the constants above.
        own: float32 (queries,), sizes of the queries.
        floors: float64 (queries,), scores below it are not wanted.
        least_value: Documents whose sum is smaller are not wanted.
    """

    features: np.ndarray
    weights: np.ndarray
    indptr: np.ndarray
    measure: int
    own: np.ndarray
    floors: np.ndarray
    least_value: int


class Probing(NamedTuple):
    """Features with weights of one byte of some queries; a document's score is ``(sum * step + base) * factor``.

    Attributes:
        features: int32, features of all queries.
        weights: uint8, their weights; no document's sum is above 255.
        indptr: int64 (queries + 1,), where each query's features start.
        steps: float64 (queries,), worth of 1 in the sum.
        bases: float64 (queries,), worth of 0 in the sum.
    """

    features: np.ndarray
    weights: np.ndarray
    indptr: np.ndarray
    steps: np.ndarray
    bases: np.ndarray

    def probe(self, query: int) -> Probe:
        """One of the queries."""
        own = slice(self.indptr[query], self.indptr[query + 1])
        return Probe(self.features[own], self.weights[own], float(self.steps[query]), float(self.bases[query]))


class Probe(NamedTuple):
    """One query of a :class:`Probing`."""

    features: np.ndarray
    weights: np.ndarray
    step: float
    base: float


class Groups(NamedTuple):
    """Documents of each block in groups of similar size (active features, or the factor of the asymmetric score).

    Attributes:
        sizes: float32 (documents,), or (1,) where all are equal.
        masks: uint64 (blocks, groups, 512).
        low: float32 (blocks, groups), smallest size of each group; above ``high`` where the group is empty.
        high: float32 (blocks, groups), largest size.
    """

    sizes: np.ndarray
    masks: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Found(NamedTuple):
    """Entries: the query, int, the document's position, int64, and its score, float64."""

    queries: np.ndarray
    documents: np.ndarray
    scores: np.ndarray
