"""numba: bit-sliced counters of 64 documents per word, in one 2-D array of planes: add, compare, select.

Plane p holds bit p of every document's counter.

Source: carry-save adder trees after R. Harley and D. Seal, as in W. Mula, N. Kurz and D. Lemire, "Faster population counts using AVX2
instructions" (2018).
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import load_word, popcount

ZERO = np.uint64(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_eight(planes: np.ndarray, shift: int, top: int, carry: np.ndarray, rows: np.ndarray) -> None:
    """Add the eight bitmaps at the addresses ``rows``, each worth ``2^shift``, to the counters in ``planes[:top]``."""
    words = planes.shape[1]
    a, b, c, d, e, f, g, h = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    for w in range(words):
        ones, twos, fours = planes[shift, w], planes[shift + 1, w], planes[shift + 2, w]
        x, y = load_word(a, w), load_word(b, w)
        u = ones ^ x
        p = (ones & x) | (u & y)
        ones = u ^ y
        x, y = load_word(c, w), load_word(d, w)
        u = ones ^ x
        q = (ones & x) | (u & y)
        ones = u ^ y
        u = twos ^ p
        r = (twos & p) | (u & q)
        twos = u ^ q
        x, y = load_word(e, w), load_word(f, w)
        u = ones ^ x
        p = (ones & x) | (u & y)
        ones = u ^ y
        x, y = load_word(g, w), load_word(h, w)
        u = ones ^ x
        q = (ones & x) | (u & y)
        ones = u ^ y
        u = twos ^ p
        s = (twos & p) | (u & q)
        twos = u ^ q
        u = fours ^ r
        carry[w] = (fours & r) | (u & s)
        planes[shift, w], planes[shift + 1, w], planes[shift + 2, w] = ones, twos, u ^ s
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
    for w in range(words):
        out[w] = ZERO
    equal = within.copy()
    for level in range(top - 1, -1, -1):
        plane = planes[level]
        if (bound >> level) & 1:
            for w in range(words):
                equal[w] &= plane[w]
        else:
            for w in range(words):
                out[w] |= equal[w] & plane[w]
                equal[w] &= ~plane[w]


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
