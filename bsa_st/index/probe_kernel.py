"""numba: sums of small weights over all documents in one byte each, and the documents with the best of them.

Where most features are in few documents, adding a weight to the byte of each document of a list is cheaper than counting bitmaps, and
keeps the weights finer; stored bitmaps are added under a mask, 64 documents at a time.
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.bits import prefetch, trailing_zeros
from bsa_st.index.lanes import FOUR, add_to_bytes, bytes_at_least
from bsa_st.index.tables import Found, Groups, Inverted

ZERO = np.uint64(0)
ONE = np.uint64(1)
SAMPLED = 32
"""Words of documents for each one from which the score needed is guessed."""
BINS = 2048
MARGIN = 2.5
"""Standard deviations of the number of documents in the sample by which the guess is low."""
LINE = 64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_weights(inverted: Inverted, features: np.ndarray, weights: np.ndarray, first_block: int, sums: np.ndarray) -> None:
    """Sum the weights of each document's features, modulo 256.

    Args:
        inverted: The documents' features.
        features: int32.
        weights: uint8.
        first_block: First block.
        sums: Written: uint8 (blocks, 2^15).
    """
    words = inverted.bitmaps.shape[1]
    empty = np.zeros(words, np.uint64)
    table, worth = np.empty(FOUR, np.int64), np.zeros(FOUR, np.int64)
    rows, amounts = table.ctypes.data, worth.ctypes.data
    bitmaps, lists = inverted.bitmaps.ctypes.data, inverted.postings.ctypes.data
    for number in range(len(sums)):
        block, own = first_block + number, sums[number]
        target = own.ctypes.data
        own[:] = 0
        taken = 0
        for place in range(len(features) + 1):
            if place + 1 < len(features):
                later = features[place + 1]
                slot = np.int64(inverted.slots[block, later])
                begin = lists + 2 * (inverted.bases[block] + np.int64(inverted.starts[block, later]))
                size = 2 * (np.int64(inverted.starts[block, later + 1]) - np.int64(inverted.starts[block, later]))
                if slot >= 0:
                    begin, size = bitmaps + slot * 8 * words, 8 * words
                for line in range(begin, begin + size, LINE):
                    prefetch(line)
            if place < len(features):
                feature = features[place]
                slot = np.int64(inverted.slots[block, feature])
                if slot < 0:
                    base, weight = inverted.bases[block], weights[place]
                    for cursor in range(
                        base + np.int64(inverted.starts[block, feature]), base + np.int64(inverted.starts[block, feature + 1])
                    ):
                        own[inverted.postings[cursor]] += weight
                    continue
                table[taken], worth[taken] = bitmaps + slot * 8 * words, np.int64(weights[place])
                taken += 1
            if taken == FOUR or (place == len(features) and taken > 0):
                while taken < FOUR:
                    table[taken], worth[taken] = empty.ctypes.data, 0
                    taken += 1
                for w in range(words):
                    add_to_bytes(rows, amounts, target, w)
                taken = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def guess_limit(
    sums: np.ndarray, groups: Groups, allowed: np.ndarray, step: float, base: float, want: int, first_block: int
) -> float:
    """A score that a few more than ``want`` documents probably have, from one word of documents in 32."""
    low = min(base * groups.low[0, 0], base * groups.high[0, 0])
    high = low
    for block in range(first_block, first_block + len(sums)):
        for group in range(groups.low.shape[1]):
            if groups.low[block, group] <= groups.high[block, group]:
                for size in (groups.low[block, group], groups.high[block, group]):
                    low, high = min(low, base * size), max(high, (255 * step + base) * size)
    if not high > low:
        return -np.inf
    bins = np.zeros(BINS + 1, np.int64)
    fineness = BINS / (high - low)
    words = allowed.shape[1]
    for number in range(len(sums)):
        block = first_block + number
        for w in range(number % SAMPLED, words, SAMPLED):
            left = allowed[block, w]
            while left != ZERO:
                place = (w << 6) + np.int64(trailing_zeros(left))
                left &= left - ONE
                size = groups.sizes[(block << 15) + place] if len(groups.sizes) > 1 else groups.sizes[0]
                score = (np.float64(sums[number, place]) * step + base) * size
                bins[min(max(int((score - low) * fineness), 0), BINS)] += 1
    target = want / SAMPLED + MARGIN * np.sqrt(want / SAMPLED) + 2
    reached, place = np.int64(0), np.int64(BINS)
    while place > 0 and reached + bins[place] < target:
        reached += bins[place]
        place -= 1
    return low + place / fineness if place > 0 else -np.inf


@numba.njit(cache=True, nogil=True, error_model="numpy")
def at_least(
    sums: np.ndarray, groups: Groups, allowed: np.ndarray, step: float, base: float, limit: float, first_block: int
) -> Found:
    """All documents whose score is at least ``limit``."""
    used, documents = _near(sums, groups, allowed, step, base, limit, first_block)
    kept, scores = 0, np.empty(used)
    for entry in range(used):
        document = documents[entry]
        size = groups.sizes[document] if len(groups.sizes) > 1 else groups.sizes[0]
        score = (np.float64(sums[(document >> 15) - first_block, document & 32767]) * step + base) * size
        if score >= limit:
            documents[kept], scores[kept] = document, score
            kept += 1
    return Found(np.zeros(kept, np.int32), documents[:kept], scores[:kept])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _near(
    sums: np.ndarray, groups: Groups, allowed: np.ndarray, step: float, base: float, limit: float, first_block: int
) -> tuple[int, np.ndarray]:
    """Number and positions of the documents that would reach ``limit`` with the best factor of their group; asks for their factors."""
    documents, used = np.empty(1 << 16, np.int64), 0
    kinds, words = groups.masks.shape[1], allowed.shape[1]
    needs = np.empty(kinds, np.int64)
    for number in range(len(sums)):
        block = first_block + number
        for group in range(kinds):
            needs[group] = _least_sum(groups.low[block, group], groups.high[block, group], step, base, limit)
        if needs.min() > 255:
            continue
        # room for the whole block, since numba counts references in every round of a loop that may replace an array
        if used + (words << 6) > len(documents):
            documents = np.concatenate((documents, np.empty(len(documents), np.int64)))
        used = _near_in_block(sums[number], groups, allowed[block], needs, block, documents, used)
    return used, documents


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _near_in_block(
    sums: np.ndarray, groups: Groups, allowed: np.ndarray, needs: np.ndarray, block: int, documents: np.ndarray, used: int
) -> int:
    """Write the positions of a block's documents that reach the sum their group needs, from ``used`` on; returns how many there are now."""
    start, easiest, masks = sums.ctypes.data, needs.min(), groups.masks[block]
    sizes, varied = groups.sizes.ctypes.data, len(groups.sizes) > 1
    for w in range(len(allowed)):
        near = bytes_at_least(start, easiest, w) & allowed[w]
        if near == ZERO:
            continue
        left = ZERO
        for group in range(len(needs)):
            if needs[group] < 256:
                left |= bytes_at_least(start, needs[group], w) & masks[group, w]
        left &= near
        while left != ZERO:
            document = (block << 15) + (w << 6) + np.int64(trailing_zeros(left))
            left &= left - ONE
            documents[used] = document
            used += 1
            if varied:
                prefetch(sizes + 4 * document)
    return used


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _least_sum(low: float, high: float, step: float, base: float, limit: float) -> int:
    """Smallest sum with which a document whose factor is between ``low`` and ``high`` reaches ``limit``; 256 if there is none."""
    least, most = 0, 256
    while least < most and low <= high:
        middle = (least + most) >> 1
        worth = np.float64(middle) * step + base
        if max(worth * low, worth * high) >= limit:
            most = middle
        else:
            least = middle + 1
    return least if low <= high else 256
