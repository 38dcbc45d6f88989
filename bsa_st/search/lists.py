"""Inverted lists of codes: k-means of the decoded codes, the list of each code, and candidates by Hamming distance.

A packed code is compared with the query's ``w > 0`` by faiss, which scans the very array that the index holds. Lists of ids (sparse
codes) are summed over ``w``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder
from bsa_st.codes.scoring import decode
from bsa_st.search.sums import sums

CHUNK = 1 << 14
"""Codes that are decoded at a time."""
SAMPLE = 64
"""Codes per list that k-means sees."""
ITERATIONS = 10
NEAREST = 4
"""Lists near by Hamming distance, of which the nearest to the decoded code is chosen."""


def default_lists(documents: int) -> int:
    """About ``2 sqrt(n)`` lists, a power of two."""
    return 1 << max(1, round(np.log2(2 * np.sqrt(documents))))


def train_lists(codes: BinaryCodes, decoder: Decoder, count: int) -> np.ndarray:
    """Centroids of ``count`` lists by spherical k-means on decoded codes: float32 (count, d), unit norm."""
    rows = np.sort(np.random.default_rng(0).choice(len(codes), min(len(codes), SAMPLE * count), replace=False))
    sample = np.concatenate(
        [_directions(codes[rows[start : start + CHUNK]], decoder)[0] for start in range(0, len(rows), CHUNK)]
    )
    options = {
        "niter": ITERATIONS,
        "spherical": True,
        "seed": 0,
        "max_points_per_centroid": SAMPLE,
        "min_points_per_centroid": 1,
    }
    kmeans = faiss.Kmeans(sample.shape[1], count, **options)
    kmeans.train(sample)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def assign_lists(codes: BinaryCodes, decoder: Decoder, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The list of each code, int64 (n,), and ``1 / |x_hat|``, float32 (n,)."""
    bits = np.packbits(centroids @ decoder.weight.T > 0, axis=1)
    lists, inverse = np.empty(len(codes), np.int64), np.empty(len(codes), np.float32)
    for start in range(0, len(codes), CHUNK):
        part = codes[start : start + CHUNK]
        rows = slice(start, start + len(part))
        directions, inverse[rows] = _directions(part, decoder)
        if part.is_packed and len(centroids) > NEAREST:
            near = faiss.knn_hamming(part.to_packed(), bits, NEAREST)[1]
            scores = np.stack(
                [np.einsum("nd,nd->n", centroids[near[:, place]], directions) for place in range(NEAREST)], axis=1
            )
            lists[rows] = near[np.arange(len(part)), scores.argmax(axis=1)]
        else:
            lists[rows] = (directions @ centroids.T).argmax(axis=1)
    return lists, inverse


def _directions(codes: BinaryCodes, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    decoded = decode(codes, decoder.weight, decoder.offset)
    inverse = (1 / np.maximum(np.linalg.norm(decoded, axis=1), 1e-12)).astype(np.float32)
    decoded *= inverse[:, None]
    return decoded, inverse


class HammingLists:
    """Candidates among packed codes that lie list after list in one array; nothing is copied.

    Args:
        packed: uint8 (n, bytes), C order; may be a memory map.
        starts: Where each list starts, int64 (lists + 1,).
    """

    def __init__(self, packed: np.ndarray, starts: np.ndarray) -> None:
        count, width = len(starts) - 1, packed.shape[1]
        sizes = np.diff(starts)
        table = np.ascontiguousarray(np.stack([sizes, sizes, starts[:-1] * width], axis=1).astype(np.uint64))
        # faiss' lists over foreign memory: the class that maps files, given the array's address in place of a file's. It is never asked for ids
        lists: Any = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size, lists.read_only, lists.prefetch_nthread = count, width, True, 0
        lists.lists.resize(count)
        faiss.memcpy(lists.lists.data(), faiss.swig_ptr(table.view(np.uint8).reshape(-1)), table.nbytes)
        lists.ptr = faiss.swig_ptr(packed) if packed.size else None
        weakref.finalize(self, setattr, lists, "ptr", None)  # or it would be unmapped with them
        self._quantizer = faiss.IndexBinaryFlat(8 * width)
        self._index: Any = faiss.IndexBinaryIVF(self._quantizer, 8 * width, count)
        self._index.replace_invlists(lists, False)
        self._index.is_trained = True
        self._lists, self._packed, self._starts = lists, packed, starts

    def candidates(self, queries: np.ndarray, probed: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """Rows of the ``count`` nearest codes of each query, int64, in no order.

        Args:
            queries: Bits, uint8 (q, bytes).
            probed: Lists, int64 (q, probes).
            count: At most.
        """
        distances, labels = np.empty((len(queries), count), np.int32), np.empty((len(queries), count), np.int64)
        coarse = np.zeros(probed.shape, np.int32)
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe = probed.shape[1]
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(np.ascontiguousarray(queries)),
            count,
            faiss.swig_ptr(np.ascontiguousarray(probed)),
            faiss.swig_ptr(coarse),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(labels),
            True,
            parameters,
        )
        for row in labels:
            pairs = row[row >= 0]
            yield self._starts[pairs >> 32] + (pairs & 0xFFFFFFFF)


def rows_in(starts: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """All rows of some lists, int64."""
    return np.concatenate([np.arange(starts[one], starts[one + 1]) for one in lists]) if len(lists) else np.zeros(0, np.int64)


def nearest_rows(packed: np.ndarray, rows: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` rows of those given whose codes are nearest to the query's bits, int64."""
    if len(rows) <= count:
        return rows
    found = faiss.knn_hamming(query[None], np.ascontiguousarray(packed[rows]), count)[1][0]
    return rows[found]


def heaviest_rows(codes: BinaryCodes, rows: np.ndarray | None, weights: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` rows of those given (None: of all) with the largest sums of weights over their ids, int64."""
    values = sums(codes.ids, codes.indptr, rows, weights)
    if len(values) > count:
        best = np.argpartition(-values, count - 1)[:count]
        return best if rows is None else rows[best]
    return np.arange(len(codes)) if rows is None else rows
