"""From the arguments of a search to its hits: the checks, and the scoring that is meant."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Hits, idf_weights
from bsa_st.errors import BSAError
from bsa_st.index import search
from bsa_st.index.ranking import Ids, no_hits
from bsa_st.index.search import Scoring
from bsa_st.index.view import View


def check_arguments(scoring: str | None, **numbers: Any) -> None:
    """Raises :class:`BSAError` if the scoring is unknown or one of ``numbers`` is no whole number of at least 1."""
    if scoring is not None and scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")


def answer(
    view: View,
    queries: BinaryCodes | np.ndarray,
    scoring: Any,
    top_k: int,
    ids: Ids,
    allowed: np.ndarray | None,
    *,
    probes: int,
    candidates: int,
    break_ties: bool,
    idf: np.ndarray | None,
    threads: int,
) -> Hits:
    """Hits of prepared queries; see :meth:`bsa_st.index.Index.search`.

    Args:
        view: The documents.
        queries: n codes for symmetric scorings, float32 (n, d) for the others.
        scoring: Which.
        top_k: Hits per query.
        ids: Documents' ids.
        allowed: Documents that may be found, bool (documents,).
        probes: Features of the first of two stages.
        candidates: Documents of the second stage.
        break_ties: Whether the decoder orders documents of equal symmetric score.
        idf: Weights of the features in ``idf`` scores, float (D,); default those of the documents.
        threads: Threads.
    """
    found = view.count if allowed is None else int(np.count_nonzero(allowed))
    if found == 0:
        return no_hits(len(queries), top_k)
    depth = min(top_k, found)
    if isinstance(queries, BinaryCodes):
        weights = _weights(view, idf) if scoring == "idf" else None
        ties = break_ties and view.decoder is not None
        hits = search.symmetric(view, queries, scoring, depth, ids, weights, ties, allowed, threads)
    elif scoring == "asymmetric":
        hits = search.exhaustive(view, queries, depth, ids, allowed)
    else:
        share = (view.frequency / max(1, view.count)).astype(np.float32)
        hits = search.two_stage(view, queries, depth, ids, probes, candidates, share, allowed, threads)
    if depth == top_k:
        return hits
    padded = no_hits(len(hits.ids), top_k)
    padded.ids[:, :depth], padded.scores[:, :depth] = hits.ids, hits.scores
    return padded


def _weights(view: View, given: np.ndarray | None) -> np.ndarray:
    if given is None:
        return idf_weights(view.count, view.frequency)
    weights = np.asarray(given, dtype=np.float32)
    if weights.shape != (len(view.frequency),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise BSAError(f"idf must hold {len(view.frequency)} finite weights of at least 0, got shape {weights.shape}")
    return weights
