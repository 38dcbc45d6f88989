"""numba: encode blocks of :mod:`bsa_st.codefile`; the bytes are those of :func:`bsa_st.codefile.encode_block`."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def encode_block(ids: np.ndarray, indptr: np.ndarray, rice: int, least: int, count_bits: int, body: np.ndarray) -> np.int64:
    """Write the sections of a block into ``body``, zeroed uint8 and large enough; returns the bytes of the block.

    Args:
        ids: Active ids of the block's documents.
        indptr: int64 (documents + 1,), from 0.
        rice: Rice parameter.
        least: Smallest count.
        count_bits: Bits per count above it.
        body: Written.
    """
    documents = len(indptr) - 1
    size = (documents + 7) >> 3
    for document in range(documents):
        above = indptr[document + 1] - indptr[document] - least
        for plane in range(count_bits):
            body[plane * size + (document >> 3)] |= ((above >> plane) & 1) << (document & 7)
    remainders = count_bits * size
    size = (len(ids) + 7) >> 3
    quotients = remainders + rice * size
    bit = np.int64(-1)
    for document in range(documents):
        previous = np.int64(-1)
        for place in range(indptr[document], indptr[document + 1]):
            gap = np.int64(ids[place]) - previous - 1
            previous = np.int64(ids[place])
            for plane in range(rice):
                body[remainders + plane * size + (place >> 3)] |= ((gap >> plane) & 1) << (place & 7)
            bit += (gap >> rice) + 1
            body[quotients + (bit >> 3)] |= 1 << (bit & 7)
    return quotients + ((bit + 8) >> 3)


@numba.njit(cache=True, nogil=True)
def quotient_bits(ids: np.ndarray, indptr: np.ndarray, rice: int) -> np.int64:
    """Bits of the quotients of a block: one for every id and one for every ``2^rice`` in its gap."""
    bits = np.int64(len(ids))
    for document in range(len(indptr) - 1):
        previous = np.int64(-1)
        for place in range(indptr[document], indptr[document + 1]):
            bits += (np.int64(ids[place]) - previous - 1) >> rice
            previous = np.int64(ids[place])
    return bits


def choose_rice(ids: np.ndarray, indptr: np.ndarray) -> int:
    """The Rice parameter that :mod:`bsa_st.codefile` takes."""
    if len(ids) == 0:
        return 0
    mean = (quotient_bits(ids, indptr, 0) - len(ids)) / len(ids)
    guess = max(0, int(np.log2(mean + 1)))
    candidates = range(max(0, guess - 2), guess + 2)
    return min(candidates, key=lambda rice: rice * len(ids) + quotient_bits(ids, indptr, rice))
