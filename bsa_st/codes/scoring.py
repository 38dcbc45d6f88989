"""Scores between codes, and between float queries and codes, which are more exact, since only one side has been rounded; and the decoder that they
need, as arrays. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError

Scoring = Literal["asymmetric", "decoded", "overlap", "cosine"]
"""How a query scores stored codes: a float query against the code; the query's code, decoded, against it; features that both codes have; their number divided by
``sqrt(k1 k2)``. The same words everywhere: exhaustive search, index, engines, commands."""

BLOCK_CELLS = 1 << 25  # cells of the largest temporary matrix: 128 MB as float32

AT_ONCE = 1 << 14  # codes whose bits are compared at a time, so that they stay in the cache


class Hits(NamedTuple):
    """Best documents of each query: ``ids`` int64 and ``scores`` float32, both (queries, top_k), best first."""

    ids: np.ndarray
    scores: np.ndarray


class Decoder(NamedTuple):
    """``x_hat = V^T h + c``: V float32 (D, d), c float32 (d,), and what is added to ``|x_hat|^2`` where scores are divided by its root."""

    weight: np.ndarray
    offset: np.ndarray
    softening: float = 0.0


def as_decoder(source: Any, hidden_dim: int) -> Decoder:
    """The decoder of a model, of a head, or of arrays (V, c), with or without the softening. Raises :class:`BSAError` if it does not fit
    ``hidden_dim``, or holds NaN or infinite values."""
    if isinstance(source, (tuple, list)):
        weight, offset, softening = (*source, 0.0)[:3]
    else:
        if source is not None and not hasattr(source, "decoder_weight"):
            source = source[-1] if len(source) else source
        if not hasattr(source, "decoder_weight"):
            raise BSAError("the model has no BSA head; load it with bsa_st.load instead of SentenceTransformer")
        weight, offset = source.decoder_weight.detach().cpu().numpy(), source.decoder_bias.detach().cpu().numpy()
        softening = float(source.length_softening)
    weight, offset = (np.ascontiguousarray(part, dtype=np.float32) for part in (weight, offset))
    decoder = Decoder(weight, offset, float(softening))
    if weight.ndim != 2 or offset.shape != weight.shape[1:]:
        raise BSAError(f"a decoder has shapes (D, d) and (d,), got {weight.shape} and {offset.shape}")
    if len(weight) != hidden_dim:
        raise BSAError(f"the codes have {hidden_dim} features, the decoder {len(weight)}")
    if not all(np.isfinite(part).all() for part in decoder):
        raise BSAError("the decoder holds NaN or infinite values")
    return decoder


def scores(queries: BinaryCodes, documents: BinaryCodes, measure: Literal["overlap", "cosine"] = "overlap") -> np.ndarray:
    """All symmetric scores, as :data:`Scoring` says, of n and m codes: float32 (n, m). An empty code scores 0. Raises :class:`BSAError` if the codes
    differ in ``hidden_dim`` or the measure is unknown."""
    if queries.hidden_dim != documents.hidden_dim:
        raise BSAError(f"codes of {queries.hidden_dim} and of {documents.hidden_dim} features cannot be compared")
    if measure not in ("overlap", "cosine"):
        raise BSAError(f"measure must be overlap or cosine, got {measure!r}")
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    if documents.is_packed:
        packed, asked = documents.to_packed(), queries.to_packed()
        if packed.shape[1] % 8 == 0 and packed.ctypes.data % 8 == asked.ctypes.data % 8 == 0:
            packed, asked = packed.view(np.uint64), asked.view(np.uint64)
        for rows in (slice(start, start + AT_ONCE) for start in range(0, len(packed), AT_ONCE)):
            for number, bits in enumerate(asked):
                out[number, rows] = np.bitwise_count(packed[rows] & bits).sum(axis=1, dtype=np.int32)
    else:
        for rows in blocks(len(queries), max(len(documents), queries.hidden_dim)):
            out[rows] = products(documents, queries[rows].to_dense().T).T
    if measure == "cosine":
        sizes = np.sqrt(queries.counts[:, None].astype(np.float32) * documents.counts.astype(np.float32))
        np.divide(out, sizes, out=out, where=sizes > 0)
    return out


def asymmetric_scores(
    queries: np.ndarray, documents: BinaryCodes, decoder: np.ndarray, offset: np.ndarray, softening: float = 0.0
) -> np.ndarray:
    """Scores of float queries against binary documents: ``q . x_hat(h) / sqrt(|x_hat(h)|^2 + softening)`` with ``x_hat = h V + c``.

    Without softening it is the cosine of the query with what the document decodes to. A decoded text is the shorter, the less its code tells about it;
    dividing by its whole length then ranks it as if its direction were certain. How much to soften is measured after training
    (``head.length_softening``).

    Args:
        queries: float (n, d), unit norm where scores shall be cosines.
        documents: m codes.
        decoder, offset: V, float (D, d), and c, float (d,).
        softening: Added to the squared lengths.

    Returns:
        float32 (n, m).

    Raises:
        BSAError: If the widths do not fit.
    """
    queries = np.asarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != decoder.shape[1] or decoder.shape[0] != documents.hidden_dim:
        fit = f"do not fit codes of {documents.hidden_dim} features"
        raise BSAError(f"queries {queries.shape} and decoder {decoder.shape} {fit}")
    factor = inverse_norms(documents, decoder, offset, softening)
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    for rows in blocks(len(queries), max(len(documents), documents.hidden_dim)):
        block = queries[rows]
        out[rows] = (products(documents, decoder @ block.T).T + (block @ offset)[:, None]) * factor
    return out


def decode(codes: BinaryCodes, decoder: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Dense reconstructions ``x_hat = h V + c``: float32 (n, d), for V (D, d) and c (d,).

    A decoded query scored by :func:`asymmetric_scores` compares code with code, much closer to the dense cosine than overlap, which only counts.
    """
    return np.asarray(products(codes, decoder) + offset, dtype=np.float32)


def products(codes: BinaryCodes, weights: np.ndarray) -> np.ndarray:
    """Sums of weights over the active features, ``h W``: float (n,) or (n, m) for weights of shape (D,) or (D, m)."""
    if not codes.is_packed:
        return np.asarray(codes.to_scipy() @ weights)
    out = np.empty((len(codes), *weights.shape[1:]), dtype=np.result_type(weights.dtype, np.float32))
    for rows in blocks(len(codes), codes.hidden_dim):
        np.matmul(codes[rows].to_dense(), weights, out=out[rows])
    return out


def inverse_norms(codes: BinaryCodes, decoder: np.ndarray, offset: np.ndarray, softening: float = 0.0) -> np.ndarray:
    """``1 / sqrt(|x_hat|^2 + softening)`` of each code: float32 (n,). Arguments as in :func:`asymmetric_scores`."""
    norms = np.empty(len(codes), dtype=np.float32)
    for rows in blocks(len(codes), decoder.shape[1]):
        norms[rows] = np.sqrt(np.square(decode(codes[rows], decoder, offset)).sum(axis=1) + np.float32(softening))
    return 1 / np.maximum(norms, np.float32(1e-12))


def top_k(matrix: np.ndarray, k: int) -> Hits:
    """Best ``k`` columns, or all m, of each row of a score matrix, float (n, m), by score, then by column number."""
    k = min(k, matrix.shape[1])
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return Hits(order.astype(np.int64), np.take_along_axis(matrix, order, axis=1).astype(np.float32))


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of so many rows at a time that a temporary matrix of that width stays small."""
    step = max(1, BLOCK_CELLS // max(1, width))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))
