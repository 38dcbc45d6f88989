"""numba: bit-sliced counters of 64 documents per word, in one 2-D array of planes: count, compare, select.

Plane p holds bit p of every document's counter.

Source: carry-save adder trees after R. Harley and D. Seal, as in W. Mula, N. Kurz and D. Lemire, "Faster population counts using AVX2
instructions" (2018).
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import popcount
from bsa_st.index.lanes import LANES, at_least_eight_words, counter_of

ZERO = np.uint64(0)
NARROW, MIDDLE, WIDE = 7, 9, 24
"""Bits of a counter: the fewest that can hold what is counted stay in registers."""

_count_narrow, _count_middle, _count_wide = counter_of(NARROW), counter_of(MIDDLE), counter_of(WIDE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def count(table: np.ndarray, ends: np.ndarray, bits: int, top: int, planes: np.ndarray) -> None:
    """Count weighted bitmaps.

    Args:
        table: Addresses of bitmaps of as many words as ``planes``, grouped by the bits of their weights, highest bit first; each
            group filled up to a multiple of eight.
        ends: int64 (bits,), where each group ends.
        bits: Number of groups.
        top: Planes that are needed.
        planes: Written: uint64 (at least the next of 7, 9 and 24, words).
    """
    rows, edges, target, stride = table.ctypes.data, ends.ctypes.data, planes.ctypes.data, 8 * planes.shape[1]
    if top <= NARROW:
        for w in range(0, planes.shape[1], LANES):
            _count_narrow(rows, edges, bits, target, stride, w)
    elif top <= MIDDLE:
        for w in range(0, planes.shape[1], LANES):
            _count_middle(rows, edges, bits, target, stride, w)
    else:
        for w in range(0, planes.shape[1], LANES):
            _count_wide(rows, edges, bits, target, stride, w)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_at_least(planes: np.ndarray, top: int, least: int, within: np.ndarray, out: np.ndarray) -> bool:
    """Add to ``out`` the documents of ``within`` whose counter is at least ``least``; returns whether there are any."""
    words = len(within)
    if least >= 1 << top:
        return False
    found = False
    if least <= 0:
        for w in range(words):
            out[w] |= within[w]
            found |= within[w] != ZERO
        return found
    start, stride = planes.ctypes.data, 8 * planes.shape[1]
    inside, target = within.ctypes.data, out.ctypes.data
    for w in range(0, words, LANES):
        found |= at_least_eight_words(start, stride, top, least - 1, inside, target, w) != 0
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def value_of_rank(planes: np.ndarray, top: int, rank: int, within: np.ndarray) -> int:
    """Largest value that at least ``rank`` documents of ``within`` reach; 0 if there are fewer."""
    candidates = within.copy()
    value = np.int64(0)
    for level in range(top - 1, -1, -1):
        plane = planes[level]
        count = np.int64(0)
        for w in range(len(within)):
            count += np.int64(popcount(candidates[w] & plane[w]))
        if count >= rank:
            value |= np.int64(1) << level
            for w in range(len(within)):
                candidates[w] &= plane[w]
        else:
            rank -= count
            for w in range(len(within)):
                candidates[w] &= ~plane[w]
    return value
