"""Inverted lists: k-means of decoded codes, the list of each code, and candidates by Hamming distance to the query's ``w > 0``."""

from __future__ import annotations

import weakref
from typing import Any

import faiss
import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Decoder, decode

CHUNK = 1 << 14  # codes that are decoded at a time
PER_CENTROID = 64  # codes that k-means learns a centroid from
NEAREST = 4  # lists near by Hamming distance, of which the nearest to the decoded code is chosen

COUNTED = 1024
"""Most candidates that are sorted by counting, whose buffers hold as many for each distance; more are kept in a heap, which takes a third longer."""
AT_ONCE = 16  # queries in one call of faiss: the buffers of more do not stay in the cache


def train_lists(codes: BinaryCodes, decoder: Decoder, count: int) -> np.ndarray:
    """Centroids of ``count`` lists by spherical k-means on decoded codes: float32 (count, d), unit norm."""
    sample = min(len(codes), PER_CENTROID * count)
    rows = np.sort(np.random.default_rng(0).choice(len(codes), sample, replace=False))
    parts = [_directions(codes[rows[start : start + CHUNK]], decoder)[0] for start in range(0, sample, CHUNK)]
    limits = {"max_points_per_centroid": PER_CENTROID, "min_points_per_centroid": 1}
    kmeans = faiss.Kmeans(decoder.weight.shape[1], count, niter=10, spherical=True, seed=0, **limits)
    kmeans.train(np.concatenate(parts))
    return np.asarray(kmeans.centroids, dtype=np.float32)


def assign_lists(codes: BinaryCodes, decoder: Decoder, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The list of each code, int64 (n,), and ``1 / |x_hat|``, float32 (n,)."""
    bits = np.packbits(centroids @ decoder.weight.T > 0, axis=1)
    lists, inverse = np.empty(len(codes), np.int64), np.empty(len(codes), np.float32)
    for start in range(0, len(codes), CHUNK):
        part = codes[start : start + CHUNK]
        rows = slice(start, start + len(part))
        directions, inverse[rows] = _directions(part, decoder)
        if part.is_packed and len(centroids) > NEAREST:  # all centroids would take three times as long, for no more found
            near = faiss.knn_hamming(part.to_packed(), bits, NEAREST)[1]
            scores = [np.einsum("nd,nd->n", centroids[place], directions) for place in near.T]
            lists[rows] = near[np.arange(len(part)), np.argmax(scores, axis=0)]
        else:
            lists[rows] = (directions @ centroids.T).argmax(axis=1)
    return lists, inverse


def _directions(codes: BinaryCodes, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    decoded = decode(codes, decoder.weight, decoder.offset)
    squared = np.einsum("nd,nd->n", decoded, decoded)
    decoded /= np.sqrt(np.maximum(squared, 1e-24))[:, None]
    return decoded, 1 / np.sqrt(np.maximum(squared + np.float32(decoder.softening), 1e-24))


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
        self._indexes: list[Any] = []  # one that counts, one with a heap
        for heap in (False, True):
            index: Any = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(8 * width), 8 * width, count)
            index.replace_invlists(lists, False)
            index.is_trained, index.use_heap = True, heap
            self._indexes.append(index)
        self._lists, self._packed, self._starts = lists, packed, starts  # faiss has but their addresses

    def candidates(self, queries: np.ndarray, probed: np.ndarray, count: int) -> list[np.ndarray]:
        """Rows of at most ``count`` nearest codes of each query, int64, from its lists: ``queries`` uint8 (q, bytes), ``probed`` int64 (q, probes)."""
        index, parameters = self._indexes[count > COUNTED], faiss.SearchParametersIVF()
        parameters.nprobe, parameters.max_codes = probed.shape[1], 1 << 62  # no limit, which is 0 for heaps alone
        found: list[np.ndarray] = []
        for start in range(0, len(queries), AT_ONCE):
            asked, keys = (np.ascontiguousarray(array[start : start + AT_ONCE]) for array in (queries, probed))
            coarse, distances = np.zeros(keys.shape, np.int32), np.empty((len(asked), count), np.int32)
            labels = np.empty((len(asked), count), np.int64)
            pointers = [faiss.swig_ptr(array) for array in (asked, keys, coarse, distances, labels)]
            index.search_preassigned_c(len(asked), pointers[0], count, *pointers[1:], True, parameters)
            found += [self._starts[near >> 32] + (near & 0xFFFFFFFF) for near in (row[row >= 0] for row in labels)]
        return found
