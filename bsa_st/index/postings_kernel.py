"""numba: turn the codes of a block into bitmaps of frequent features and offset lists of the others."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import popcount, trailing_zeros

ZERO = np.uint64(0)
ONE = np.uint64(1)
TOGETHER = 512
"""Documents whose bits are turned at a time: a cache line of each bitmap."""
SPARE = 64
"""Bitmaps for bits that nobody reads, so that setting one need not wait for the one before."""
LOW_HALF = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def invert_ids(
    ids: np.ndarray,
    counts: np.ndarray,
    dense: int,
    bitmaps: np.ndarray,
    rows: int,
    slots: np.ndarray,
    postings: np.ndarray,
    starts: np.ndarray,
    total: np.ndarray,
) -> int:
    """Invert one block, id by id.

    Args:
        ids: Active ids of the block's documents.
        counts: Active features of each document.
        dense: Features of at least so many documents get a bitmap.
        bitmaps: Written from row ``rows`` on: uint64 (rows, 512).
        rows: Rows that are taken.
        slots: Written: int32 (D,), row of a feature's bitmap or -1.
        postings: Written: uint16, offsets of documents, feature after feature.
        starts: Written: uint32 (D + 1,), where a feature's offsets start.
        total: int64 (D,); the documents of each feature are added.

    Returns:
        Rows that are taken now.
    """
    frequency = np.zeros(len(slots), np.int64)
    for place in range(len(ids)):
        frequency[ids[place]] += 1
    taken = _set_places(frequency, dense, rows, slots, starts, total)
    _scatter(ids, counts, slots, rows, starts, bitmaps[rows:taken], postings)
    return taken


@numba.njit(cache=True, nogil=True)
def invert_bits(
    bits: np.ndarray,
    dense: int,
    bitmaps: np.ndarray,
    rows: int,
    slots: np.ndarray,
    postings: np.ndarray,
    starts: np.ndarray,
    total: np.ndarray,
) -> int:
    """Invert one block by turning the documents' bits, uint64 (documents, ceil(D / 64)); the rest as in :func:`invert_ids`."""
    turned = np.zeros((bits.shape[1] << 6, bitmaps.shape[1]), np.uint64)
    _turn(bits, turned)
    frequency = np.zeros(len(slots), np.int64)
    for feature in range(len(slots)):
        for word in turned[feature]:
            frequency[feature] += np.int64(popcount(word))
    taken = _set_places(frequency, dense, rows, slots, starts, total)
    for feature in range(len(slots)):
        if slots[feature] >= 0:
            bitmaps[slots[feature]] = turned[feature]
            continue
        place = np.int64(starts[feature])
        for number in range(turned.shape[1]):
            left = turned[feature, number]
            while left != ZERO:
                postings[place] = (number << 6) + np.int64(trailing_zeros(left))
                left &= left - ONE
                place += 1
    return taken


@numba.njit(cache=True, nogil=True)
def _set_places(frequency: np.ndarray, dense: int, rows: int, slots: np.ndarray, starts: np.ndarray, total: np.ndarray) -> int:
    """Rows of bitmaps and starts of lists; returns the rows that are taken then."""
    at = np.int64(0)
    for feature in range(len(slots)):
        total[feature] += frequency[feature]
        starts[feature] = at
        if frequency[feature] >= dense:
            slots[feature] = rows
            rows += 1
        else:
            slots[feature] = -1
            at += frequency[feature]
    starts[len(slots)] = at
    return rows


@numba.njit(cache=True, nogil=True)
def _scatter(
    ids: np.ndarray,
    counts: np.ndarray,
    slots: np.ndarray,
    first_row: int,
    starts: np.ndarray,
    bitmaps: np.ndarray,
    postings: np.ndarray,
) -> None:
    """Bitmaps and lists, an id at a time and without a branch: every id sets a bit and writes an offset, one of the two where nobody reads it."""
    # the lines of all bitmaps, close together; the bitmaps' own are 4 KB apart
    lines = np.zeros((len(bitmaps) + SPARE, TOGETHER >> 6), np.uint64)
    rows, steps = np.empty(len(slots), np.int64), np.zeros(len(slots), np.int64)
    cursors = starts.astype(np.int64)
    for feature in range(len(slots)):
        if slots[feature] < 0:
            rows[feature], steps[feature] = len(bitmaps) + feature % SPARE, 1
        else:
            rows[feature], cursors[feature] = slots[feature] - first_row, starts[len(slots)]
    place = 0
    for first in range(0, bitmaps.shape[1] << 6, TOGETHER):
        for document in range(first, min(first + TOGETHER, len(counts))):
            word, bit = (document - first) >> 6, ONE << np.uint64(document & 63)
            for _ in range(counts[document]):
                feature = ids[place]
                place += 1
                lines[rows[feature], word] |= bit
                postings[cursors[feature]] = document
                cursors[feature] += steps[feature]
        for row in range(len(bitmaps)):
            for word in range(TOGETHER >> 6):
                bitmaps[row, (first >> 6) + word] = lines[row, word]
                lines[row, word] = ZERO


@numba.njit(cache=True, nogil=True)
def _turn(bits: np.ndarray, turned: np.ndarray) -> None:
    """Bitmaps of all features, zeroed uint64 (features, 512), from the documents' bits."""
    documents, columns = bits.shape
    lines = np.empty((64, TOGETHER >> 6), np.uint64)
    square = np.empty(64, np.uint64)
    for first in range(0, documents, TOGETHER):
        for column in range(columns):
            for word in range(TOGETHER >> 6):
                start = first + (word << 6)
                for row in range(64):
                    square[row] = bits[start + row, column] if start + row < documents else ZERO
                _transpose(square)
                lines[:, word] = square
            turned[column << 6 : (column + 1) << 6, first >> 6 : (first + TOGETHER) >> 6] = lines


@numba.njit(cache=True, nogil=True)
def _transpose(square: np.ndarray) -> None:
    """Turn 64 words of 64 bits, in place: bit c of word r becomes bit r of word c.

    Source: H. S. Warren, Hacker's Delight, section 7-3.
    """
    mask, step = LOW_HALF, 32
    while step:
        shift = np.uint64(step)
        for first in range(0, 64, 2 * step):
            for row in range(first, first + step):
                swapped = ((square[row] >> shift) ^ square[row + step]) & mask
                square[row + step] ^= swapped
                square[row] ^= swapped << shift
        step >>= 1
        mask ^= mask << np.uint64(step)
