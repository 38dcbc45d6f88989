"""What is compared in the search benchmark: each contender is built from codes or embeddings and answers one query or many."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from bsa_st import BinaryCodes, Index
from evaluation.search_data import Sample

TOP_K = 10
SETTINGS = ((64, 1500), (96, 3000), (128, 3000), (160, 4000), (160, 8000))
"""T and C of the two stages."""
BUILDS = 3
SLOW_LIMIT = 100_000
"""Graph indexes, Seismic and bm25s are built up to this many documents only: one thread needs many minutes for a million."""


class Contender(NamedTuple):
    """One way to search.

    Attributes:
        name: What and how.
        group: ``dense`` or ``D=.. k=..``.
        bytes: Bytes in memory per document.
        run: Ids of the best ten of the queries from one number to another, int (n, 10).
        truth: Name of the contender that gives the exact answer to the same question, for the recall; or empty.
        facts: Further figures, e.g. bytes on disk.
    """

    name: str
    group: str
    bytes: float
    run: Callable[[int, int], np.ndarray]
    truth: str
    facts: dict[str, Any]


def dense_scans(documents: np.ndarray, queries: np.ndarray) -> Iterator[Contender]:
    """faiss on floats and on sign bits."""
    width = documents.shape[1]
    flat = faiss.IndexFlatIP(width)
    flat.add(documents)
    yield Contender("faiss IndexFlatIP", "dense", 4 * width, lambda a, b: flat.search(queries[a:b], TOP_K)[1], "", {})

    signs, asked = np.packbits(documents > 0, axis=1), np.packbits(queries > 0, axis=1)
    bits = faiss.IndexBinaryFlat(8 * signs.shape[1])
    bits.add(signs)
    name = f"faiss IndexBinaryFlat, {signs.shape[1]} bytes of sign bits"
    yield Contender(name, "dense", signs.shape[1], lambda a, b: bits.search(asked[a:b], TOP_K)[1], "faiss IndexFlatIP", {})


def dense_indexes(documents: np.ndarray, queries: np.ndarray) -> Iterator[Contender]:
    """IVF-PQ, and HNSW on up to 100,000 documents."""
    count, width = documents.shape
    pq: Any = faiss.index_factory(width, "IVF1024,PQ48", faiss.METRIC_INNER_PRODUCT)
    pq.train(documents[:: max(1, count // 50_000)])
    pq.add(documents)
    for probe in (16, 64):

        def ivf(a: int, b: int, probe: int = probe) -> np.ndarray:
            pq.nprobe = probe
            return pq.search(queries[a:b], TOP_K)[1]

        yield Contender(f"faiss IVF1024,PQ48 nprobe {probe}", "dense", 48 + 8, ivf, "faiss IndexFlatIP", {})

    if count > SLOW_LIMIT:
        return
    graph = faiss.IndexHNSWFlat(width, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 64
    graph.add(documents)
    for ef in (32, 64, 128, 256):

        def hnsw(a: int, b: int, ef: int = ef) -> np.ndarray:
            graph.hnsw.efSearch = ef
            return graph.search(queries[a:b], TOP_K)[1]

        yield Contender(f"faiss HNSW16 ef {ef}", "dense", 4 * width + 8 * 16, hnsw, "faiss IndexFlatIP", {})


def code_contenders(sample: Sample, documents: BinaryCodes, quality: float, scans_only: bool) -> Iterator[Contender]:
    """Our index by every scoring, then others on the same codes. ``quality`` is noted with them; with ``scans_only`` the packed-bit scan alone."""
    group = f"D={documents.hidden_dim} k={int(sample.queries.counts.max())}"
    Index.build(documents[:1000], decoder=sample.decoder).prepare()
    times = []
    for _ in range(BUILDS):
        started = time.process_time()
        index = Index.build(documents, decoder=sample.decoder).prepare()
        times.append(time.process_time() - started)
    with tempfile.TemporaryDirectory() as folder:
        disk = index.save(Path(folder) / "index") / len(documents)
    stats = index.stats()
    facts = {"disk": disk, "ideal": stats.ideal_code_bytes / len(documents), "codes": stats.code_bytes / len(documents)}
    facts |= {"quality": quality, "build_docs_per_second": len(documents) / float(np.median(times))}
    memory = stats.memory_bytes / len(documents)
    codes, dense = sample.queries, sample.dense
    symmetric: list[tuple[str, dict[str, Any]]] = [
        ("bsa_st overlap", {"scoring": "overlap", "break_ties": False}),
        ("bsa_st overlap, ties by decoder", {"scoring": "overlap"}),
        ("bsa_st cosine", {"scoring": "cosine", "break_ties": False}),
        ("bsa_st idf", {"scoring": "idf", "break_ties": False}),
    ]
    for name, options in symmetric:

        def count(a: int, b: int, options: dict[str, Any] = options) -> np.ndarray:
            return index.search(codes[a:b], TOP_K, **options).ids

        yield Contender(name, group, memory, count, "", facts)
    for probes, candidates in SETTINGS:

        def staged(a: int, b: int, probes: int = probes, candidates: int = candidates) -> np.ndarray:
            return index.search(dense[a:b], TOP_K, probes=probes, candidates=candidates).ids

        yield Contender(f"bsa_st two-stage T={probes} C={candidates}", group, memory, staged, "bsa_st asymmetric", facts)
    exhaustive = lambda a, b: index.search(dense[a:b], TOP_K, scoring="asymmetric").ids  # noqa: E731
    yield Contender("bsa_st asymmetric", group, memory, exhaustive, "", facts)

    packed, asked = documents.to_packed(), codes.to_packed()
    scan = faiss.IndexBinaryFlat(8 * packed.shape[1])
    scan.add(packed)
    name = "faiss IndexBinaryFlat on packed codes"
    yield Contender(name, group, packed.shape[1], lambda a, b: scan.search(asked[a:b], TOP_K)[1], "", {})
    if len(documents) <= SLOW_LIMIT and not scans_only:
        yield from _other_engines(codes, documents, packed, asked, group)


def _other_engines(
    codes: BinaryCodes, documents: BinaryCodes, packed: np.ndarray, asked: np.ndarray, group: str
) -> Iterator[Contender]:
    from usearch.index import Index as UIndex

    graph = UIndex(ndim=8 * packed.shape[1], metric="tanimoto", dtype="b1")
    graph.add(np.arange(len(packed)), packed, threads=1)

    def near(a: int, b: int) -> np.ndarray:
        keys = graph.search(asked[a:b], TOP_K, threads=1).keys
        return np.asarray(keys, dtype=np.int64).reshape(b - a, -1)

    truth = "bsa_st overlap"
    yield Contender("usearch b1 Tanimoto", group, graph.memory_usage / len(packed), near, truth, {})

    import bm25s

    vocabulary = {str(feature): feature for feature in range(documents.hidden_dim)}
    lists = [part.tolist() for part in np.split(documents.ids.astype(int), documents.indptr[1:-1])]
    ranker = bm25s.BM25(k1=1e-9, b=0.0)
    ranker.index(bm25s.tokenization.Tokenized(ids=lists, vocab=vocabulary), show_progress=False)
    held = sum(ranker.scores[name].nbytes for name in ("data", "indices", "indptr")) / len(documents)

    def rank(a: int, b: int) -> np.ndarray:
        part = [codes.ids[codes.indptr[q] : codes.indptr[q + 1]].astype(int).tolist() for q in range(a, b)]
        tokens = bm25s.tokenization.Tokenized(ids=part, vocab=vocabulary)
        found = ranker.retrieve(tokens, k=TOP_K, show_progress=False, n_threads=1)
        return np.asarray(found.documents, dtype=np.int64)

    yield Contender("bm25s, IDF only", group, held, rank, "bsa_st idf", {})
    try:
        import seismic
    except ImportError:
        return
    dataset = seismic.SeismicDataset()
    kind = seismic.get_seismic_string()
    names = np.array([str(feature) for feature in range(documents.hidden_dim)], dtype=kind)
    for number in range(len(documents)):
        features = names[documents.ids[documents.indptr[number] : documents.indptr[number + 1]]]
        dataset.add_document(str(number), features, np.ones(len(features), np.float32))
    lists_index = seismic.SeismicIndex.build_from_dataset(dataset, num_threads=1)
    for cut in (10, int(codes.counts.max())):

        def blocks(a: int, b: int, cut: int = cut) -> np.ndarray:
            out = np.full((b - a, TOP_K), -1, np.int64)
            for row, query in enumerate(range(a, b)):
                features = names[codes.ids[codes.indptr[query] : codes.indptr[query + 1]]]
                hits = lists_index.search(
                    query_id="q", query_components=features, query_values=np.ones(len(features), np.float32),
                    k=TOP_K, query_cut=cut, heap_factor=0.8,
                )  # fmt: skip
                out[row, : len(hits)] = [int(hit[2]) for hit in hits]
            return out

        yield Contender(f"Seismic, cut {cut}", group, float("nan"), blocks, truth, {})
