"""Scores between codes, and between float queries and codes. Pure numpy and scipy, blocked; no torch.

Symmetric scores compare two codes; asymmetric scores compare a float query with a binary document and are more exact, since
only one side has been rounded. All matrices come back float32 of shape (queries, documents).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError

Scoring = Literal["asymmetric", "decoded", "overlap", "cosine"]
"""How a query scores stored codes: a float query against the code; the query's code, decoded, against it; features that both codes have; their number divided by
``sqrt(k1 k2)``. The same words everywhere: exhaustive search, index, engines, commands."""

Measure = Literal["overlap", "cosine", "jaccard", "tversky", "hamming"]

BLOCK_CELLS = 1 << 25
"""Cells of the largest temporary matrix: 128 MB as float32."""


class Hits(NamedTuple):
    """Best documents of each query: ``ids`` int64 and ``scores`` float32, both (queries, top_k), best first."""

    ids: np.ndarray
    scores: np.ndarray


def scores(
    queries: BinaryCodes,
    documents: BinaryCodes,
    measure: Measure = "overlap",
    weights: np.ndarray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> np.ndarray:
    """All symmetric scores of two sets of codes.

    Args:
        queries: n codes.
        documents: m codes with the same ``hidden_dim``.
        measure: ``overlap`` shared features; ``cosine``; ``jaccard``; ``tversky``
            ``shared / (shared + alpha only_query + beta only_document)``; ``hamming`` minus the number of differing bits,
            so that larger is always nearer.
        weights: Optional weight per feature, (D,), used for every count, e.g. inverse document frequencies.
        alpha: Weight of what only the query has (Tversky).
        beta: Weight of what only the document has (Tversky).

    Returns:
        float32 (n, m). Two empty codes score 0 in every measure but Hamming, which has nothing to divide.

    Raises:
        BSAError: If the codes differ in ``hidden_dim`` or the measure is unknown.

    Source: A. Tversky, "Features of similarity" (1977); Jaccard is alpha = beta = 1, Dice alpha = beta = 1/2.
    """
    weights = _check_pair(queries, documents, measure, weights)
    sizes = products(documents, weights)
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    for rows in _blocks(len(queries), max(len(documents), queries.hidden_dim)):
        shared = products(documents, (queries[rows].to_dense() * weights).T).T
        own = products(queries[rows], weights)[:, None]
        out[rows] = _measured(measure, shared, own, sizes[None, :], alpha, beta)
    return out


def pairwise_scores(
    left: BinaryCodes,
    right: BinaryCodes,
    measure: Measure = "overlap",
    weights: np.ndarray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> np.ndarray:
    """Score of each code on the left with the one at the same place on the right: float32 (n,). See :func:`scores`."""
    weights = _check_pair(left, right, measure, weights)
    if len(left) != len(right):
        raise BSAError(f"pairwise scores need as many codes left as right, got {len(left)} and {len(right)}")
    both = BinaryCodes.from_packed(left.to_packed() & right.to_packed(), left.hidden_dim)
    values = _measured(measure, products(both, weights), products(left, weights), products(right, weights), alpha, beta)
    return values.astype(np.float32)


def asymmetric_scores(
    queries: np.ndarray, documents: BinaryCodes, decoder: np.ndarray, offset: np.ndarray, softening: float = 0.0
) -> np.ndarray:
    """Scores of float queries against binary documents: ``q . x_hat(h) / sqrt(|x_hat(h)|^2 + softening)``.

    ``x_hat = h V + c``, so the score is a sum of ``(V q)_i`` over the active features, divided by the length of ``x_hat``: without softening the
    cosine of the query with what the document decodes to. Nothing but the bits and the decoder is needed for the length. A decoded text is
    the shorter, the less its code tells about it; dividing by its whole length then ranks it as if its direction were certain. How much to
    soften is measured after training (``head.length_softening``).

    Args:
        queries: float (n, d), unit norm where scores shall be cosines.
        documents: m codes.
        decoder: V, float (D, d).
        offset: c, float (d,).
        softening: Added to the squared lengths.

    Returns:
        float32 (n, m).

    Raises:
        BSAError: If the widths do not fit.
    """
    queries = np.asarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != decoder.shape[1] or decoder.shape[0] != documents.hidden_dim:
        raise BSAError(
            f"queries {queries.shape} and decoder {decoder.shape} do not fit codes of {documents.hidden_dim} features"
        )
    factor = inverse_norms(documents, decoder, offset, softening)
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    for rows in _blocks(len(queries), max(len(documents), documents.hidden_dim)):
        block = queries[rows]
        out[rows] = (products(documents, decoder @ block.T).T + (block @ offset)[:, None]) * factor
    return out


def decode(codes: BinaryCodes, decoder: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Dense reconstructions ``x_hat = h V + c``: float32 (n, d).

    A decoded query scored by :func:`asymmetric_scores` compares code with code: over an inverted index it is a query of weights
    ``V V^T h``. It is much closer to the dense cosine than overlap, which only counts.

    Args:
        codes: n codes.
        decoder: V, float (D, d).
        offset: c, float (d,).
    """
    return np.asarray(products(codes, decoder) + offset, dtype=np.float32)


