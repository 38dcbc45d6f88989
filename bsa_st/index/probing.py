"""The first of two stages: the documents in which the query's heaviest features add up to most; with numba and without."""

from __future__ import annotations

import numpy as np

from bsa_st.index.counting import joined_entries, only_best
from bsa_st.index.scanning import in_pieces
from bsa_st.index.store import BLOCK
from bsa_st.index.tables import Found, Probe, Probing
from bsa_st.index.view import SCALED, View

MOST = 255
"""Largest sum of a document."""
SMALLEST = 1e-30
"""For queries without a positive weight."""


def probing(weights: np.ndarray, bases: np.ndarray, probes: int, frequency: np.ndarray, most_active: int) -> Probing:
    """The heaviest features of each query in whole steps; the others enter the base with their mean.

    Args:
        weights: Of all features: float32 (queries, D).
        bases: What is added to the sum: float32 (queries,).
        probes: Features of each query.
        frequency: Share of the documents with each feature: float32 (D,).
        most_active: Active features that a document has at most, so that no sum exceeds 255.
    """
    dimensions = weights.shape[1]
    if probes < dimensions:
        chosen = np.sort(np.argpartition(-weights, probes - 1, axis=1)[:, :probes], axis=1)
    else:
        chosen = np.broadcast_to(np.arange(dimensions), weights.shape)
    values = np.maximum(np.take_along_axis(weights, chosen, axis=1).astype(np.float64), 0)
    heaviest = -np.sort(-values, axis=1)[:, : max(1, most_active)]
    steps = np.maximum(heaviest.sum(axis=1), SMALLEST) / MOST
    while (over := np.rint(heaviest / steps[:, None]).sum(axis=1) > MOST).any():
        steps[over] *= 1.01
    levels = np.rint(values / steps[:, None]).astype(np.uint8)
    used = levels > 0
    rest = weights @ frequency - (np.where(used, values, 0) * frequency[chosen]).sum(axis=1)
    return Probing(
        features=chosen[used].astype(np.int32),
        weights=levels[used],
        indptr=np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64),
        steps=steps,
        bases=bases.astype(np.float64) + rest,
    )


def candidates(view: View, asked: Probing, query: int, want: int, allowed: np.ndarray | None, threads: int) -> Found:
    """The ``want`` best documents of one query, ties included.

    Args:
        view: The documents.
        asked: Queries.
        query: Which of them.
        want: Documents.
        allowed: Documents that may be found, bool (n,); default those that are not deleted.
        threads: Threads.
    """
    probe, found = asked.probe(query), []
    for number, part in enumerate(view.parts):
        if part.postings is None:
            found += _probe_numpy(view, number, probe, want, allowed)
        else:
            found += _probe_numba(view, number, probe, want, allowed, threads)
    return only_best(joined_entries(found), 1, want)


def _probe_numba(view: View, number: int, probe: Probe, want: int, allowed: np.ndarray | None, threads: int) -> list[Found]:
    from bsa_st.index.probe_kernel import add_weights, at_least, guess_limit

    part, (features, weights, step, base) = view.parts[number], probe
    assert part.postings is not None
    inverted, groups, words = part.postings.inverted, view.groups(number, SCALED), view.words(number, allowed)

    def run(first: int, last: int) -> Found:
        sums = np.empty((last - first, BLOCK), np.uint8)
        add_weights(inverted, features, weights, first, sums)
        for aim in (want, 4 * want, 0):
            limit = guess_limit(sums, groups, words, step, base, aim, first) if aim else -np.inf
            found = at_least(sums, groups, words, step, base, limit, first)
            if len(found.documents) >= want or limit == -np.inf:
                break
        return only_best(found._replace(documents=found.documents + part.first * BLOCK), 1, want)

    return in_pieces(run, part.last - part.first, threads)


def _probe_numpy(view: View, number: int, probe: Probe, want: int, allowed: np.ndarray | None) -> list[Found]:
    part = view.parts[number]
    allowed = view.live if allowed is None else allowed
    sizes = view.sizes(number, SCALED).astype(np.float64)
    own = np.zeros(view.store.hidden_dim)
    own[probe.features] = probe.weights
    found = []
    for block, codes in enumerate(part.codes):
        start = (part.first + block) * BLOCK
        scores = ((codes.to_scipy().astype(np.float64) @ own) * probe.step + probe.base) * sizes[
            block * BLOCK : block * BLOCK + len(codes)
        ]
        documents = np.flatnonzero(allowed[start : start + len(codes)])
        found.append(only_best(Found(np.zeros(len(documents), np.int32), documents + start, scores[documents]), 1, want))
    return found
