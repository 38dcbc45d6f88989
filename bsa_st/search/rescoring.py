"""The two stages of a search: candidates of each query, then their exact scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder
from bsa_st.search.lists import heaviest_rows, nearest_rows, rows_in
from bsa_st.search.segment import Segment
from bsa_st.search.sums import sums

Scoring = Literal["asymmetric", "decoded", "overlap", "cosine"]

DIVIDED = 4
"""One candidate in so many, those with the largest sums of weights, has its length looked at; all where every document is a candidate."""
FEW = 50_000
"""Documents of a filter that are compared one and all."""
BLOCK = 1 << 14
OVERSAMPLED = 4096
BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)


class Ranking(NamedTuple):
    """The documents found for one query, best first: ``ids`` int64 (m,) and ``scores`` float32 (m,). m is top_k or, where there are fewer, less."""

    ids: np.ndarray
    scores: np.ndarray


class FloatQueries(NamedTuple):
    """``weights`` w = V q, float32 (q, D), ``constants`` c . q, float32 (q,), and the nearest lists, int64 (q, probes), or None for all."""

    weights: np.ndarray
    constants: np.ndarray
    probed: np.ndarray | None


def float_rankings(
    segment: Segment, queries: FloatQueries, decoder: Decoder, allowed: np.ndarray | None, top_k: int, candidates: int
) -> Iterator[Ranking]:
    """Best documents of a segment by ``q . x_hat / |x_hat|``.

    Args:
        segment: n documents.
        queries: The queries.
        decoder: V and c.
        allowed: Which may be found, bool (n,); None for all.
        top_k: Documents at most.
        candidates: Documents of the first stage.
    """
    found, documents = _candidates(segment, queries, allowed, candidates), len(segment) if allowed is None else allowed.sum()
    for rows, weights, constant in zip(found, queries.weights, queries.constants, strict=True):
        values = _products(segment.codes, rows, weights) + constant
        keep = max(len(rows) // DIVIDED, 4 * top_k)
        if keep < len(rows) < documents:
            best = np.argpartition(-values, keep - 1)[:keep]
            rows, values = rows[best], values[best]
        yield ranked(segment.ids[rows], values * segment.inverse_of(rows, decoder), top_k)


def code_rankings(
    segment: Segment, queries: BinaryCodes, scoring: str, allowed: np.ndarray | None, top_k: int
) -> Iterator[Ranking]:
    """Best documents of a segment by shared features, every document counted; those that share none are not found."""
    sizes = segment.codes.counts if scoring == "cosine" else None
    for number in range(len(queries)):
        query = queries[number]
        shared = _shared(segment.codes, query)
        rows = np.flatnonzero(shared > 0 if allowed is None else (shared > 0) & allowed)
        values = shared[rows].astype(np.float32)
        if sizes is not None:
            values /= np.sqrt(np.float32(len(query.ids)) * sizes[rows].astype(np.float32))
        if len(rows) > top_k:  # ties at the last place stay in, so that the smaller id wins
            best = values >= np.partition(values, len(values) - top_k)[len(values) - top_k]
            rows, values = rows[best], values[best]
        yield ranked(segment.ids[rows], values, top_k)


def ranked(ids: np.ndarray, scores: np.ndarray, top_k: int) -> Ranking:
    """The first ``top_k`` by score, then by id."""
    order = np.lexsort((ids, -scores))[:top_k]
    return Ranking(ids[order].astype(np.int64), scores[order].astype(np.float32))


def _candidates(segment: Segment, queries: FloatQueries, allowed: np.ndarray | None, count: int) -> Iterator[np.ndarray]:
    codes, probed, many = segment.codes, queries.probed, len(queries.weights)
    if allowed is not None and np.count_nonzero(allowed) <= FEW:
        rows = np.flatnonzero(allowed)
        bits = np.packbits(queries.weights > 0, axis=1) if codes.is_packed else None
        for number in range(many):
            if bits is not None:
                yield nearest_rows(codes.to_packed(), rows, bits[number], count)
            else:
                yield heaviest_rows(codes, rows, queries.weights[number], count)
        return
    if not codes.is_packed:
        for number, weights in enumerate(queries.weights):
            inside = None if probed is None else rows_in(segment.starts, probed[number])
            if allowed is not None:
                inside = np.flatnonzero(allowed) if inside is None else inside[allowed[inside]]
            yield heaviest_rows(codes, inside, weights, count)
        return
    bits = np.packbits(queries.weights > 0, axis=1)
    lists = np.arange(len(segment.starts) - 1)[None].repeat(many, axis=0) if probed is None else probed
    if allowed is None:
        yield from segment.hamming.candidates(bits, lists, min(count, len(segment)))
        return
    share = np.count_nonzero(allowed) / len(allowed)
    wanted = min(len(segment), OVERSAMPLED, int(1.5 * count / share))
    for number, rows in enumerate(segment.hamming.candidates(bits, lists, wanted)):
        kept = rows[allowed[rows]]
        if len(rows) == wanted and len(kept) < count:  # the filter's documents lie further away than most
            rows = rows_in(segment.starts, lists[number])
            kept = nearest_rows(codes.to_packed(), rows[allowed[rows]], bits[number], count)
        yield kept


def _products(codes: BinaryCodes, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if not codes.is_packed:
        return sums(codes.ids, codes.indptr, rows, weights)
    # a lookup per byte: four times faster than unpacking a few hundred codes
    packed = codes.to_packed()[rows].astype(np.intp)
    width = packed.shape[1]
    padded = np.zeros(8 * width, np.float32)
    padded[: len(weights)] = weights
    table = (padded.reshape(width, 8) @ BYTES.T).reshape(-1)
    return table[packed + 256 * np.arange(width)].sum(axis=1)


def _shared(codes: BinaryCodes, query: BinaryCodes) -> np.ndarray:
    """Number of features that each code shares with one query."""
    if not codes.is_packed:
        weights = np.zeros(codes.hidden_dim, np.float32)
        weights[query.ids] = 1
        return sums(codes.ids, codes.indptr, None, weights)
    packed, bits = codes.to_packed(), query.to_packed()
    if packed.shape[1] % 8 == 0 and packed.ctypes.data % 8 == 0:
        packed, bits = packed.view(np.uint64), bits.copy().view(np.uint64)
    shared = np.empty(len(packed), np.int32)
    for start in range(0, len(packed), BLOCK):
        np.bitwise_count(packed[start : start + BLOCK] & bits).sum(axis=1, dtype=np.int32, out=shared[start : start + BLOCK])
    return shared
