"""numba: encode blocks of :mod:`bsa_st.codes.file`; the bytes are those of :func:`bsa_st.codes.file.encode_gaps`."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.lanes import bit_of_numbers

ZERO = np.uint64(0)
ONE = np.uint64(1)
TOGETHER = 64
"""Gaps whose bits are taken at a time."""
CANDIDATES = 4


@numba.njit(cache=True, nogil=True)
def gaps_of(ids: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Gaps between the ids of each document, filled up with zeros to a multiple of 64: int32.

    Args:
        ids: Active ids of the block's documents.
        indptr: int64 (documents + 1,), from 0.
    """
    gaps = np.zeros(-(-len(ids) // TOGETHER) * TOGETHER, np.int32)
    for document in range(len(indptr) - 1):
        previous = np.int32(-1)
        for place in range(indptr[document], indptr[document + 1]):
            feature = np.int32(ids[place])
            gaps[place] = feature - previous - np.int32(1)
            previous = feature
    return gaps


@numba.njit(cache=True, nogil=True)
def sums_of_quotients(gaps: np.ndarray, first: int) -> np.ndarray:
    """Sums of the gaps divided by ``2^first`` and the three powers behind it: int64 (4,)."""
    sums = np.zeros(CANDIDATES, np.int64)
    for number in range(CANDIDATES):
        total = np.int64(0)
        for place in range(len(gaps)):  # a sum at a time becomes vector instructions, four in one loop do not
            total += np.int64(gaps[place] >> (first + number))
        sums[number] = total
    return sums


def choose_rice(gaps: np.ndarray, ids: int) -> tuple[int, int]:
    """The Rice parameter that :mod:`bsa_st.codes.file` takes, and the bits of the quotients.

    Args:
        gaps: As of :func:`gaps_of`.
        ids: Their number without the zeros.
    """
    if ids == 0:
        return 0, 0
    guess = max(0, int(np.log2(gaps.sum(dtype=np.int64) / ids + 1)))
    first = max(0, guess - 2)
    sums = sums_of_quotients(gaps, first)
    rice = min(range(first, guess + 2), key=lambda rice: rice * ids + int(sums[rice - first]))
    return rice, ids + int(sums[rice - first])


@numba.njit(cache=True, nogil=True)
def encode_block(gaps: np.ndarray, indptr: np.ndarray, rice: int, least: int, count_bits: int, body: np.ndarray) -> None:
    """Write the sections of a block into ``body``, zeroed uint8 and large enough.

    Args:
        gaps: As of :func:`gaps_of`.
        indptr: int64 (documents + 1,), from 0.
        rice: Rice parameter.
        least: Smallest count.
        count_bits: Bits per count above it.
        body: Written.
    """
    documents, ids = len(indptr) - 1, indptr[-1]
    size = (documents + 7) >> 3
    if count_bits:
        for document in range(documents):
            above = indptr[document + 1] - indptr[document] - least
            for plane in range(count_bits):
                body[plane * size + (document >> 3)] |= ((above >> plane) & 1) << (document & 7)
    remainders = count_bits * size
    size = (ids + 7) >> 3
    address = gaps.ctypes.data
    for group in range(len(gaps) // TOGETHER):
        at = 8 * group
        for plane in range(rice):
            word = bit_of_numbers(address, plane, group)
            for byte in range(min(8, size - at)):
                body[remainders + plane * size + at + byte] = np.uint8(word & np.uint64(255))
                word >>= np.uint64(8)
    _write_unary(gaps[:ids], rice, body[remainders + rice * size :])


@numba.njit(cache=True, nogil=True)
def _write_unary(gaps: np.ndarray, rice: int, body: np.ndarray) -> None:
    """For each gap its quotient in zeros, and a one."""
    word, done, bit = ZERO, np.int64(0), np.int64(-1)
    for gap in gaps:
        bit += (np.int64(gap) >> rice) + 1
        if bit - done >= 64:
            for byte in range(8):
                body[(done >> 3) + byte] = np.uint8((word >> np.uint64(8 * byte)) & np.uint64(255))
            word = ZERO
            done = bit & ~63
        word |= ONE << np.uint64(bit - done)
    for byte in range(len(body) - (done >> 3)):
        body[(done >> 3) + byte] = np.uint8((word >> np.uint64(8 * byte)) & np.uint64(255))
