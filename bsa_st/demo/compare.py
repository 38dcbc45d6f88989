"""Rows of the demo's table: the same search with float vectors, quantised vectors and binary sparse codes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sentence_transformers.util import quantize_embeddings
from sklearn.metrics import ndcg_score

from bsa_st.codes.scoring import asymmetric_scores, decode, idf, scores, top_k
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment

QUERIES_AT_ONCE = 500
TIMED_ROUNDS = 3

Score = Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``queries_per_second`` counts exhaustive scoring and ranking, batches of 500, after encoding."""

    method: str
    scoring: str
    bytes_per_text: float
    ndcg_at_10: float
    recall_at_100: float
    queries_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """The row with rounded figures, for JSON."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def compare(
    head: BinarySparsityAlignment, documents: np.ndarray, queries: np.ndarray, relevant: np.ndarray
) -> tuple[list[Row], np.ndarray]:
    """Score every method on the same dense embeddings.

    Args:
        head: The trained head.
        documents: float32 (n, d), unit norm.
        queries: float32 (m, d), unit norm.
        relevant: Position of each query's only relevant document, integer (m,).

    Returns:
        The rows, and the best 100 documents of each query by BSA's asymmetric score, int64 (m, 100).
    """
    methods = {**_baselines(documents, queries), **_codes(head, documents, queries)}
    batches = [slice(start, start + QUERIES_AT_ONCE) for start in range(0, len(queries), QUERIES_AT_ONCE)]
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in methods}
    ranked: dict[tuple[str, str], np.ndarray] = {}
    for _ in range(TIMED_ROUNDS):  # interleaved, so that all methods meet the same noise
        for key, (_, score) in methods.items():
            started = time.perf_counter()
            ranked[key] = np.concatenate([top_k(score(batch), 100).ids for batch in batches])
            seconds[key].append(time.perf_counter() - started)
    rows = [
        Row(*key, bytes_per_text, *_quality(ranked[key], relevant), len(queries) / float(np.median(seconds[key])))
        for key, (bytes_per_text, _) in methods.items()
    ]
    return rows, ranked[("bsa", "asymmetric")]


def _baselines(documents: np.ndarray, queries: np.ndarray) -> dict[tuple[str, str], tuple[float, Score]]:
    low, high = documents.min(axis=0), documents.max(axis=0)
    int8 = np.asarray(quantize_embeddings(documents, precision="int8", ranges=np.stack([low, high])))
    step = (high - low) / 255
    packed = np.asarray(quantize_embeddings(documents, precision="ubinary"))
    document_signs = _signs(packed)
    query_signs = _signs(np.asarray(quantize_embeddings(queries, precision="ubinary")))
    size = len(documents)
    return {
        ("float32", "symmetric"): (documents.nbytes / size, lambda part: queries[part] @ documents.T),
        ("int8", "asymmetric"): (int8.nbytes / size, lambda part: (queries[part] * step) @ int8.astype(np.float32).T
        + (queries[part] @ (low + 128 * step))[:, None]),
        ("sign", "symmetric"): (packed.nbytes / size, lambda part: query_signs[part] @ document_signs.T),
        ("sign", "asymmetric"): (packed.nbytes / size, lambda part: queries[part] @ document_signs.T),
    }  # fmt: skip


def _codes(
    head: BinarySparsityAlignment, documents: np.ndarray, queries: np.ndarray
) -> dict[tuple[str, str], tuple[float, Score]]:
    plain = encode_embeddings(head, documents, refine=False)
    refined = encode_embeddings(head, documents, refine=True)
    query_codes = encode_embeddings(head, queries, refine=False)
    weights = idf(plain)
    decoder, offset = head.decoder_weight.detach().cpu().numpy(), head.decoder_bias.detach().cpu().numpy()
    softening = float(head.length_softening)
    decoded = decode(encode_embeddings(head, queries, refine=True), decoder, offset)
    return {
        ("bsa", "overlap"): (plain.nbytes / len(plain), lambda part: scores(query_codes[part], plain)),
        ("bsa", "idf"): (plain.nbytes / len(plain), lambda part: scores(query_codes[part], plain, weights=weights)),
        ("bsa", "decoded"): (
            refined.nbytes / len(refined),
            lambda part: asymmetric_scores(decoded[part], refined, decoder, offset, softening),
        ),
        ("bsa", "asymmetric"): (
            refined.nbytes / len(refined),
            lambda part: asymmetric_scores(queries[part], refined, decoder, offset, softening),
        ),
    }


def _signs(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _quality(ranked: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """nDCG@10 and recall@100 of rankings with one relevant document each."""
    found = ranked == relevant[:, None]
    order = np.broadcast_to(-np.arange(ranked.shape[1], dtype=np.float32), found.shape)
    return float(ndcg_score(found, order, k=10)), float(found.any(axis=1).mean())
