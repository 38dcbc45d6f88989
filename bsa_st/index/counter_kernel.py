"""numba: bit-sliced counters of 64 documents per word, in one 2-D array of planes: add, compare, select.

Plane p holds bit p of every document's counter.

Source: carry-save adder trees after R. Harley and D. Seal, as in W. Mula, N. Kurz and D. Lemire, "Faster population counts using AVX2
instructions" (2018).
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import LANES, add_eight_words, compare_eight_words, popcount

ZERO = np.uint64(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_eight(planes: np.ndarray, shift: int, top: int, carry: np.ndarray, rows: np.ndarray) -> None:
    """Add the eight bitmaps at the addresses ``rows``, each worth ``2^shift``, to the counters in ``planes[:top]``."""
    words = planes.shape[1]
    start, size = planes.ctypes.data, 8 * words
    three = (start + shift * size, start + (shift + 1) * size, start + (shift + 2) * size)
    table, carried = rows.ctypes.data, carry.ctypes.data
    for w in range(0, words, LANES):
        add_eight_words(table, three, carried, w)
    for level in range(shift + 3, top):
        for w in range(words):
            x = planes[level, w]
            planes[level, w] = x ^ carry[w]
            carry[w] = x & carry[w]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mask_at_least(planes: np.ndarray, top: int, least: int, within: np.ndarray, out: np.ndarray) -> None:
    """``out`` = documents of ``within`` whose counter is at least ``least``."""
    words = len(within)
    if least <= 0:
        out[:] = within
        return
    if least >= 1 << top:
        out[:] = ZERO
        return
    bound = least - 1
    out[:] = ZERO
    equal = within.copy()
    equal_start, out_start = equal.ctypes.data, out.ctypes.data
    for level in range(top - 1, -1, -1):
        plane_start, bit = planes.ctypes.data + level * 8 * words, (bound >> level) & 1
        for w in range(0, words, LANES):
            compare_eight_words(plane_start, equal_start, out_start, bit, w)
    equal[0] = ZERO  # keeps the array, of which numba sees only the address in use, until here


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
