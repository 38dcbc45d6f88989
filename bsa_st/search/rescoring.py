"""The two stages of a search: candidates of each query, then their exact scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import faiss
import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import blocks, scores
from bsa_st.search.segment import Segment

DIVIDED = 4
"""Where lengths are not known, one candidate in so many, those with the largest sums of weights, is decoded for its length."""
OFTEN = 0.25  # share of documents that a filter lets through from which candidates are found first and filtered then
FEW = 50_000  # documents of a filter that are compared one and all, whatever their lists
BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)


class Ranking(NamedTuple):
    """The documents found for one query, best first: ``ids`` int64 (m,) and ``scores`` float32 (m,). m is top_k or, where there are fewer, less."""

    ids: np.ndarray
    scores: np.ndarray


def best(ids: np.ndarray, scores: np.ndarray, top_k: int) -> Ranking:
    """The first ``top_k`` by score, then by id."""
    if len(scores) > 4 * top_k:  # ties at the last place stay in, so that the smaller id wins
        kept = scores >= np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))[:top_k]
    return Ranking(ids[order].astype(np.int64), scores[order].astype(np.float32))


def float_rankings(
    segment: Segment, dense: np.ndarray, probes: int, allowed: np.ndarray | None, top_k: int, candidates: int
) -> list[Ranking]:
    """Best documents by ``q . x_hat / |x_hat|`` of queries, float32 (q, d): of the nearest lists or, where those hold too few, of all."""
    centroids, probed = segment.centroids, None
    if centroids is not None and probes < len(centroids):  # the nearest lists of each query, and the last, unless it is empty
        # of one query a matrix times a vector: several times as fast as a product of matrices
        scores = (centroids @ dense[0])[None] if len(dense) == 1 else dense @ centroids.T
        nearest = np.argpartition(scores, len(centroids) - probes, axis=1)[:, len(centroids) - probes :]
        probed = np.concatenate([nearest, np.full((len(dense), int(segment.recent > 0)), len(centroids))], axis=1)
    found = list(_ranked(segment, dense, probed, allowed, top_k, candidates))
    short = [] if probed is None else [number for number, one in enumerate(found) if len(one.ids) < top_k]
    if short:
        for number, one in zip(short, _ranked(segment, dense[short], None, allowed, top_k, candidates), strict=True):
            found[number] = one
    return found


def _ranked(
    segment: Segment, dense: np.ndarray, probed: np.ndarray | None, allowed: np.ndarray | None, top_k: int, candidates: int
) -> Iterator[Ranking]:
    assert segment.decoder is not None
    weight, offset, _ = segment.decoder
    weights, constants, keep = dense @ weight.T, dense @ offset, max(candidates // DIVIDED, 4 * top_k)
    nearest = _candidates(segment, weights, probed, allowed, candidates)
    for rows, own, constant in zip(nearest, weights, constants, strict=True):
        sums = _sums(segment.codes, rows, own) + constant
        if segment.centroids is None and len(rows) > keep:
            heaviest = np.argpartition(-sums, keep - 1)[:keep]
            rows, sums = rows[heaviest], sums[heaviest]
        yield best(segment.ids[rows], sums * segment.inverse(rows), top_k)


def code_rankings(
    segment: Segment, queries: BinaryCodes, scoring: Any, allowed: np.ndarray | None, top_k: int
) -> Iterator[Ranking]:
    """Best documents of a segment by shared features, every document counted; those that share none are not found."""
    for rows in blocks(len(queries), len(segment)):
        for values in scores(queries[rows], segment.codes, scoring):
            found = np.flatnonzero(values > 0 if allowed is None else (values > 0) & allowed)
            yield best(segment.ids[found], values[found], top_k)


def _candidates(
    segment: Segment, weights: np.ndarray, probed: np.ndarray | None, allowed: np.ndarray | None, count: int
) -> Iterator[np.ndarray]:
    """Rows of each query: of packed codes the nearest by Hamming distance, of others all that may be found; ``probed``, the lists that are looked at, int64
    (q, lists), None for all."""
    codes, count, bits = segment.codes, min(count, len(segment)), np.packbits(weights > 0, axis=1)
    allowed_count = len(segment) if allowed is None else int(np.count_nonzero(allowed))
    lists = np.arange(len(segment.starts) - 1)[None].repeat(len(bits), axis=0) if probed is None else probed

    def inside(number: int) -> np.ndarray:
        rows = np.concatenate([np.arange(*segment.starts[one : one + 2]) for one in lists[number]])
        return _nearest(codes, rows if allowed is None else rows[allowed[rows]], bits[number : number + 1], count)[0]

    if codes.is_packed and allowed_count > OFTEN * len(segment):
        wanted = count if allowed is None else min(len(segment), int(1.5 * count * len(segment) / allowed_count))
        for number, rows in enumerate(segment.hamming.candidates(bits, lists, wanted)):
            kept = rows if allowed is None else rows[allowed[rows]]
            far = len(kept) < count and len(rows) == wanted  # the filter's documents lie further away
            yield inside(number) if far else kept
    elif probed is not None and (allowed is None or allowed_count > FEW):
        yield from map(inside, range(len(bits)))
    else:
        yield from _nearest(codes, np.arange(len(segment)) if allowed is None else np.flatnonzero(allowed), bits, count)


def _nearest(codes: BinaryCodes, rows: np.ndarray, bits: np.ndarray, count: int) -> list[np.ndarray]:
    if not codes.is_packed or len(rows) <= count:
        return [rows] * len(bits)
    return list(rows[faiss.knn_hamming(bits, np.ascontiguousarray(codes.to_packed()[rows]), count)[1]])


def _sums(codes: BinaryCodes, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of weights, float32 (D,), over the features of some codes: float32 (m,)."""
    if not codes.is_packed:
        out = np.empty(len(rows), np.float32)
        _sums_of_ids()(codes.ids, codes.indptr, rows, weights, out)
        return out
    # a lookup per byte: four times faster than unpacking a few hundred codes
    packed = codes.to_packed()[rows].astype(np.intp)
    width = packed.shape[1]
    padded = np.zeros(8 * width, np.float32)
    padded[: len(weights)] = weights
    packed += 256 * np.arange(width)
    return (padded.reshape(width, 8) @ BYTES.T).reshape(-1).take(packed).sum(axis=1)


@cache
def _sums_of_ids() -> Callable[..., Any]:
    from numba import njit

    @njit(cache=True, nogil=True, fastmath=True)
    def kernel(ids: np.ndarray, indptr: np.ndarray, rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
        for i in range(len(rows)):
            total = np.float32(0)
            for place in range(indptr[rows[i]], indptr[rows[i] + 1]):
                total += weights[ids[place]]
            out[i] = total

    return kernel
