"""The best documents of a view by counted features, exactly; with numba and without."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bsa_st.index.counting import joined_entries, only_best, scores_of
from bsa_st.index.store import BLOCK
from bsa_st.index.tables import Counting, Found
from bsa_st.index.view import View
from bsa_st.index.words import WORDS

BATCH = 8
"""Queries from which on words are counted in tiles that stay in the cache from query to query."""
TILE = 128


def best(view: View, counting: Counting, want: int, allowed: np.ndarray | None, threads: int) -> Found:
    """Documents whose score is among the ``want`` best of their query, ties included; all above the floor if ``want`` is 0.

    Args:
        view: The documents.
        counting: Queries.
        want: Documents per query.
        allowed: Documents that may be found, bool (n,); default those that are not deleted.
        threads: Threads.
    """
    found = []
    for number, part in enumerate(view.parts):
        scan_part = _scan_numpy if part.postings is None else _scan_numba
        found += scan_part(view, number, counting, want, allowed, threads)
    merged = joined_entries(found)
    return merged if len(found) == 1 or not want else only_best(merged, len(counting.own), want)


def in_pieces(run: Callable[[int, int], Found], blocks: int, threads: int) -> list[Found]:
    """``run`` on consecutive ranges of blocks, one for each thread."""
    pieces = min(threads, blocks)
    if pieces <= 1:
        return [run(0, blocks)]
    edges = np.linspace(0, blocks, pieces + 1).astype(int).tolist()
    with ThreadPoolExecutor(pieces) as pool:
        return list(pool.map(run, edges[:-1], edges[1:]))


def _scan_numba(
    view: View, number: int, counting: Counting, want: int, allowed: np.ndarray | None, threads: int
) -> list[Found]:
    from bsa_st.index.scan_kernel import scan

    part = view.parts[number]
    assert part.postings is not None
    inverted, groups, words = part.postings.inverted, view.groups(number, counting.measure), view.words(number, allowed)
    tile = WORDS if len(counting.own) < BATCH else TILE

    def run(first: int, last: int) -> Found:
        found = scan(inverted, groups, counting, words, want, tile, first, last)
        return found._replace(documents=found.documents + part.first * BLOCK)

    return in_pieces(run, part.last - part.first, threads)


def _scan_numpy(
    view: View, number: int, counting: Counting, want: int, allowed: np.ndarray | None, threads: int
) -> list[Found]:
    found = []
    part, queries = view.parts[number], len(counting.own)
    allowed = view.live if allowed is None else allowed
    sizes = view.sizes(number, counting.measure)
    weights = np.zeros((view.store.hidden_dim, queries))
    owner = np.repeat(np.arange(queries), np.diff(counting.indptr))
    weights[counting.features, owner] = counting.weights
    for block, codes in enumerate(part.codes):
        start = (part.first + block) * BLOCK
        values = codes.to_scipy().astype(np.float64) @ weights
        scores = scores_of(counting, values, sizes[block * BLOCK : block * BLOCK + len(codes), None])
        scores[(values < counting.least_value) | ~allowed[start : start + len(codes), None]] = -np.inf
        wanted = scores >= np.maximum(counting.floors, -np.finfo(np.float64).max)
        if 0 < want < len(codes):
            wanted &= scores >= np.partition(scores, len(codes) - want, axis=0)[len(codes) - want]
        documents, owners = np.nonzero(wanted)
        found.append(Found(owners, documents + start, scores[documents, owners]))
    return found
