"""Queries as sparse weights, the form that every engine understands. Pure functions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import as_decoder
from bsa_st.errors import BSAError

COUNTED = ("overlap", "cosine", "jaccard", "hamming")


class SparseQuery(NamedTuple):
    """One query.

    Attributes:
        features: int, ascending.
        weights: float32, one each; all 1 for scorings that count.
        constant: Added to the sum of an asymmetric score.
        norm: Length of the dense query, a bound of its scores' size; 0 for others.
        scoring: What is asked.
        probes: Features of a first stage; None if every document is scored.
        candidates: Documents of the second stage.
    """

    features: np.ndarray
    weights: np.ndarray
    constant: float
    norm: float
    scoring: str
    probes: int | None
    candidates: int

    def heaviest(self) -> SparseQuery:
        """The first stage: the ``probes`` features of largest positive weight, without the constant's part."""
        order = np.argsort(-self.weights, kind="stable")[: self.probes]
        kept = np.sort(order[self.weights[order] > 0])
        return self._replace(features=self.features[kept], weights=self.weights[kept], probes=None)


def sparse_queries(
    queries: BinaryCodes | npt.ArrayLike,
    hidden_dim: int,
    scoring: str | None = None,
    weights: npt.ArrayLike | None = None,
    decoder: Any = None,
    probes: int | None = None,
    candidates: int = 1,
) -> list[SparseQuery]:
    """Codes or dense embeddings as sparse queries; arguments as in :meth:`bsa_st.engines.base.Engine.search`.

    Raises:
        BSAError: If the queries do not fit ``hidden_dim`` or the scoring.
    """
    if isinstance(queries, BinaryCodes):
        return _of_codes(queries, hidden_dim, scoring or "overlap", weights)
    scoring = scoring or "asymmetric"
    if scoring != "asymmetric":
        raise BSAError(f"{scoring} scores need codes as queries")
    if probes is not None and probes < 1:
        raise BSAError(f"probes must be at least 1, got {probes}")
    known = as_decoder(decoder, hidden_dim)
    if known is None:
        raise BSAError("asymmetric scores need a decoder: decoder=model")
    dense = np.atleast_2d(np.asarray(queries, dtype=np.float32))
    if dense.ndim != 2 or dense.shape[1] != known.weight.shape[1]:
        raise BSAError(f"dense queries must have shape (n, {known.weight.shape[1]}), got {dense.shape}")
    if not np.isfinite(dense).all():
        raise BSAError("the queries hold NaN or infinite values")
    values, constants = dense @ known.weight.T, dense @ known.offset
    features, norms = np.arange(hidden_dim), np.linalg.norm(dense, axis=1)
    return [
        SparseQuery(features, row, float(constant), float(norm), scoring, probes, candidates)
        for row, constant, norm in zip(values, constants, norms, strict=True)
    ]


def _of_codes(codes: BinaryCodes, hidden_dim: int, scoring: str, weights: npt.ArrayLike | None) -> list[SparseQuery]:
    if codes.hidden_dim != hidden_dim:
        raise BSAError(f"the collection has {hidden_dim} features, the queries {codes.hidden_dim}")
    if scoring == "idf":
        if weights is None:
            raise BSAError("idf scores need weights: bsa_st.codes.scoring.idf(documents)")
        values = np.asarray(weights, dtype=np.float32)
        if values.shape != (hidden_dim,) or not np.isfinite(values).all() or (values < 0).any():
            raise BSAError(f"weights must be {hidden_dim} finite numbers, none negative, got shape {values.shape}")
    elif scoring in COUNTED:
        values = np.ones(hidden_dim, dtype=np.float32)
    else:
        raise BSAError(f"codes can be scored by {', '.join((*COUNTED, 'idf'))}, not by {scoring!r}")
    parts = np.split(codes.ids.astype(np.int64), codes.indptr[1:-1]) if len(codes) else []
    return [SparseQuery(ids, values[ids], 0.0, 0.0, scoring, None, 1) for ids in parts]
