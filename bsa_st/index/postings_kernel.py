"""numba: turn the codes of a block into bitmaps of frequent features and offset lists of the others."""

from __future__ import annotations

import numba
import numpy as np

ZERO = np.uint64(0)
ONE = np.uint64(1)
TOGETHER = 512
"""Documents whose bits are turned at a time: a cache line of each bitmap."""
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
    at = np.int64(0)
    for feature in range(dimensions):
        total[feature] += frequency[feature]
        starts[feature] = at
        cursors[feature] = at
        if frequency[feature] >= dense:
            slots[feature] = rows
            bitmaps[rows, :] = 0
            rows += 1
        else:
            slots[feature] = -1
            at += frequency[feature]
    starts[dimensions] = at
    turned = len(ids) * CROWDED >= len(counts) * dimensions
    if turned:
        _turn(ids, counts, slots, bitmaps)
        if at == 0:
            return rows
    place = 0
    for document in range(len(counts)):
        word, bit = document >> 6, ONE << np.uint64(document & 63)
        for _ in range(counts[document]):
            feature = ids[place]
            place += 1
            slot = slots[feature]
            if slot < 0:
                postings[cursors[feature]] = document
                cursors[feature] += 1
            elif not turned:
                bitmaps[slot, word] |= bit
    return rows


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
