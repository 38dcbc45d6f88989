"""The quantisers of faiss that learn codebooks: PQ, OPQ and the additive ones, each trained by faiss' own defaults on all rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import faiss
import numpy as np

from evaluation.methods.base import Method

SPLITS = 8
LEAST_PER_SPLIT = 8

faiss.cvar.distance_compute_blas_threshold = 0
"""Distances in subspaces of a few dimensions by its fused kernels whatever the number of rows: an OPQ of 96 bytes in minutes in place of half an hour."""


class Codebooks(Method):
    """A faiss index as a codec of centred embeddings."""

    @abstractmethod
    def build(self, width: int) -> Any:
        """The untrained index."""

    def learn(self, training: np.ndarray) -> None:
        self.index: Any = self.build(training.shape[1])
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

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"index": faiss.serialize_index(self.index)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.index = faiss.deserialize_index(state["index"])


class PQ(Codebooks):
    """Product quantisation, one byte per subspace; where the width cannot be divided, subspaces differ by one dimension."""

    name = "PQ"
    source = "Jégou, Douze and Schmid 2011; faiss IndexPQ"

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
    """Product quantisation after a learnt rotation, faiss' 50 iterations over all rows."""

    name = "OPQ"
    source = "Ge, He, Ke and Sun 2013; faiss OPQMatrix and IndexPQ"
    seeds = 1

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return n_bytes <= width

    def build(self, width: int) -> Any:
        inner = -(-width // self.n_bytes) * self.n_bytes  # faiss fills up with zeros before it rotates
        return faiss.IndexPreTransform(faiss.OPQMatrix(width, self.n_bytes, inner), faiss.IndexPQ(inner, self.n_bytes, 8))


class RQ(Codebooks):
    """Residual quantisation, one byte per step."""

    name = "RQ"
    source = "Chen, Guan and Wang 2010; faiss IndexResidualQuantizer"
    seeds = 1

    def build(self, width: int) -> Any:
        return faiss.IndexResidualQuantizer(width, self.n_bytes, 8)


class LSQ(Codebooks):
    """Additive quantisation by local search."""

    name = "LSQ"
    source = "Martinez, Zakhmi, Hoos and Little 2018 (LSQ++); faiss IndexLocalSearchQuantizer"
    seeds = 1

    def build(self, width: int) -> Any:
        return faiss.IndexLocalSearchQuantizer(width, self.n_bytes, 8)


class PRQ(Codebooks):
    """Residual quantisers of at most eight subspaces, at least eight steps each."""

    name = "PRQ"
    source = "faiss IndexProductResidualQuantizer"

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
        return faiss.IndexProductResidualQuantizer(width, parts, self.n_bytes // parts, 8)


class PLSQ(PRQ):
    """The same with local search."""

    name = "PLSQ"
    source = "faiss IndexProductLocalSearchQuantizer"
    seeds = 1

    def build(self, width: int) -> Any:
        parts = self.splits(self.n_bytes, width)
        return faiss.IndexProductLocalSearchQuantizer(width, parts, self.n_bytes // parts, 8)
