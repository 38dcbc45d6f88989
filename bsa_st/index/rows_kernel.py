"""numba: sums of weights over documents whose codes lie uncompressed, one after the other."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import prefetch, trailing_zeros

ZERO = np.uint64(0)
ONE = np.uint64(1)
AHEAD = 8
"""Documents between the one that is asked for and the one that is weighed."""
LINE = 64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_ids(ids: np.ndarray, starts: np.ndarray, documents: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Sums from lists of ids; see :class:`bsa_st.index.rows.Rows`."""
    base, width = ids.ctypes.data, ids.itemsize
    for number in range(len(documents)):
        if number + AHEAD < len(documents):
            later = documents[number + AHEAD]
            for byte in range(base + np.int64(starts[later]) * width, base + np.int64(starts[later + 1]) * width, LINE):
                prefetch(byte)
        document = documents[number]
        total = 0.0
        for place in range(np.int64(starts[document]), np.int64(starts[document + 1])):
            total += weights[ids[place]]
        sums[number] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_bits(bits: np.ndarray, documents: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Sums from bits; see :class:`bsa_st.index.rows.Rows`."""
    words = bits.shape[1]
    base = bits.ctypes.data
    for number in range(len(documents)):
        if number + AHEAD < len(documents):
            start = base + documents[number + AHEAD] * words * 8
            for byte in range(start, start + words * 8, LINE):
                prefetch(byte)
        document = documents[number]
        total = 0.0
        for w in range(words):
            word = bits[document, w]
            while word != ZERO:
                total += weights[(w << 6) + np.int64(trailing_zeros(word))]
                word &= word - ONE
        sums[number] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def set_bits(ids: np.ndarray, counts: np.ndarray, bits: np.ndarray) -> None:
    """Set the bits of documents' active ids in zeroed ``bits``."""
    place = 0
    for document in range(len(counts)):
        for _ in range(counts[document]):
            feature = ids[place]
            place += 1
            bits[document, feature >> 6] |= ONE << np.uint64(feature & 63)
