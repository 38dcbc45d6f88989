"""What is counted for a query, and what the counts are worth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OVERLAP, COSINE, JACCARD, SCALED = range(4)
"""What a counter is turned into, see :func:`bsa_st.index.best_kernel.score_of`."""


class Decoder(NamedTuple):
    """The decoder of a head: ``weight`` V, float32 (D, d), and ``offset`` c, float32 (d,)."""

    weight: np.ndarray
    offset: np.ndarray


class Counting(NamedTuple):
    """Weighted features of some queries, and what the sum of the weights is worth; see :func:`bsa_st.index.scan_kernel.scan`."""

    features: np.ndarray
    weights: np.ndarray
    indptr: np.ndarray
    measure: int
    own: np.ndarray
    steps: np.ndarray
    bases: np.ndarray
    floors: np.ndarray
    least_value: int


class Found(NamedTuple):
    """Entries: the query, int, the document's position, int64, and its score, float64."""

    queries: np.ndarray
    documents: np.ndarray
    scores: np.ndarray


def scores_of(counting: Counting, values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """:func:`bsa_st.index.best_kernel.score_of` on arrays: float64 (documents, queries), the same numbers bit by bit."""
    if counting.measure == OVERLAP:
        return values.astype(np.float64)
    if counting.measure == SCALED:
        return np.floor((values * counting.steps + counting.bases) * size.astype(np.float64))
    shared, own = values.astype(np.float32), counting.own
    under = np.sqrt(own * size) if counting.measure == COSINE else own + size - shared
    return np.divide(shared, under, out=np.zeros_like(shared), where=shared > 0).astype(np.float64)


def only_best(found: Found, queries: int, want: int) -> Found:
    """Entries among the ``want`` best of their query, ties included."""
    order = np.lexsort((-found.scores, found.queries))
    starts = np.searchsorted(found.queries[order], np.arange(queries + 1))
    places = np.minimum(starts[:-1] + want, starts[1:]) - 1
    least = np.full(queries, -np.inf)
    filled = starts[1:] > starts[:-1]
    least[filled] = found.scores[order][places[filled]]
    keep = found.scores >= least[found.queries]
    return Found(found.queries[keep], found.documents[keep], found.scores[keep])