def products(codes: BinaryCodes, weights: np.ndarray) -> np.ndarray:
    """Sums of weights over the active features, ``h W``: float (n,) or (n, m) for weights of shape (D,) or (D, m)."""
    if not codes.is_packed:
        return np.asarray(codes.to_scipy() @ weights)
    out = np.empty((len(codes), *weights.shape[1:]), dtype=np.result_type(weights.dtype, np.float32))
    for rows in _blocks(len(codes), codes.hidden_dim):
        np.matmul(codes[rows].to_dense(), weights, out=out[rows])
    return out


def inverse_norms(codes: BinaryCodes, decoder: np.ndarray, offset: np.ndarray, softening: float = 0.0) -> np.ndarray:
    """``1 / sqrt(|x_hat|^2 + softening)`` of each code: float32 (n,). Arguments as in :func:`asymmetric_scores`."""
    norms = np.empty(len(codes), dtype=np.float32)
    for rows in _blocks(len(codes), decoder.shape[1]):
        norms[rows] = np.sqrt(np.square(decode(codes[rows], decoder, offset)).sum(axis=1) + np.float32(softening))
    return 1 / np.maximum(norms, np.float32(1e-12))


def top_k(matrix: np.ndarray, k: int) -> Hits:
    """Best ``k`` columns of each row of a score matrix, by score, then by column number.

    Args:
        matrix: float (n, m).
        k: At most m are returned.
    """
    k = min(k, matrix.shape[1])
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return Hits(order.astype(np.int64), np.take_along_axis(matrix, order, axis=1).astype(np.float32))


def _measured(
    measure: Measure, shared: np.ndarray, left: np.ndarray, right: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
    """The measure of pairs from what both sides have, and what each side has."""
    if measure == "overlap":
        return shared
    if measure == "hamming":
        return 2 * shared - left - right
    if measure == "cosine":
        return _divide(shared, np.sqrt(left * right))
    if measure == "jaccard":
        alpha = beta = 1.0
    return _divide(shared, shared + alpha * (left - shared) + beta * (right - shared))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_CELLS // max(1, width))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def _check_pair(left: BinaryCodes, right: BinaryCodes, measure: str, weights: np.ndarray | None) -> np.ndarray:
    if left.hidden_dim != right.hidden_dim:
        raise BSAError(f"codes of {left.hidden_dim} and of {right.hidden_dim} features cannot be compared")
    if measure not in get_args(Measure):
        raise BSAError(f"measure must be one of {', '.join(get_args(Measure))}, got {measure!r}")
    if weights is None:
        return np.ones(left.hidden_dim, dtype=np.float32)
    weights = np.asarray(weights, dtype=np.float32)
    if weights.shape != (left.hidden_dim,):
        raise BSAError(f"weights must have shape ({left.hidden_dim},), got {weights.shape}")
    return weights
