"""numba: the bitmaps of some features for some words of a block, where each query's counter finds them."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import prefetch
from bsa_st.index.lanes import AT_A_TIME
from bsa_st.index.tables import Counting, Inverted

AHEAD = 8
"""Bitmaps and lists between the one that is asked for and the one that is used."""
UNROLLED = 8
"""Postings that are taken after one look at the last of them."""
ONE, SIX, LAST = np.uint64(1), np.uint64(6), np.uint64(63)
LINE = 64
"""Bytes of a cache line."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def distinct(features: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct features in their order, int64, and where each feature of all stands among them, int64 (dimensions,)."""
    rank = np.full(dimensions, -1, np.int64)
    for feature in features:
        rank[feature] = 0
    union = np.flatnonzero(rank == 0)
    for number in range(len(union)):
        rank[union[number]] = number
    return union, rank


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(
    inverted: Inverted,
    union: np.ndarray,
    block: int,
    first_word: int,
    copied: bool,
    cursors: np.ndarray,
    rows: np.ndarray,
    places: np.ndarray,
) -> None:
    """Bitmaps of the distinct features for the words from ``first_word`` on.

    Args:
        inverted: Bitmaps and lists.
        union: The features.
        block: Block.
        first_word: First word.
        copied: Copy the stored bitmaps too, so that those of many queries lie close together.
        cursors: int64 (features,), where the lists go on; updated.
        rows: Written: uint64 (features, words).
        places: Written: int64 (features,), addresses of the bitmaps, in ``rows`` or where they are stored.
    """
    words, stored = rows.shape[1], inverted.bitmaps.shape[1]
    lists, bitmaps, own = inverted.postings.ctypes.data, inverted.bitmaps.ctypes.data, rows.ctypes.data
    limit, skip = (first_word + words) << 6, np.uint64(first_word << 6)
    for number in range(len(union)):
        if number + AHEAD < len(union):
            later = union[number + AHEAD]
            slot = np.int64(inverted.slots[block, later])
            if slot >= 0:
                line = bitmaps + (slot * stored + first_word) * 8
                until = line + words * 8
            else:
                line = lists + 2 * cursors[number + AHEAD]
                until = min(lists + 2 * (inverted.bases[block] + np.int64(inverted.starts[block, later + 1])), line + 2 * words)
            while line < until:
                prefetch(line)
                line += LINE
        feature = union[number]
        slot = np.int64(inverted.slots[block, feature])
        places[number] = own + number * 8 * words
        if slot >= 0:
            if copied:
                for w in range(words):
                    rows[number, w] = inverted.bitmaps[slot, first_word + w]
            else:
                places[number] = bitmaps + (slot * stored + first_word) * 8
            continue
        rows[number, :] = 0
        row = rows[number]
        cursor, end = cursors[number], inverted.bases[block] + np.int64(inverted.starts[block, feature + 1])
        while cursor + UNROLLED <= end and inverted.postings[cursor + UNROLLED - 1] < limit:
            for place in range(cursor, cursor + UNROLLED):
                inside = np.uint64(inverted.postings[place]) - skip
                row[inside >> SIX] |= ONE << (inside & LAST)
            cursor += UNROLLED
        while cursor < end and inverted.postings[cursor] < limit:
            inside = np.uint64(inverted.postings[cursor]) - skip
            row[inside >> SIX] |= ONE << (inside & LAST)
            cursor += 1
        cursors[number] = cursor


@numba.njit(cache=True, nogil=True, error_model="numpy")
def skip_words(inverted: Inverted, union: np.ndarray, block: int, until_word: int, cursors: np.ndarray) -> None:
    """Move the cursors behind the documents before ``until_word``."""
    for number in range(len(union)):
        end = inverted.bases[block] + np.int64(inverted.starts[block, union[number] + 1])
        while cursors[number] < end and inverted.postings[cursors[number]] < until_word << 6:
            cursors[number] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def list_bitmaps(
    counting: Counting,
    query: int,
    bits: int,
    rank: np.ndarray,
    places: np.ndarray,
    nothing: int,
    table: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Addresses of a query's bitmaps, in groups by the bits of their weights, as :func:`bsa_st.index.counter_kernel.count` takes them.

    Args:
        counting: The queries.
        query: Which.
        bits: Bits of its largest weight.
        rank: Where each feature stands among the distinct ones.
        places: Their addresses.
        nothing: Address of an empty bitmap.
        table: Written: int64.
        ends: Written: int64 (bits,).
    """
    used = 0
    for number in range(bits):
        bit = bits - 1 - number
        for place in range(counting.indptr[query], counting.indptr[query + 1]):
            if (counting.weights[place] >> bit) & 1:
                table[used] = places[rank[counting.features[place]]]
                used += 1
        while used % AT_A_TIME:
            table[used] = nothing
            used += 1
        ends[number] = used
