"""numba: count shared features of queries and all documents, block by block, and keep the best.

A block holds 2^15 documents: 512 words of 64 bits. Every active feature of a query contributes one bitmap, stored or scattered from a
list of offsets; bit-sliced counters in registers add eight bitmaps at a time with carry-save adders. Comparison with the score still
needed is bit-sliced too; only the few documents that pass are unpacked.
"""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.best_kernel import prune, put, room, widened
from bsa_st.index.bits import trailing_zeros
from bsa_st.index.counter_kernel import MIDDLE, NARROW, WIDE, add_at_least, count, value_of_rank
from bsa_st.index.gather_kernel import distinct, gather, list_bitmaps, skip_words
from bsa_st.index.lanes import AT_A_TIME
from bsa_st.index.score_kernel import least_counter, score_of
from bsa_st.index.tables import Counting, Found, Groups, Inverted

ZERO = np.uint64(0)
ONE = np.uint64(1)
CAPACITY = 1024


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scan(
    inverted: Inverted,
    groups: Groups,
    counting: Counting,
    allowed: np.ndarray,
    want: int,
    tile: int,
    first_block: int,
    last_block: int,
) -> Found:
    """Documents whose score is among the ``want`` best of their query, ties included, over a range of blocks.

    Args:
        inverted: The documents' features.
        groups: Their sizes.
        counting: The queries.
        allowed: uint64 (blocks, 512), documents that may be found.
        want: Best documents per query, 0 for all that reach the floor.
        tile: Words that are counted at a time; a divisor of 512.
        first_block: First block.
        last_block: Behind the last block.
    """
    queries, words = len(counting.indptr) - 1, inverted.bitmaps.shape[1]
    union, rank = distinct(counting.features, inverted.slots.shape[1])
    bits, tops = _counter_bits(counting)
    most_bits = bits.max() if queries else 0
    longest = np.diff(counting.indptr).max() if queries else 0
    top = tops.max() if queries else 0
    planes = np.zeros((NARROW if top <= NARROW else MIDDLE if top <= MIDDLE else WIDE, tile), np.uint64)
    rows = np.zeros((len(union) + 1, tile), np.uint64)  # the last one stays empty
    nothing = rows.ctypes.data + len(union) * 8 * tile
    places, cursors = np.empty(len(union), np.int64), np.empty(len(union), np.int64)
    table, ends = np.empty(most_bits * (longest + AT_A_TIME), np.int64), np.empty(most_bits, np.int64)
    needs, limits = np.zeros((queries, groups.masks.shape[1]), np.int64), np.empty(queries)
    heaps, filled = np.full((queries, max(want, 1)), -np.inf), np.zeros(queries, np.int64)
    rest, within, mask = np.empty(tile, np.uint64), np.empty(tile, np.uint64), np.empty(tile, np.uint64)
    entries, used, lanes = room(CAPACITY), 0, np.empty(64 * tile, np.int32)
    for block in range(first_block, last_block):
        limits[:] = np.nan
        for number in range(len(union)):
            cursors[number] = inverted.bases[block] + np.int64(inverted.starts[block, union[number]])
        for first_word in range(0, words, tile):
            live = allowed[block, first_word : first_word + tile]
            if not live.any():
                skip_words(inverted, union, block, first_word + tile, cursors)
                continue
            gather(inverted, union, block, first_word, tile < words, cursors, rows, places)
            first = (block * words + first_word) << 6
            for query in range(queries):
                list_bitmaps(counting, query, bits[query], rank, places, nothing, table, ends)
                count(table, ends, bits[query], tops[query], planes)
                rest[:] = live
                if want > filled[query]:
                    least = value_of_rank(planes, tops[query], want - filled[query], live)
                    mask[:] = ZERO
                    add_at_least(planes, tops[query], max(least, counting.least_value), live, mask)
                    entries, used = _collect(
                        planes, mask, lanes, first, query, groups, counting, want, tops, heaps, filled, entries, used
                    )
                    for w in range(tile):
                        rest[w] &= ~mask[w]
                limit = counting.floors[query]
                if 0 < want <= filled[query]:
                    limit = max(limit, heaps[query, 0])
                if limit != limits[query]:
                    limits[query] = limit
                    _set_needs(groups, counting, block, query, limit, tops[query], needs)
                mask[:] = ZERO
                found = False
                for group in range(needs.shape[1]):
                    if needs.shape[1] > 1:
                        for w in range(tile):
                            within[w] = rest[w] & groups.masks[block, group, first_word + w]
                        found |= add_at_least(planes, tops[query], needs[query, group], within, mask)
                    else:
                        found |= add_at_least(planes, tops[query], needs[query, group], rest, mask)
                if found:
                    entries, used = _collect(
                        planes, mask, lanes, first, query, groups, counting, want, tops, heaps, filled, entries, used
                    )
    if want > 0:
        used = prune(entries, used, heaps, filled)
    return Found(entries.queries[:used], entries.documents[:used], entries.scores[:used])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _counter_bits(counting: Counting) -> tuple[np.ndarray, np.ndarray]:
    """Bits of each query's largest weight, and of the largest sum of its weights: int64 (queries,)."""
    queries = len(counting.indptr) - 1
    bits, tops = np.zeros(queries, np.int64), np.zeros(queries, np.int64)
    for query in range(queries):
        total, heaviest = np.int64(0), np.int64(0)
        for place in range(counting.indptr[query], counting.indptr[query + 1]):
            total += np.int64(counting.weights[place])
            heaviest = max(heaviest, np.int64(counting.weights[place]))
        while heaviest >> bits[query]:
            bits[query] += 1
        while total >> tops[query]:
            tops[query] += 1
    return bits, tops


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _set_needs(groups: Groups, counting: Counting, block: int, query: int, limit: float, top: int, needs: np.ndarray) -> None:
    """The least counter with which a document of each group might reach ``limit``; too much for any document in an empty group."""
    for group in range(needs.shape[1]):
        low, high = groups.low[block, group], groups.high[block, group]
        most = np.int64(1) << top
        if low <= high:
            most = least_counter(counting.measure, low, high, counting.own[query], limit, counting.least_value, most)
        needs[query, group] = most


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collect(
    planes: np.ndarray,
    mask: np.ndarray,
    lanes: np.ndarray,
    first: int,
    query: int,
    groups: Groups,
    counting: Counting,
    want: int,
    tops: np.ndarray,
    heaps: np.ndarray,
    filled: np.ndarray,
    entries: Found,
    used: int,
) -> tuple[Found, int]:
    """Read the counters of the documents in ``mask``, the first of which is ``first``, and note those that are good enough."""
    for hit in range(_unpack(mask, lanes)):
        lane = np.int64(lanes[hit])
        value = np.int64(0)
        for level in range(tops[query]):
            value |= np.int64((planes[level, lane >> 6] >> np.uint64(lane & 63)) & ONE) << level
        document = np.int64(first) + lane
        size = groups.sizes[document] if len(groups.sizes) > 1 else groups.sizes[0]
        score = score_of(counting.measure, value, size, counting.own[query])
        if score < counting.floors[query] or (0 < want <= filled[query] and score < heaps[query, 0]):
            continue
        if want > 0:
            filled[query] = put(heaps[query], filled[query], score)
        if used == len(entries.queries):
            if want > 0:
                used = prune(entries, used, heaps, filled)
            if used > len(entries.queries) // 2:
                entries = widened(entries, used)
        entries.queries[used] = query
        entries.documents[used] = document
        entries.scores[used] = score
        used += 1
    return entries, used


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _unpack(mask: np.ndarray, lanes: np.ndarray) -> int:
    """Write the numbers of the documents in ``mask``, int32; returns how many. Apart from :func:`_collect`, in whose loops numba counts references."""
    hits = 0
    for w in range(len(mask)):
        left = mask[w]
        while left != ZERO:
            lanes[hits] = (w << 6) + np.int64(trailing_zeros(left))
            left &= left - ONE
            hits += 1
    return hits
