"""numba: the entries that are still among the best of their query."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.tables import Found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def put(heap: np.ndarray, filled: int, score: float) -> int:
    """Put a score into a min-heap of ``filled`` scores if it is not full or its least is smaller; returns its new size."""
    if filled < len(heap):
        hole = filled
        while hole > 0 and heap[(hole - 1) >> 1] > score:
            heap[hole] = heap[(hole - 1) >> 1]
            hole = (hole - 1) >> 1
        heap[hole] = score
        return filled + 1
    if score <= heap[0]:
        return filled
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= score:
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = score
    return filled


@numba.njit(cache=True, nogil=True, error_model="numpy")
def prune(entries: Found, used: int, heaps: np.ndarray, filled: np.ndarray) -> int:
    """Drop entries that are no longer among the best of their query; returns how many are left."""
    kept = 0
    for entry in range(used):
        owner = entries.queries[entry]
        if filled[owner] < heaps.shape[1] or entries.scores[entry] >= heaps[owner, 0]:
            entries.queries[kept] = owner
            entries.documents[kept] = entries.documents[entry]
            entries.scores[kept] = entries.scores[entry]
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def room(capacity: int) -> Found:
    """Room for entries."""
    return Found(np.empty(capacity, np.int32), np.empty(capacity, np.int64), np.empty(capacity, np.float64))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def widened(entries: Found, used: int) -> Found:
    """The first ``used`` entries with room for as many as there were places."""
    wider = room(2 * len(entries.queries))
    wider.queries[:used] = entries.queries[:used]
    wider.documents[:used] = entries.documents[:used]
    wider.scores[:used] = entries.scores[:used]
    return wider
