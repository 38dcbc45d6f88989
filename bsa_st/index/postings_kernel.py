"""numba: turn the codes of a block into bitmaps of frequent features and offset lists of the others."""

from __future__ import annotations

import numba
import numpy as np

ZERO = np.uint64(0)
ONE = np.uint64(1)
TOGETHER = 512
"""Documents whose bits are turned at a time: a cache line of each bitmap."""
SPARE = 64
"""Bitmaps for bits that nobody reads, so that setting one need not wait for the one before."""
CROWDED = 16
"""Where at least one in so many features is active, bitmaps are made by turning the documents' bits: 64 by 64 at a time."""
LOW_HALF = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def invert(
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
    """Invert one block.

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
    dimensions = len(slots)
    frequency = np.zeros(dimensions, np.int64)
    for place in range(len(ids)):
        frequency[ids[place]] += 1
    cursors = np.empty(dimensions, np.int64)
    at, taken, first_row = np.int64(0), 0, rows
    for feature in range(dimensions):
        total[feature] += frequency[feature]
        starts[feature] = at
        cursors[feature] = at
        if frequency[feature] >= dense:
            slots[feature] = first_row + taken
            taken += 1
        else:
            slots[feature] = -1
            at += frequency[feature]
    starts[dimensions] = at
    turned = len(ids) * CROWDED >= len(counts) * dimensions
    own = bitmaps[first_row : first_row + taken]
    if turned:
        own[:] = ZERO
        _turn(ids, counts, slots, bitmaps)
        if at == 0:
            return first_row + taken
        place = 0
        for document in range(len(counts)):
            for _ in range(counts[document]):
                feature = ids[place]
                place += 1
                if slots[feature] < 0:
                    postings[cursors[feature]] = document
                    cursors[feature] += 1
        return first_row + taken
    _scatter(ids, counts, slots, first_row, cursors, at, own, postings)
    return first_row + taken


@numba.njit(cache=True, nogil=True)
def _scatter(
    ids: np.ndarray,
    counts: np.ndarray,
    slots: np.ndarray,
    first_row: int,
    cursors: np.ndarray,
    unused: int,
    bitmaps: np.ndarray,
    postings: np.ndarray,
) -> None:
    """Bitmaps and lists, an id at a time and without a branch: every id sets a bit and writes an offset, one of the two where nobody reads it."""
    # the lines of all bitmaps, close together; the bitmaps' own are 4 KB apart
    lines = np.zeros((len(bitmaps) + SPARE, TOGETHER >> 6), np.uint64)
    rows, steps = np.empty(len(slots), np.int64), np.zeros(len(slots), np.int64)
    for feature in range(len(slots)):
        if slots[feature] < 0:
            rows[feature], steps[feature] = len(bitmaps) + feature % SPARE, 1
        else:
            rows[feature], cursors[feature] = slots[feature] - first_row, unused
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
def _turn(ids: np.ndarray, counts: np.ndarray, slots: np.ndarray, bitmaps: np.ndarray) -> None:
    """Bitmaps of the features that have a slot, from the documents' bits."""
    columns = (len(slots) + 63) >> 6
    bits = np.empty((columns, TOGETHER), np.uint64)
    lines = np.empty((64, TOGETHER >> 6), np.uint64)
    square = np.empty(64, np.uint64)
    place = 0
    for first in range(0, len(counts), TOGETHER):
        bits[:] = ZERO
        for document in range(first, min(first + TOGETHER, len(counts))):
            for _ in range(counts[document]):
                feature = ids[place]
                place += 1
                bits[feature >> 6, document - first] |= ONE << np.uint64(feature & 63)
        for column in range(columns):
            for word in range(TOGETHER >> 6):
                square[:] = bits[column, word << 6 : (word + 1) << 6]
                _transpose(square)
                lines[:, word] = square
            for number in range(min(64, len(slots) - (column << 6))):
                slot = slots[(column << 6) + number]
                if slot >= 0:
                    bitmaps[slot, first >> 6 : (first + TOGETHER) >> 6] = lines[number]


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
