"""The quantisers of faiss that learn codebooks: PQ, OPQ and the additive ones, each trained by faiss' own defaults on all rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import faiss
import numpy as np

from evaluation.methods.base import FaissMethod

SPLITS = 8
LEAST_PER_SPLIT = 8

faiss.cvar.distance_compute_blas_threshold = 0
"""Distances in subspaces of a few dimensions by its fused kernels whatever the number of rows: an OPQ of 96 bytes in minutes in place of half an hour."""


class Codebooks(FaissMethod):
    """A faiss index as a codec of centred embeddings."""

    @abstractmethod
    def build(self, width: int) -> Any:
        """The untrained index."""

    def learn(self, training: np.ndarray) -> None:
        self.index = self.build(training.shape[1])
        self.index.train(np.ascontiguousarray(self.arrange(training - self.mean)))

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_encode(np.ascontiguousarray(self.arrange(dense - self.mean))))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return self.rearrange(self.index.sa_decode(codes)) + self.mean

    def arrange(self, centred: np.ndarray) -> np.ndarray:
        """Centred rows as the index takes them."""
        return centred

    def rearrange(self, decoded: np.ndarray) -> np.ndarray:
        """Undo :meth:`arrange`."""
        return decoded


class PQ(Codebooks):
    """Product quantisation (Jégou, Douze and Schmid 2011), one byte per subspace; where the width cannot be divided, subspaces differ by one dimension."""

    name = "PQ"

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return n_bytes <= width

    def build(self, width: int) -> Any:
        parts = np.array_split(np.arange(width), self.n_bytes)
        longest = len(parts[0])
        self.places = np.concatenate([np.arange(len(part)) + longest * number for number, part in enumerate(parts)])
        return faiss.IndexPQ(longest * self.n_bytes, self.n_bytes, 8)

    def arrange(self, centred: np.ndarray) -> np.ndarray:
        if self.index.d == centred.shape[1]:
            return centred
        padded = np.zeros((len(centred), self.index.d), dtype=np.float32)
        padded[:, self.places] = centred
        return padded

    def rearrange(self, decoded: np.ndarray) -> np.ndarray:
        return np.asarray(decoded[:, self.places])


class OPQ(Codebooks):
    """Product quantisation after a learnt rotation (Ge, He, Ke and Sun 2013), faiss' 50 iterations over all rows."""

    name, seeds = "OPQ", 1

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return n_bytes <= width

    def build(self, width: int) -> Any:
        inner = -(-width // self.n_bytes) * self.n_bytes  # faiss fills up with zeros before it rotates
        return faiss.IndexPreTransform(faiss.OPQMatrix(width, self.n_bytes, inner), faiss.IndexPQ(inner, self.n_bytes, 8))


class RQ(Codebooks):
    """Residual quantisation (Chen, Guan and Wang 2010), one byte per step."""

    name, seeds = "RQ", 1
    kind: ClassVar[Any] = faiss.IndexResidualQuantizer

    def build(self, width: int) -> Any:
        return self.kind(width, self.n_bytes, 8)


class LSQ(RQ):
    """Additive quantisation by local search (LSQ++: Martinez, Zakhmi, Hoos and Little 2018)."""

    name, kind = "LSQ", faiss.IndexLocalSearchQuantizer


class PRQ(Codebooks):
    """Residual quantisers of at most eight subspaces, at least eight steps each."""

    name = "PRQ"
    kind: ClassVar[Any] = faiss.IndexProductResidualQuantizer

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return cls.splits(n_bytes, width) > 0

    @staticmethod
    def splits(n_bytes: int, width: int) -> int:
        """Number of subspaces; 0 where there is none that divides bytes and width."""
        fitting = (parts for parts in range(SPLITS, 0, -1) if n_bytes % parts == width % parts == 0)
        return next((parts for parts in fitting if n_bytes >= LEAST_PER_SPLIT * parts), 0)

    def build(self, width: int) -> Any:
        parts = self.splits(self.n_bytes, width)
        return self.kind(width, parts, self.n_bytes // parts, 8)


class PLSQ(PRQ):
    """The same with local search."""

    name, seeds, kind = "PLSQ", 1, faiss.IndexProductLocalSearchQuantizer
