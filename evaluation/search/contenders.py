"""What is compared: ways to build an index of the documents, to open it and to ask it. Each is built and opened in processes of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from bsa_st import BinaryCodes, Index
from evaluation.search.data import Data, grown

Search = Callable[[np.ndarray], np.ndarray]
"""From queries, float32 (q, d), to the ten documents found for each, int64 (q, 10)."""
TRAINING = 131_072
BEST = 10
PROBES = (8, 16, 32, 64, 128)


class Contender(NamedTuple):
    """``build`` writes an index of the documents to a file; ``open`` gives, for each setting's name, how to search it; ``most`` is the largest set
    that it is built for."""

    build: Callable[[Data, Path], None]
    open: Callable[[Data, Path], dict[str, Search]]
    most: int


def lists_for(count: int) -> int:
    """As many lists as our index makes."""
    return 1 << max(1, round(float(np.log2(2 * np.sqrt(count)))))


def _ours(lists: int | None, settings: list[tuple[int, int]], most: int) -> Contender:
    def build(data: Data, path: Path) -> None:
        count = lists_for(data.size) if lists is None else lists
        Index.build(BinaryCodes.from_packed(data.codes), decoder=tuple(data.head), lists=count).save(path)

    def ask(queries: np.ndarray, index: Index, probes: int, candidates: int) -> np.ndarray:
        return np.stack([one.ids for one in index.search(queries, BEST, probes=probes, candidates=candidates)])

    def opened(data: Data, path: Path) -> dict[str, Search]:
        index = Index.open(path)
        found: dict[str, Search] = {}
        for probes, candidates in settings:
            name = f"{candidates} candidates" if lists == 0 else f"{probes} probes, {candidates} candidates"
            found[name] = partial(ask, index=index, probes=probes, candidates=candidates)
        return found

    return Contender(build, opened, most)


def _additive_fast_scan(most: int) -> Contender:
    """faiss' additive fast scan over our bits: no lengths, no second stage."""

    def opened(data: Data, path: Path) -> dict[str, Search]:
        weight, bits = data.head.weight, len(data.head.weight)
        entries = np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1, bitorder="little")[:, :4].astype(np.float32)
        codebooks = np.stack([entries @ weight[4 * number : 4 * number + 4] for number in range(bits // 4)])
        plain: Any = faiss.IndexResidualQuantizer(weight.shape[1], bits // 4, 4, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(codebooks.ravel(), plain.rq.codebooks)
        plain.rq.is_trained = plain.is_trained = True
        plain.rq.search_type = faiss.AdditiveQuantizer.ST_LUT_nonorm
        swapped = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), axis=1, bitorder="little")[:, 0]
        faiss.copy_array_to_vector(swapped[data.codes].ravel(), plain.codes)
        plain.ntotal = data.size
        scanner: Any = faiss.IndexAdditiveQuantizerFastScan
        index = scanner(plain)
        plain.reset()

        def ask(queries: np.ndarray, owner: Any = plain) -> np.ndarray:  # the codebooks are those of the plain index
            return np.asarray(index.search(queries, BEST)[1])

        return {"": ask}

    return Contender(lambda data, path: path.touch(), opened, most)


def _factory(name: str, most: int, probes: tuple[int, ...] = ()) -> Contender:
    graph = name.startswith("HNSW")

    def build(data: Data, path: Path) -> None:
        if name.startswith("OPQ"):  # subspaces of a few dimensions by fused kernels: minutes in place of half an hour
            faiss.cvar.distance_compute_blas_threshold = 0
        index: Any = faiss.index_factory(
            data.real.shape[1], name.format(lists=lists_for(data.size)), faiss.METRIC_INNER_PRODUCT
        )
        index.train(np.concatenate(list(grown(data.real, min(TRAINING, data.size)))))
        for rows in data.chunks():
            index.add(np.ascontiguousarray(rows))
        faiss.write_index(index, str(path))

    def opened(data: Data, path: Path) -> dict[str, Search]:
        index: Any = faiss.read_index(str(path))

        def ask(queries: np.ndarray, count: int = 0) -> np.ndarray:
            if graph:
                index.hnsw.efSearch = count
            elif count:
                faiss.extract_index_ivf(index).nprobe = count
            return np.asarray(index.search(queries, BEST)[1])

        return {f"{count} {'explored' if graph else 'probes'}": partial(ask, count=count) for count in probes} or {"": ask}

    return Contender(build, opened, most)


def _signs(most: int) -> Contender:
    """The floats' signs, centred, by Hamming distance."""

    def build(data: Data, path: Path) -> None:
        index = faiss.IndexBinaryFlat(data.real.shape[1])
        for rows in data.chunks():
            index.add(np.packbits(rows > data.real.mean(axis=0), axis=1))
        faiss.write_index_binary(index, str(path))

    def opened(data: Data, path: Path) -> dict[str, Search]:
        index, centre = faiss.read_index_binary(str(path)), data.real.mean(axis=0)
        return {"": lambda queries: np.asarray(index.search(np.packbits(queries > centre, axis=1), BEST)[1])}

    return Contender(build, opened, most)


def _usearch(dtype: str, most: int) -> Contender:
    def made(rows: np.ndarray) -> np.ndarray:
        return np.packbits(rows > 0, axis=1) if dtype == "b1" else rows

    def empty(data: Data) -> Any:
        from usearch.index import Index as UsearchIndex

        return UsearchIndex(ndim=data.real.shape[1], metric="hamming" if dtype == "b1" else "ip", dtype=dtype)

    def build(data: Data, path: Path) -> None:
        index, start = empty(data), 0
        for rows in data.chunks():
            index.add(np.arange(start, start + len(rows)), made(rows), threads=1)
            start += len(rows)
        index.save(str(path))

    def opened(data: Data, path: Path) -> dict[str, Search]:
        index = empty(data)
        index.load(str(path))
        return {"": lambda queries: np.asarray(index.search(made(queries), BEST, threads=1).keys).reshape(len(queries), -1)}

    return Contender(build, opened, most)


def _turbovec(bits: int, most: int) -> Contender:
    def build(data: Data, path: Path) -> None:
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=data.real.shape[1], bit_width=bits)
        for rows in data.chunks():
            index.add(np.ascontiguousarray(rows))
        index.write(str(path))

    def opened(data: Data, path: Path) -> dict[str, Search]:
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex.load(str(path))
        return {"": lambda queries: np.asarray(index.search(np.ascontiguousarray(queries), k=BEST)[1])}

    return Contender(build, opened, most)


LISTS = [(16, 200), (32, 200), (64, 200), (96, 200), (128, 200), (256, 300)]
CONTENDERS: dict[str, Contender] = {
    "bsa_st flat": _ours(0, [(1, 100), (1, 300)], 10_000_000),
    "bsa_st lists": _ours(None, LISTS, 10_000_000),
    "faiss additive fast scan, same bits": _additive_fast_scan(10_000_000),
    "faiss PQ128x4fs": _factory("PQ128x4fs", 1_000_000),
    "faiss IVF,PQ128x4fs": _factory("IVF{lists},PQ128x4fs", 10_000_000, PROBES),
    "faiss OPQ64,PQ64": _factory("OPQ64,PQ64", 1_000_000),
    "faiss OPQ128,IVF,PQ128x4fs": _factory("OPQ128,IVF{lists},PQ128x4fs", 1_000_000, PROBES),
    "faiss IVF,RaBitQfs": _factory("IVF{lists},RaBitQfs", 10_000_000, PROBES),
    "faiss IVF,RaBitQfs2": _factory("IVF{lists},RaBitQfs2", 1_000_000, PROBES),
    "faiss IVF,RaBitQfs4": _factory("IVF{lists},RaBitQfs4", 1_000_000, PROBES),
    "faiss IVF,SQ8": _factory("IVF{lists},SQ8", 1_000_000, PROBES),
    "faiss HNSW32,SQ8": _factory("HNSW32,SQ8", 1_000_000, (16, 64, 256)),
    "signs, Hamming": _signs(10_000_000),
    "usearch i8": _usearch("i8", 1_000_000),
    "usearch b1": _usearch("b1", 1_000_000),
    "turbovec 2 bits": _turbovec(2, 1_000_000),
    "turbovec 4 bits": _turbovec(4, 1_000_000),
}
