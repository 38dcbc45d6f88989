"""numba: count shared features of queries and all documents, block by block, and keep the best.

A block holds 2^15 documents: 512 words of 64 bits. Every active feature of a query contributes one bitmap, stored or scattered from a
list of offsets; bit-sliced counters add eight bitmaps at a time with carry-save adders, so that a word of 64 documents costs about
six instructions per feature. A weighted feature is added at the planes of its weight's bits. Comparison with the score needed is bit-sliced too; only the few documents that pass are unpacked.
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.best_kernel import SCALED, prune, replace_least, score_of
from bsa_st.index.bits import popcount, prefetch, trailing_zeros
from bsa_st.index.counter_kernel import add_eight, mask_at_least, value_of_rank

ZERO = np.uint64(0)
ONE = np.uint64(1)
AHEAD = 8
"""Bitmaps and lists between the one that is asked for and the one that is used."""
GUESS_MARGIN = 2
GUESS_LEAST = 64
"""The score needed is guessed so that about twice as many documents as wanted have it, and so many of the first tile."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scan(
    bitmaps: np.ndarray,
    slots: np.ndarray,
    postings: np.ndarray,
    starts: np.ndarray,
    bases: np.ndarray,
    allowed: np.ndarray,
    sizes: np.ndarray,
    class_masks: np.ndarray,
    class_low: np.ndarray,
    class_high: np.ndarray,
    features: np.ndarray,
    weights: np.ndarray,
    indptr: np.ndarray,
    measure: int,
    own: np.ndarray,
    steps: np.ndarray,
    base_scores: np.ndarray,
    floors: np.ndarray,
    least_value: int,
    lowest: np.ndarray,
    levels: int,
    want: int,
    total: int,
    tile: int,
    first_block: int,
    last_block: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Documents whose score is among the ``want`` best of their query, ties included, over a range of blocks.

    Args:
        bitmaps: uint64 (rows, 512), bitmaps of frequent features.
        slots: int32 (blocks, D), row of the feature's bitmap, or -1.
        postings: uint16, offsets within the block of the other features' documents.
        starts: uint32 (blocks, D + 1), where a feature's offsets start within the block's part of ``postings``.
        bases: int64 (blocks,), where that part starts.
        allowed: uint64 (blocks, 512), documents that may be found.
        sizes: float32 (documents,), or (1,) where all are equal: the ``size`` of :func:`score_of`.
        class_masks: uint64 (blocks, classes, 512), the documents of each class of sizes.
        class_low: float32 (blocks, classes), smallest size in a class.
        class_high: float32 (blocks, classes), largest size in a class.
        features: int32, features of all queries.
        weights: int32, their weights, at least 1.
        indptr: int64 (queries + 1,), where each query's features start.
        measure: One of the constants of :mod:`bsa_st.index.best_kernel`.
        own: float32 (queries,), sizes of the queries.
        steps: float64 (queries,), worth of 1 in the counter.
        base_scores: float64 (queries,), worth of 0 in the counter.
        floors: float64 (queries,), scores below it are not wanted.
        least_value: Documents whose counter is smaller are not wanted.
        lowest: int64 (queries,), least score that a document may have (``SCALED``).
        levels: Number of different scores (``SCALED``).
        want: Best documents per query, 0 for all that reach the floor.
        total: Documents that may be found in these blocks: the score needed is then guessed from the first of them (``SCALED``);
            0 not to guess.
        tile: Words that are counted at a time; a divisor of 512.
        first_block: First block.
        last_block: Behind the last block.

    Returns:
        Query of each entry, int32; position of its document, int64; its score, float64; whether a guess was too
        high for a query, so that its documents are too few.
    """
    queries = len(indptr) - 1
    words = bitmaps.shape[1]
    dimensions = slots.shape[1]
    classes = class_masks.shape[1]

    used_features = np.zeros(dimensions, np.bool_)
    used_features[features] = True
    distinct = np.count_nonzero(used_features)
    union = np.empty(distinct, np.int32)
    rank = np.full(dimensions, -1, np.int32)
    at = 0
    for feature in range(dimensions):
        if used_features[feature]:
            union[at] = feature
            rank[feature] = at
            at += 1
    together = tile < words
    scattered = np.zeros((distinct + 1, tile), np.uint64)  # the last row stays empty
    block_slots = np.zeros(distinct, np.int64)
    cursors = np.zeros(distinct, np.int64)
    ends = np.zeros(distinct, np.int64)

    tops = np.zeros(queries, np.int64)
    most_bits = np.zeros(queries, np.int64)
    for query in range(queries):
        largest, heaviest = np.int64(0), np.int64(0)
        for place in range(indptr[query], indptr[query + 1]):
            weight = np.int64(weights[place])
            largest += weight
            heaviest = max(heaviest, weight)
        while heaviest >> most_bits[query]:
            most_bits[query] += 1
        while largest >> tops[query]:
            tops[query] += 1
        tops[query] = max(tops[query], most_bits[query] + 2, 3)
    planes = np.zeros((tops.max() if queries else 3, tile), np.uint64)
    carry = np.zeros(tile, np.uint64)
    mask = np.zeros(tile, np.uint64)
    part = np.zeros(tile, np.uint64)
    seen = np.zeros(tile, np.uint64)

    addresses = np.empty(len(features), np.int64)
    rows = np.empty(8, np.int64)
    bitmap_start, scatter_start = bitmaps.ctypes.data, scattered.ctypes.data
    postings_start = postings.ctypes.data
    nothing_start = scatter_start + distinct * 8 * tile

    counted = measure == SCALED and want > 0
    heaps = np.empty((queries, 1 if counted else max(want, 1)), np.float64)
    filled = np.zeros(queries, np.int64)
    histogram = np.zeros((queries if counted else 0, levels), np.int32)
    least_level = np.zeros(queries, np.int64)
    guessed = np.zeros(queries, np.bool_)
    heaps[:, 0] = -np.inf
    capacity = 1024
    owners = np.empty(capacity, np.int32)
    documents = np.empty(capacity, np.int64)
    found = np.empty(capacity, np.float64)
    used = 0
    for block in range(first_block, last_block):
        for number in range(distinct):
            feature = union[number]
            block_slots[number] = slots[block, feature]
            cursors[number] = bases[block] + starts[block, feature]
            ends[number] = bases[block] + starts[block, feature + 1]
        for tile_start in range(0, words, tile):
            tile_stop = tile_start + tile
            live = allowed[block, tile_start:tile_stop]
            busy = False
            for w in range(tile):
                busy |= live[w] != ZERO
            for number in range(distinct):
                after = number + AHEAD
                if after < distinct and busy:
                    slot = block_slots[after]
                    if slot >= 0:
                        line = bitmap_start + (slot * words + tile_start) * 8
                        until = line + tile * 8
                    else:
                        line = postings_start + 2 * cursors[after]
                        until = min(postings_start + 2 * ends[after], line + 2 * tile)
                    while line < until:
                        prefetch(line)
                        line += 64
                slot = block_slots[number]
                row = scattered[number]
                if slot >= 0:
                    if together and busy:
                        for w in range(tile):
                            row[w] = bitmaps[slot, tile_start + w]
                else:
                    cursor = cursors[number]
                    end = ends[number]
                    if busy:
                        for w in range(tile):
                            row[w] = ZERO
                    limit = tile_stop << 6
                    skip = tile_start << 6
                    while cursor < end and postings[cursor] < limit:
                        inside = np.int64(postings[cursor]) - skip
                        row[inside >> 6] |= ONE << np.uint64(inside & 63)
                        cursor += 1
                    cursors[number] = cursor
            if not busy:
                continue
            for query in range(queries):
                top = tops[query]
                for level in range(top):
                    plane = planes[level]
                    for w in range(tile):
                        plane[w] = ZERO
                begin, end = indptr[query], indptr[query + 1]
                for place in range(begin, end):
                    number = rank[features[place]]
                    slot = block_slots[number]
                    if slot < 0 or together:
                        addresses[place] = scatter_start + number * 8 * tile
                    else:
                        addresses[place] = bitmap_start + (slot * words + tile_start) * 8
                for bit in range(most_bits[query]):
                    taken = 0
                    for place in range(begin, end):
                        if (weights[place] >> bit) & 1:
                            rows[taken] = addresses[place]
                            taken += 1
                            if taken == 8:
                                add_eight(planes, bit, top, carry, rows)
                                taken = 0
                    if taken:
                        rows[taken:] = nothing_start
                        add_eight(planes, bit, top, carry, rows)
                full = want > 0 and filled[query] >= want
                for w in range(tile):
                    seen[w] = ZERO
                passes = 1
                if want > 0 and not full and not (total > 0 and guessed[query]):
                    passes = 2
                missing = want - filled[query]
                guess = 0
                if counted and total > 0 and not guessed[query]:
                    guessed[query] = True
                    share = np.int64(0)
                    for w in range(tile):
                        share += np.int64(popcount(live[w]))
                    guess = GUESS_MARGIN * want * share // total + GUESS_LEAST
                    missing = min(missing, guess)
                for attempt in range(passes):
                    if attempt == 1 and guess > 0:
                        level = levels - 1
                        reached = np.int64(histogram[query, level])
                        while level > 0 and reached < guess:
                            level -= 1
                            reached += histogram[query, level]
                        if level > least_level[query]:
                            least_level[query] = level
                            filled[query] = reached
                            heaps[query, 0] = level + lowest[query]
                    if attempt == 0 and passes == 2:
                        bound = value_of_rank(planes, top, missing, live)
                        mask_at_least(planes, top, max(bound, least_value), live, mask)
                    else:
                        full = want > 0 and filled[query] >= want
                        limit_score = floors[query]
                        if (full or counted) and heaps[query, 0] > limit_score:
                            limit_score = heaps[query, 0]
                        for w in range(tile):
                            mask[w] = ZERO
                        for group in range(classes):
                            low, high = class_low[block, group], class_high[block, group]
                            if low > high:
                                continue
                            need = np.int64(least_value)
                            most = np.int64(1) << top
                            while need < most:
                                middle = (need + most) >> 1
                                best = max(
                                    score_of(measure, middle, low, own[query], steps[query], base_scores[query]),
                                    score_of(measure, middle, high, own[query], steps[query], base_scores[query]),
                                )
                                if best >= limit_score:
                                    most = middle
                                else:
                                    need = middle + 1
                            members = class_masks[block, group, tile_start:tile_stop]
                            for w in range(tile):
                                carry[w] = members[w] & live[w]
                            mask_at_least(planes, top, need, carry, part)
                            for w in range(tile):
                                mask[w] |= part[w]
                        for w in range(tile):
                            mask[w] &= ~seen[w]
                    for w in range(tile):
                        bits = mask[w]
                        if bits == ZERO:
                            continue
                        seen[w] |= bits
                        while bits != ZERO:
                            lane = trailing_zeros(bits)
                            bits &= bits - ONE
                            value = np.int64(0)
                            for level in range(top):
                                value |= np.int64((planes[level, w] >> lane) & ONE) << level
                            document = (np.int64(block) << 15) + ((np.int64(tile_start) + w) << 6) + np.int64(lane)
                            size = sizes[document] if len(sizes) > 1 else sizes[0]
                            score = score_of(measure, value, size, own[query], steps[query], base_scores[query])
                            if score < floors[query]:
                                continue
                            if counted:
                                level = min(max(np.int64(score) - lowest[query], 0), levels - 1)
                                if level < least_level[query]:
                                    continue
                                histogram[query, level] += 1
                                filled[query] += 1
                                while filled[query] - histogram[query, least_level[query]] >= want:
                                    filled[query] -= histogram[query, least_level[query]]
                                    least_level[query] += 1
                                heaps[query, 0] = least_level[query] + lowest[query] if least_level[query] else -np.inf
                            elif want > 0:
                                if filled[query] < want:
                                    hole = filled[query]
                                    filled[query] += 1
                                    while hole > 0 and heaps[query, (hole - 1) >> 1] > score:
                                        heaps[query, hole] = heaps[query, (hole - 1) >> 1]
                                        hole = (hole - 1) >> 1
                                    heaps[query, hole] = score
                                elif score < heaps[query, 0]:
                                    continue
                                elif score > heaps[query, 0]:
                                    replace_least(heaps[query], want, score)
                            if used == capacity:
                                if want > 0:
                                    used = prune(owners, documents, found, used, heaps, filled, want)
                                if used > capacity // 2:
                                    capacity *= 2
                                    wider_owners = np.empty(capacity, np.int32)
                                    wider_owners[:used] = owners[:used]
                                    owners = wider_owners
                                    wider_documents = np.empty(capacity, np.int64)
                                    wider_documents[:used] = documents[:used]
                                    documents = wider_documents
                                    wider_found = np.empty(capacity, np.float64)
                                    wider_found[:used] = found[:used]
                                    found = wider_found
                            owners[used] = query
                            documents[used] = document
                            found[used] = score
                            used += 1
    if want > 0:
        used = prune(owners, documents, found, used, heaps, filled, want)
    short = total > 0 and counted and bool((filled < want).any())
    return owners[:used], documents[:used], found[:used], short
