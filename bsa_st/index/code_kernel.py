"""numba: decode blocks of :mod:`bsa_st.codes.file`, and single codes out of a block.

The ids are those of :func:`bsa_st.codes.file.decode_block`; a row of ``table`` describes a
block by the columns of :mod:`bsa_st.index.store`.
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import popcount, trailing_zeros
from bsa_st.index.lanes import add_to_numbers
from bsa_st.index.store import BYTES, COUNT_BITS, COUNTS_BYTES, IDS, LEAST, OFFSET, REMAINDER_BYTES, RICE, STRIDE, TEXTS

GROUP = 32
"""Documents that are fetched from memory together."""

ZERO = np.uint64(0)
ONE = np.uint64(1)


@numba.njit(cache=True, nogil=True, inline="always")
def _word(raw: np.ndarray, place: int) -> np.uint64:
    """64 bits from byte ``place`` on."""
    word = ZERO
    for byte in range(8):
        word |= np.uint64(raw[place + byte]) << np.uint64(8 * byte)
    return word


@numba.njit(cache=True, nogil=True)
def count_of(raw: np.ndarray, entry: np.ndarray, document: int) -> int:
    """Active features of one document of a block."""
    count = entry[LEAST]
    size = (entry[TEXTS] + 7) >> 3
    place = entry[OFFSET] + (document >> 3)
    for plane in range(entry[COUNT_BITS]):
        count += ((np.int64(raw[place + plane * size]) >> (document & 7)) & 1) << plane
    return count


@numba.njit(cache=True, nogil=True)
def _remainder(raw: np.ndarray, entry: np.ndarray, place: int) -> int:
    size = (entry[IDS] + 7) >> 3
    at = entry[OFFSET] + entry[COUNTS_BYTES] + (place >> 3)
    value = np.int64(0)
    for plane in range(entry[RICE]):
        value |= ((np.int64(raw[at + plane * size]) >> (place & 7)) & 1) << plane
    return value


@numba.njit(cache=True, nogil=True)
def decode_block(
    raw: np.ndarray, entry: np.ndarray, hidden_dim: int, ids: np.ndarray, counts: np.ndarray, skips: np.ndarray
) -> bool:
    """All ids of a block, and its skip table.

    Args:
        raw: Bytes of all blocks, uint8, padded behind the last block.
        entry: The block's row, int64 (9,).
        hidden_dim: What the ids must be below.
        ids: Written: active ids, int32 (IDS,).
        counts: Written: active features of each document, int32 (TEXTS,).
        skips: Written: uint32 (ceil(TEXTS / STRIDE), 2), number of ids and of quotient bits before every STRIDE-th document.

    Returns:
        Whether the block was well-formed.
    """
    total = np.int64(0)
    for document in range(entry[TEXTS]):
        counts[document] = count_of(raw, entry, document)
        total += counts[document]
    if total != entry[IDS]:
        return False
    size = (entry[IDS] + 7) >> 3
    remainders = entry[OFFSET] + entry[COUNTS_BYTES]
    whole = entry[IDS] >> 6
    target = ids.ctypes.data
    ids[:] = 0
    for plane in range(entry[RICE]):
        start = remainders + plane * size
        for group in range(whole):
            add_to_numbers(_word(raw, start + 8 * group), 1 << plane, target, group)
        for place in range(whole << 6, entry[IDS]):
            ids[place] |= ((np.int32(raw[start + (place >> 3)]) >> (place & 7)) & 1) << plane
    base = remainders + entry[REMAINDER_BYTES]
    end = entry[OFFSET] + entry[BYTES]
    at = base
    word = ZERO
    word_bit = np.int64(-64)
    next_bit = np.int64(0)
    place = np.int64(0)
    for document in range(entry[TEXTS]):
        if document % STRIDE == 0:
            skips[document // STRIDE, 0] = place
            skips[document // STRIDE, 1] = next_bit
        previous = np.int64(-1)
        for _ in range(counts[document]):
            while word == ZERO:
                if at >= end:
                    return False
                word = _word(raw, at)
                if at + 8 > end:
                    word &= (ONE << np.uint64(8 * (end - at))) - ONE
                word_bit += 64
                at += 8
            bit = word_bit + np.int64(trailing_zeros(word))
            word &= word - ONE
            previous += ((bit - next_bit) << entry[RICE]) + ids[place] + 1
            next_bit = bit + 1
            ids[place] = previous
            place += 1
        if previous >= hidden_dim:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def decode_document(raw: np.ndarray, entry: np.ndarray, skips: np.ndarray, document: int, ids: np.ndarray) -> int:
    """Ids of one document into ``ids``, int32; returns their number."""
    start = document // STRIDE
    place, bit = np.int64(skips[start, 0]), np.int64(skips[start, 1])
    skipped = np.int64(0)
    if entry[COUNT_BITS] == 0:
        skipped = (document % STRIDE) * entry[LEAST]
    else:
        for before in range(start * STRIDE, document):
            skipped += count_of(raw, entry, before)
    place += skipped
    base = entry[OFFSET] + entry[COUNTS_BYTES] + entry[REMAINDER_BYTES]
    at = base + (bit >> 3)
    word = _word(raw, at) & ~((ONE << np.uint64(bit & 7)) - ONE)
    word_bit = (bit >> 3) << 3
    ones = np.int64(popcount(word))
    while ones < skipped:
        skipped -= ones
        at += 8
        word_bit += 64
        word = _word(raw, at)
        ones = np.int64(popcount(word))
    for _ in range(skipped):
        bit = word_bit + np.int64(trailing_zeros(word)) + 1
        word &= word - ONE
    count = count_of(raw, entry, document)
    previous = np.int64(-1)
    for number in range(count):
        while word == ZERO:
            at += 8
            word_bit += 64
            word = _word(raw, at)
        end = word_bit + np.int64(trailing_zeros(word))
        word &= word - ONE
        previous += ((end - bit) << entry[RICE]) + _remainder(raw, entry, place + number) + 1
        bit = end + 1
        ids[number] = previous
    return count


@numba.njit(cache=True, nogil=True)
def weigh_documents(
    raw: np.ndarray,
    table: np.ndarray,
    skips: np.ndarray,
    shift: int,
    documents: np.ndarray,
    weights: np.ndarray,
    ids: np.ndarray,
    sums: np.ndarray,
) -> int:
    """Sum of the weights of each document's active features, added in the order of the ids.

    Args:
        raw: Bytes of all blocks.
        table: int64 (blocks, 9).
        skips: uint32 (blocks, entries, 2), the skip tables of all blocks.
        shift: log2 of the documents per block.
        documents: Positions, int64 (m,).
        weights: float64 (D,).
        ids: Room for the ids of one document, int32.
        sums: Written: float64 (m,).

    Returns:
        Nothing of meaning: what was read ahead.
    """
    touched = np.uint8(0)
    for start in range(0, len(documents), GROUP):
        stop = min(start + GROUP, len(documents))
        for number in range(start, stop):
            touched |= _touch(raw, table, skips, shift, documents[number])
        for number in range(start, stop):
            block = documents[number] >> shift
            inside = documents[number] - (block << shift)
            count = decode_document(raw, table[block], skips[block], inside, ids)
            total = 0.0
            for place in range(count):
                total += weights[ids[place]]
            sums[number] = total
    return touched


@numba.njit(cache=True, nogil=True)
def _touch(raw: np.ndarray, table: np.ndarray, skips: np.ndarray, shift: int, document: int) -> int:
    """Read a byte of each section near a document, so that the waits of many documents for memory overlap."""
    block = document >> shift
    inside = document - (block << shift)
    entry = table[block]
    skip = skips[block, inside // STRIDE]
    place = np.int64(skip[0]) + (inside % STRIDE) * (entry[IDS] // entry[TEXTS])
    at = entry[OFFSET] + entry[COUNTS_BYTES]
    size = (entry[IDS] + 7) >> 3
    touched = raw[at + entry[REMAINDER_BYTES] + (np.int64(skip[1]) >> 3)]
    for plane in range(entry[RICE]):
        touched |= raw[at + plane * size + min(place >> 3, size - 1)]
    return touched


@numba.njit(cache=True, nogil=True)
def decode_documents(
    raw: np.ndarray,
    table: np.ndarray,
    skips: np.ndarray,
    shift: int,
    documents: np.ndarray,
    indptr: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Ids of many documents.

    Args:
        raw: Bytes of all blocks.
        table: int64 (blocks, 9).
        skips: uint32 (blocks, entries, 2).
        shift: log2 of the documents per block.
        documents: Positions, int64 (m,).
        indptr: Written: int64 (m + 1,), where each document's ids start.
        ids: Written: int32, at least as long as all ids together.
    """
    indptr[0] = 0
    for number in range(len(documents)):
        block = documents[number] >> shift
        inside = documents[number] - (block << shift)
        count = decode_document(raw, table[block], skips[block], inside, ids[indptr[number] :])
        indptr[number + 1] = indptr[number] + count
