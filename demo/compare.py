"""Rows of the demo's table: the same search with float vectors, quantised vectors and binary codes, each in an index as its library makes it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from sentence_transformers.util import quantize_embeddings
from sklearn.metrics import ndcg_score

from bsa_st.codes import BinaryCodes
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.search import Index

TOP = 10
CANDIDATES = 200
"""Documents that a rival's codes preselect and its decoded vectors rank."""
TIMED_QUERIES = 300
TIMED_ROUNDS = 3
PQ_ROWS = 10_000
"""Rows that the product quantiser learns from: about as many as faiss wants at least, 39 for each of 256 centroids."""


class Contender(NamedTuple):
    """A method with its documents stored; ``search`` gives the ids of the best ten of each query, int64 (m, 10), -1 where fewer are found."""

    method: str
    code_bytes: float
    disk_bytes: int
    memory_bytes: int
    search: Callable[[np.ndarray], np.ndarray]


def compare(
    head: BinarySparsityAlignment, documents: np.ndarray, queries: np.ndarray, relevant: np.ndarray
) -> tuple[list[dict[str, Any]], Index]:
    """Score every method on the same documents and queries, float32 (n, d) and (m, d), unit norm, each query with one ``relevant`` place, (m,).

    Returns:
        A row per method: ``code_bytes`` of a text's vector or code, ``disk_bytes`` and ``memory_bytes`` of the whole index per text, ``ndcg_at_10``,
        ``found_at_10`` (share of the float embeddings' own ten nearest among the ten found) and the median ``milliseconds`` of a single query on one
        thread; and the index of refined codes, ids 0 to n - 1, without texts.
    """
    index = Index.build(encode_embeddings(head, documents, refine=True), decoder=head)
    rivals = [_float32(documents), _ubinary(documents), _pq(documents, head.hidden_dim // 8)]
    contenders = [*rivals, _ours("bsa, flag-free", _flag_free(head, documents)), _ours("bsa, refined", index)]
    ranked, taken = _searched(contenders, queries)
    order = np.broadcast_to(-np.arange(TOP, dtype=np.float32), ranked[0].shape)
    rows = []
    for one, ids, seconds in zip(contenders, ranked, taken, strict=True):
        figures = {
            "code_bytes": one.code_bytes,
            "disk_bytes": one.disk_bytes / len(documents),
            "memory_bytes": one.memory_bytes / len(documents),
            "ndcg_at_10": float(ndcg_score(ids == relevant[:, None], order, k=TOP)),
            "found_at_10": float((ids[:, :, None] == ranked[0][:, None, :]).any(axis=1).mean()),
            "milliseconds": 1000 * seconds,
        }
        rows.append({"method": one.method, **{name: round(value, 4) for name, value in figures.items()}})
    return rows, index


def _searched(contenders: list[Contender], queries: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """What each finds, and its seconds for a single query; rounds are interleaved, so that all meet the same noise."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        ranked = [one.search(queries) for one in contenders]
        taken: list[list[float]] = [[] for _ in contenders]
        for _ in range(TIMED_ROUNDS):
            for one, times in zip(contenders, taken, strict=True):
                for number in range(min(TIMED_QUERIES, len(queries)) // TIMED_ROUNDS):
                    started = time.perf_counter()
                    one.search(queries[number : number + 1])
                    times.append(time.perf_counter() - started)
    finally:
        faiss.omp_set_num_threads(before)
    return ranked, [float(np.median(times)) for times in taken]


def _float32(documents: np.ndarray) -> Contender:
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents)
    size = len(faiss.serialize_index(index))
    return Contender("float32", 4.0 * documents.shape[1], size, size, lambda queries: index.search(queries, TOP)[1])


def _ubinary(documents: np.ndarray) -> Contender:
    """Sign bits by Hamming distance, the candidates ranked by the float query."""
    packed = np.asarray(quantize_embeddings(documents, precision="ubinary"))
    index = faiss.IndexBinaryFlat(documents.shape[1])
    index.add(packed)
    size = len(faiss.serialize_index_binary(index))

    def search(queries: np.ndarray) -> np.ndarray:
        candidates = index.search(np.asarray(quantize_embeddings(queries, precision="ubinary")), CANDIDATES)[1]
        return _rescored(queries, candidates, lambda ids: np.unpackbits(packed[ids], axis=1).astype(np.float32) * 2 - 1)

    return Contender("ubinary", packed.shape[1], size, size, search)


def _pq(documents: np.ndarray, size: int) -> Contender:
    """Product quantisation of centred vectors; candidates are ranked by their decoded vectors, whose lengths are divided away as ours are."""
    mean = documents.mean(axis=0)
    size = max(number for number in range(1, size + 1) if documents.shape[1] % number == 0)
    index: Any = faiss.IndexPQ(documents.shape[1], size, 8, faiss.METRIC_INNER_PRODUCT)
    order = np.random.default_rng(0).permutation(len(documents))[:PQ_ROWS]
    index.train(np.ascontiguousarray(documents[order] - mean))
    index.add(documents - mean)
    stored = len(faiss.serialize_index(index)) + mean.nbytes

    def decoded(ids: np.ndarray) -> np.ndarray:
        rows = np.asarray(index.reconstruct_batch(ids)) + mean
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def search(queries: np.ndarray) -> np.ndarray:
        return _rescored(queries, index.search(queries, CANDIDATES)[1], decoded)

    return Contender(f"PQ, {size} bytes", size, stored, stored, search)


def _rescored(queries: np.ndarray, candidates: np.ndarray, decoded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The best ten of each query's candidates by the products of the query and their decoded vectors."""
    there = [ids[ids >= 0] for ids in candidates]
    return _stacked(ids[np.argsort(-(decoded(ids) @ query), kind="stable")] for query, ids in zip(queries, there, strict=True))


def _stacked(found: Any) -> np.ndarray:
    """The first ten ids of each query, int64 (m, 10), -1 where there are fewer."""
    return np.stack([np.pad(ids[:TOP], (0, TOP - len(ids[:TOP])), constant_values=-1) for ids in found])


def _flag_free(head: BinarySparsityAlignment, documents: np.ndarray) -> Index:
    """The codes that plain sentence-transformers gives, with what decodes them."""
    assert head.unrolled is not None
    x = torch.from_numpy(documents).to(head.weight.device)
    codes = BinaryCodes.concatenate([BinaryCodes.from_dense(head.unrolled.codes(part)) for part in x.split(4096)])
    decoder = head.unrolled.decoder.numpy()
    return Index.build(codes, decoder=(decoder, np.zeros(decoder.shape[1], np.float32), head.unrolled.softening))


def _ours(method: str, index: Index) -> Contender:
    with tempfile.TemporaryDirectory() as scratch:
        disk = index.save(Path(scratch) / "index")

    def search(queries: np.ndarray) -> np.ndarray:
        return _stacked(one.ids for one in index.search(queries, top_k=TOP))

    return Contender(method, index.hidden_dim // 8, disk, index.stats().memory_bytes, search)
