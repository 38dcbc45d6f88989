"""numba: sums of weights over documents whose codes are not compressed."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import prefetch, trailing_zeros

ZERO = np.uint64(0)
ONE = np.uint64(1)
ABREAST = 4
"""Documents that are weighed together, so that their additions need not wait for each other."""
AHEAD = 8
"""Documents between the one that is asked for and the one that is weighed."""
LINE = 64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_ids(ids: np.ndarray, starts: np.ndarray, documents: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Sums from lists of ids; see :class:`bsa_st.index.rows.Rows`."""
    base, width = ids.ctypes.data, ids.itemsize
    for first in range(0, len(documents), ABREAST):
        for number in range(first + AHEAD, min(first + AHEAD + ABREAST, len(documents))):
            later = documents[number]
            for byte in range(base + np.int64(starts[later]) * width, base + np.int64(starts[later + 1]) * width, LINE):
                prefetch(byte)
        if first + ABREAST > len(documents):
            for number in range(first, len(documents)):
                sums[number] = _weigh(ids, starts, documents[number], 0, weights, 0.0)
            break
        one, two, three, four = documents[first], documents[first + 1], documents[first + 2], documents[first + 3]
        a, b, c, d = np.int64(starts[one]), np.int64(starts[two]), np.int64(starts[three]), np.int64(starts[four])
        least = min(
            min(np.int64(starts[one + 1]) - a, np.int64(starts[two + 1]) - b),
            min(np.int64(starts[three + 1]) - c, np.int64(starts[four + 1]) - d),
        )
        w, x, y, z = 0.0, 0.0, 0.0, 0.0
        for place in range(least):
            w += weights[ids[a + place]]
            x += weights[ids[b + place]]
            y += weights[ids[c + place]]
            z += weights[ids[d + place]]
        sums[first] = _weigh(ids, starts, one, least, weights, w)
        sums[first + 1] = _weigh(ids, starts, two, least, weights, x)
        sums[first + 2] = _weigh(ids, starts, three, least, weights, y)
        sums[first + 3] = _weigh(ids, starts, four, least, weights, z)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weigh(ids: np.ndarray, starts: np.ndarray, document: int, skipped: int, weights: np.ndarray, total: float) -> float:
    """``total`` and the weights of a document's ids behind the first ``skipped``."""
    for place in range(np.int64(starts[document]) + skipped, np.int64(starts[document + 1])):
        total += weights[ids[place]]
    return total


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


@numba.njit(cache=True, nogil=True)
def weigh_block(ids: np.ndarray, counts: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Sums of many weightings over the active features of all documents of a block, added in the order of the ids.

    Args:
        ids: int32 (nnz,).
        counts: int32 (documents,).
        weights: float64 (D, queries).
        sums: Written: float64 (documents, queries).
    """
    place = 0
    for document in range(len(counts)):
        for query in range(sums.shape[1]):
            sums[document, query] = 0.0
        for _ in range(counts[document]):
            feature = ids[place]
            place += 1
            for query in range(sums.shape[1]):
                sums[document, query] += weights[feature, query]
