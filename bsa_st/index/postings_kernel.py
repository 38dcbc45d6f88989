"""numba: turn the codes of a block into bitmaps of frequent features and offset lists of the others."""

from __future__ import annotations

import numba
import numpy as np


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
    place = 0
    for document in range(len(counts)):
        word, bit = document >> 6, np.uint64(1) << np.uint64(document & 63)
        for _ in range(counts[document]):
            feature = ids[place]
            place += 1
            slot = slots[feature]
            if slot >= 0:
                bitmaps[slot, word] |= bit
            else:
                postings[cursors[feature]] = document
                cursors[feature] += 1
    return rows
