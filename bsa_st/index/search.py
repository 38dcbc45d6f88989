"""The scorings of an index: symmetric ones by counting, asymmetric ones by counting and then decoding, or by decoding everything."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Hits, decode
from bsa_st.index import store as store_module
from bsa_st.index.counting import joined_entries, only_best
from bsa_st.index.probing import candidates as probe
from bsa_st.index.probing import probing
from bsa_st.index.ranking import Ids, joined, ranked
from bsa_st.index.scanning import best
from bsa_st.index.store import BLOCK
from bsa_st.index.tables import COSINE, JACCARD, OVERLAP, Counting, Found
from bsa_st.index.view import View

Symmetric = Literal["overlap", "cosine", "jaccard", "idf"]
Asymmetric = Literal["two-stage", "asymmetric"]
Scoring = Literal["overlap", "cosine", "jaccard", "idf", "decoded", "two-stage", "asymmetric"]

MEASURES = {"overlap": OVERLAP, "cosine": COSINE, "jaccard": JACCARD}
CHUNK = 64
"""Queries that go through the blocks together."""
IDF_LEVELS = 31
IDF_CANDIDATES = 4
"""Times ``top_k`` documents are weighed exactly before it is known whether that was enough."""
SLACK = 1e-6
"""Relative allowance for the rounding of float32 scores."""


def symmetric(
    view: View,
    queries: BinaryCodes,
    scoring: Symmetric,
    top_k: int,
    ids: Ids,
    weights: np.ndarray | None,
    break_ties: bool,
    allowed: np.ndarray | None,
    threads: int,
) -> Hits:
    """Best documents by a symmetric score, exactly.

    Args:
        view: The documents.
        queries: n codes.
        scoring: Which score.
        top_k: Hits per query.
        ids: Documents' ids, for the order among equals.
        weights: float32 (D,), the features' weights for ``"idf"``.
        break_ties: Put equal scores in the order of the decoded query against the documents.
        allowed: Documents that may be found, bool (documents,).
        threads: Threads.
    """
    parts = []
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        if scoring == "idf":
            assert weights is not None
            found = _idf(view, chunk, weights, top_k, allowed, threads)
        else:
            found = best(view, _counts(chunk, MEASURES[scoring]), top_k, allowed, threads)
        second = _decoded_scores(view, chunk, found) if break_ties else None
        parts.append(ranked(found, second, len(chunk), top_k, ids))
    return joined(parts, top_k)


def two_stage(
    view: View,
    queries: np.ndarray,
    top_k: int,
    ids: Ids,
    probes: int,
    candidates: int,
    frequency: np.ndarray,
    allowed: np.ndarray | None,
    threads: int,
) -> Hits:
    """Best of the documents that the query's heaviest features find, by the score of :func:`bsa_st.codes.scoring.asymmetric_scores`.

    First stage: the ``probes`` largest weights ``(V q)_i``, in steps so that a sum fits into a byte, are added up over the index; the other
    features count with their mean. Second stage: the ``candidates`` best are scored exactly from their stored codes.

    Args:
        view: The documents, with a decoder.
        queries: float32 (n, d).
        top_k: Hits per query.
        ids: Documents' ids, for the order among equals.
        probes: Features of the first stage, T.
        candidates: Documents of the second stage, C; all that are as good as the last are taken too.
        frequency: float32 (D,), share of the documents in which each feature is active.
        allowed: Documents that may be found, bool (documents,).
        threads: Threads.
    """
    assert view.decoder is not None
    parts = []
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        weights = chunk @ view.decoder.weight.T
        bases = chunk @ view.decoder.offset
        asked = probing(weights, bases, probes, frequency, view.store.most_active)
        for query in range(len(chunk)):
            found = probe(view, asked, query, max(candidates, top_k), allowed, threads)
            exact = found._replace(scores=_exact_scores(view, weights[query], bases[query], found.documents))
            parts.append(ranked(only_best(exact, 1, top_k), None, 1, top_k, ids))
    return joined(parts, top_k)


def exhaustive(view: View, queries: np.ndarray, top_k: int, ids: Ids, allowed: np.ndarray | None) -> Hits:
    """Best documents by :func:`bsa_st.codes.scoring.asymmetric_scores`, all of them decoded. Arguments as in :func:`two_stage`."""
    assert view.decoder is not None
    allowed = view.live if allowed is None else allowed
    factors = np.concatenate([view.factors(number) for number in range(len(view.parts))])
    parts = []
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        weights = np.ascontiguousarray((chunk @ view.decoder.weight.T).T, dtype=np.float64)
        bases = (chunk @ view.decoder.offset).astype(np.float64)
        found = []
        for block in range(view.store.blocks):
            rows = slice(block * BLOCK, min((block + 1) * BLOCK, len(view.store)))
            scores = ((_weigh_block(view, block, weights) + bases) * factors[rows, None].astype(np.float64)).astype(np.float32)
            scores[~allowed[rows]] = -np.inf
            least = -np.finfo(np.float32).max
            if top_k < len(scores):
                wanted = scores >= np.maximum(np.partition(scores, len(scores) - top_k, axis=0)[len(scores) - top_k], least)
            else:
                wanted = scores >= least
            documents, owners = np.nonzero(wanted)
            found.append(Found(owners, documents + rows.start, scores[documents, owners].astype(np.float64)))
        parts.append(ranked(only_best(joined_entries(found), len(chunk), top_k), None, len(chunk), top_k, ids))
    return joined(parts, top_k)


def _counts(codes: BinaryCodes, measure: int) -> Counting:
    queries = len(codes)
    return Counting(
        features=codes.ids.astype(np.int32),
        weights=np.ones(len(codes.ids), np.int32),
        indptr=codes.indptr,
        measure=measure,
        own=codes.counts.astype(np.float32),
        floors=np.full(queries, -np.inf),
        least_value=1,
    )


def _idf(view: View, codes: BinaryCodes, weights: np.ndarray, top_k: int, allowed: np.ndarray | None, threads: int) -> Found:
    """Counted with weights rounded up, which gives an upper bound; exact sums then tell what that bound must reach."""
    step = max(float(weights.max(initial=0)), 1e-12) / IDF_LEVELS
    levels = np.ceil(weights[codes.ids].astype(np.float64) / step - SLACK).astype(np.int32)
    levels[weights[codes.ids] > 0] = np.maximum(levels[weights[codes.ids] > 0], 1)
    heavy = levels > 0
    indptr = np.concatenate([[0], np.cumsum(heavy)])[codes.indptr].astype(np.int64)
    counting = _counts(codes, OVERLAP)._replace(
        features=codes.ids[heavy].astype(np.int32), weights=levels[heavy], indptr=indptr
    )
    queries = len(codes)
    first = best(view, counting, IDF_CANDIDATES * top_k, allowed, threads)
    exact = _idf_sums(view, codes, weights, first)
    least = _kth_best(exact, queries, top_k)
    bound = np.full(queries, np.inf)
    np.minimum.at(bound, first.queries, first.scores)
    complete = np.bincount(first.queries, minlength=queries) < IDF_CANDIDATES * top_k
    sure = complete | (least > (bound - 1) * step * (1 + SLACK))
    if sure.all():
        return exact
    floors = np.where(sure, np.inf, least * (1 - SLACK) / step - SLACK)
    second = best(view, counting._replace(floors=floors), 0, allowed, threads)
    again = _idf_sums(view, codes, weights, second)
    keep = sure[exact.queries]
    return Found(*(np.concatenate([old[keep], new]) for old, new in zip(exact, again, strict=True)))


def _kth_best(found: Found, queries: int, k: int) -> np.ndarray:
    """Score of the k-th best entry of each query, minus infinity where there are fewer: float64 (queries,)."""
    order = np.lexsort((-found.scores, found.queries))
    starts = np.searchsorted(found.queries[order], np.arange(queries + 1))
    least = np.full(queries, -np.inf)
    enough = starts[1:] - starts[:-1] >= k
    least[enough] = found.scores[order][starts[:-1][enough] + k - 1]
    return least


def _idf_sums(view: View, codes: BinaryCodes, weights: np.ndarray, found: Found) -> Found:
    scores = np.empty(len(found.scores))
    for query in np.unique(found.queries):
        own = np.zeros(codes.hidden_dim)
        features = codes.ids[codes.indptr[query] : codes.indptr[query + 1]]
        own[features] = weights[features]
        places = np.flatnonzero(found.queries == query)
        scores[places] = view.weigh(found.documents[places], own)
    return found._replace(scores=scores.astype(np.float32).astype(np.float64))


def _exact_scores(view: View, weights: np.ndarray, base: float, documents: np.ndarray) -> np.ndarray:
    """Scores of documents of one query, rounded to float32: float64 (m,)."""
    sums = view.weigh(documents, weights.astype(np.float64))
    return ((sums + float(base)) * view.factors_of(documents)).astype(np.float32).astype(np.float64)


def _decoded_scores(view: View, codes: BinaryCodes, found: Found) -> np.ndarray:
    """Scores of the decoded queries against the entries' documents: float64."""
    assert view.decoder is not None
    dense = decode(codes, *view.decoder)
    weights, bases = dense @ view.decoder.weight.T, dense @ view.decoder.offset
    scores = np.empty(len(found.scores))
    for query in range(len(codes)):
        places = np.flatnonzero(found.queries == query)
        scores[places] = _exact_scores(view, weights[query], bases[query], found.documents[places])
    return scores


def _weigh_block(view: View, block: int, weights: np.ndarray) -> np.ndarray:
    if not store_module.HAS_NUMBA:
        return np.asarray(view.store.block_codes(block).to_scipy().astype(np.float64) @ weights)
    from bsa_st.index.rows_kernel import weigh_block

    ids, counts = view.store.decode(block)
    sums = np.empty((len(counts), weights.shape[1]))
    weigh_block(ids, counts, weights, sums)
    return sums
