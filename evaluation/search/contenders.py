"""What is compared: ways to build an index of the documents and to ask it. Each is built in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from bsa_st import BinaryCodes, Index
from evaluation.search.data import Data, Head

Search = Callable[[np.ndarray], np.ndarray]
"""From queries, float32 (q, d), to the ten documents found for each, int64 (q, 10)."""
TRAINING = 131_072
BEST = 10


class Contender(NamedTuple):
    """``build`` gives, for each setting's name, how to search; ``most`` is the largest set that it is built for."""

    build: Callable[[Data], dict[str, Search]]
    most: int


def lists_for(count: int) -> int:
    """As many lists as our index makes."""
    return 1 << max(1, round(float(np.log2(2 * np.sqrt(count)))))


def _ours(lists: int | None, settings: list[tuple[int, int]]) -> Callable[[Data], dict[str, Search]]:
    def build(data: Data) -> dict[str, Search]:
        path = data.folder / f"{'lists' if lists is None else 'flat'}-{data.size}.index"
        count = lists_for(data.size) if lists is None else lists
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # its memory goes with it
            pool.submit(_write_index, data.folder / f"codes-{data.size}.npy", data.head, count, path).result()
        index = Index.open(path)

        def search(probes: int, candidates: int) -> Search:
            def ask(queries: np.ndarray) -> np.ndarray:
                return np.stack([one.ids for one in index.search(queries, BEST, probes=probes, candidates=candidates)])

            return ask

        return {f"{probes} probes, {candidates} candidates": search(probes, candidates) for probes, candidates in settings}

    return build


def _write_index(codes: Path, head: Head, lists: int, path: Path) -> None:
    Index.build(BinaryCodes.from_packed(np.load(codes, mmap_mode="r")), decoder=tuple(head), lists=lists).save(path)


def _fast_scan(data: Data) -> dict[str, Search]:
    """faiss' additive fast scan over our bits: no lengths, no second stage."""
    weight, bits = data.head.weight, len(data.head.weight)
    entries = np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1, bitorder="little")[:, :4].astype(np.float32)
    codebooks = np.stack([entries @ weight[4 * number : 4 * number + 4] for number in range(bits // 4)])
    plain: Any = faiss.IndexResidualQuantizer(weight.shape[1], bits // 4, 4, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(codebooks.ravel(), plain.rq.codebooks)
    plain.rq.is_trained = plain.is_trained = True
    plain.rq.search_type = faiss.AdditiveQuantizer.ST_LUT_nonorm
    reversed_bits = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), axis=1, bitorder="little")[:, 0]
    faiss.copy_array_to_vector(reversed_bits[data.codes].ravel(), plain.codes)
    plain.ntotal = data.size
    scanner: Any = faiss.IndexAdditiveQuantizerFastScan
    index = scanner(plain)
    index.kept = plain  # it owns the codebooks
    return {"": lambda queries: index.search(queries, BEST)[1]}


def _factory(name: str, probes: tuple[int, ...] = ()) -> Callable[[Data], dict[str, Search]]:
    def build(data: Data) -> dict[str, Search]:
        index: Any = faiss.index_factory(
            data.real.shape[1], name.format(lists=lists_for(data.size)), faiss.METRIC_INNER_PRODUCT
        )
        index.train(_first(data, TRAINING))
        for rows in data.chunks():
            index.add(np.ascontiguousarray(rows))

        def search(count: int) -> Search:
            def ask(queries: np.ndarray) -> np.ndarray:
                index.nprobe = count
                return np.asarray(index.search(queries, BEST)[1])

            return ask

        return {f"{count} probes": search(count) for count in probes} or {"": lambda queries: index.search(queries, BEST)[1]}

    return build


def _signs(data: Data) -> dict[str, Search]:
    """The floats' signs, centred, by Hamming distance."""
    centre = data.real.mean(axis=0)
    index = faiss.IndexBinaryFlat(data.real.shape[1])
    for rows in data.chunks():
        index.add(np.packbits(rows > centre, axis=1))
    return {"": lambda queries: np.asarray(index.search(np.packbits(queries > centre, axis=1), BEST)[1])}


def _usearch(dtype: str) -> Callable[[Data], dict[str, Search]]:
    def build(data: Data) -> dict[str, Search]:
        from usearch.index import Index

        width = data.real.shape[1]
        index = Index(ndim=width, metric="hamming" if dtype == "b1" else "ip", dtype=dtype)
        made = (lambda rows: np.packbits(rows > 0, axis=1)) if dtype == "b1" else (lambda rows: rows)
        start = 0
        for rows in data.chunks():
            index.add(np.arange(start, start + len(rows)), made(rows), threads=1)
            start += len(rows)
        return {"": lambda queries: np.asarray(index.search(made(queries), BEST, threads=1).keys).reshape(len(queries), -1)}

    return build


def _turbovec(bits: int) -> Callable[[Data], dict[str, Search]]:
    def build(data: Data) -> dict[str, Search]:
        os.environ["RAYON_NUM_THREADS"] = "1"
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=data.real.shape[1], bit_width=bits)
        for rows in data.chunks():
            index.add(np.ascontiguousarray(rows))
        return {"": lambda queries: np.asarray(index.search(np.ascontiguousarray(queries), k=BEST)[1])}

    return build


def _first(data: Data, count: int) -> np.ndarray:
    parts, total = [], 0
    for rows in _spread(data):
        parts.append(rows)
        total += len(rows)
        if total >= count:
            break
    return np.concatenate(parts)[:count]


def _spread(data: Data) -> Iterator[np.ndarray]:
    yield from data.chunks()


PROBES = (8, 16, 32, 64, 128)
CONTENDERS: dict[str, Contender] = {
    "bsa_st flat": Contender(_ours(0, [(1, 300), (1, 500)]), 1_000_000),
    "bsa_st lists": Contender(
        _ours(None, [(16, 300), (32, 300), (64, 300), (64, 500), (96, 500), (128, 500), (256, 500)]), 10_000_000
    ),
    "faiss additive fast scan, same bits": Contender(_fast_scan, 10_000_000),
    "faiss PQ128x4fs": Contender(_factory("PQ128x4fs"), 1_000_000),
    "faiss IVF,PQ128x4fs": Contender(_factory("IVF{lists},PQ128x4fs", PROBES), 10_000_000),
    "faiss IVF,RaBitQfs": Contender(_factory("IVF{lists},RaBitQfs", PROBES), 1_000_000),
    "faiss IVF,RaBitQ 2 bits": Contender(_factory("IVF{lists},RaBitQ2", PROBES), 1_000_000),
    "faiss IVF,SQ8": Contender(_factory("IVF{lists},SQ8", PROBES), 1_000_000),
    "faiss OPQ64,PQ64": Contender(_factory("OPQ64,PQ64"), 100_000),
    "faiss HNSW32,SQ8": Contender(_factory("HNSW32,SQ8"), 100_000),
    "signs, Hamming": Contender(_signs, 1_000_000),
    "usearch i8": Contender(_usearch("i8"), 100_000),
    "usearch b1": Contender(_usearch("b1"), 100_000),
    "turbovec 2 bits": Contender(_turbovec(2), 1_000_000),
}
