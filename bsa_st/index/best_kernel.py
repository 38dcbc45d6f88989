"""numba: from counters to scores, and the entries that are still among the best of their query."""

from __future__ import annotations

import math

import numba
import numpy as np

OVERLAP, COSINE, JACCARD, SCALED = range(4)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score_of(measure: int, value: int, size: float, own: float, step: float, base: float) -> float:
    """Score of a document from its counter.

    Args:
        measure: One of the constants above.
        value: The counter.
        size: Active features of the document; for ``SCALED`` its factor.
        own: Active features of the query.
        step: Worth of 1 in the counter (``SCALED``).
        base: Worth of 0 in the counter (``SCALED``).
    """
    if measure == OVERLAP:
        return float(value)
    if measure == SCALED:
        return math.floor((value * step + base) * size)
    if value == 0:
        return 0.0
    shared = np.float32(value)
    if measure == COSINE:
        return float(shared / np.sqrt(np.float32(own) * np.float32(size)))
    return float(shared / (np.float32(own) + np.float32(size) - shared))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def replace_least(heap: np.ndarray, size: int, score: float) -> None:
    """Put ``score`` in the place of the smallest of a min-heap of ``size`` entries."""
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= score:
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = score


@numba.njit(cache=True, nogil=True, error_model="numpy")
def prune(
    owners: np.ndarray, documents: np.ndarray, scores: np.ndarray, used: int, heaps: np.ndarray, filled: np.ndarray, want: int
) -> int:
    """Drop entries that are no longer among the best of their query; returns how many are left."""
    kept = 0
    for entry in range(used):
        owner = owners[entry]
        if filled[owner] < want or scores[entry] >= heaps[owner, 0]:
            owners[kept], documents[kept], scores[kept] = owner, documents[entry], scores[entry]
            kept += 1
    return kept
