"""Quantisers that give every dimension the same number of bits: sign bits, EDEN, RaBitQ, int8."""

from __future__ import annotations

from typing import Any, ClassVar

import faiss
import numpy as np
from scipy.stats import ortho_group

from evaluation.methods.base import TINY, FaissMethod, Method

GAUSSIAN_LEVELS = {1: np.sqrt(2 / np.pi) * np.array([-1, 1]), 2: np.array([-1.5104, -0.4528, 0.4528, 1.5104])}
"""The best levels for a standard normal variable (Max 1960), which a rotated coordinate nearly is."""
SEARCHED = 200
"""Documents that faiss ranks by its own estimate for each query."""


class Float32(Method):
    """The embedding itself."""

    name, sized, seeds, estimates = "float32", False, 1, ("dot",)

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return dense

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes


class Int8(Method):
    """One byte per dimension between the least and the largest training value, as sentence-transformers' ``quantize_embeddings`` has it."""

    name, sized, seeds = "int8", False, 1

    def learn(self, training: np.ndarray) -> None:
        self.low, self.step = training.min(axis=0), np.maximum(np.ptp(training, axis=0), TINY) / 255

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.clip((dense - self.low) / self.step + 0.5, 0, 255).astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray(codes * self.step + self.low, dtype=np.float32)


class Sign(Method):
    """Sign bits as sentence-transformers' ``precision="ubinary"`` packs them, asked by float queries."""

    name, sized, seeds = "sign bits", False, 1
    estimates: ClassVar[tuple[str, ...]] = ("dot",)

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.packbits(dense > 0, axis=1)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1


class CentredSign(Sign):
    """Sign bits after centring, decoded to the mean magnitude of each dimension."""

    name, estimates = "centred sign bits", Method.estimates

    def learn(self, training: np.ndarray) -> None:
        self.magnitude = np.abs(training - self.mean).mean(axis=0)

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return super().encode(dense - self.mean)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return super().decode(codes) * self.magnitude + self.mean


class EDEN(Method):
    """Random rotation, the best levels for a normal variable, and the scale that makes the error least, 2 bytes (Vargaftik et al. 2022)."""

    name, sized = "EDEN 1 bit", False
    bits: ClassVar[int] = 1

    def learn(self, training: np.ndarray) -> None:
        width = training.shape[1]
        self.rotation = ortho_group.rvs(width, random_state=self.seed).astype(np.float32)
        levels = GAUSSIAN_LEVELS[self.bits].astype(np.float32)
        self.levels, self.borders = levels, (levels[1:] + levels[:-1]) / 2

    def encode(self, dense: np.ndarray) -> np.ndarray:
        rotated = (dense - self.mean) @ self.rotation
        spread = np.maximum(np.linalg.norm(rotated, axis=1, keepdims=True), TINY) / np.sqrt(rotated.shape[1])
        places = np.searchsorted(self.borders, rotated / spread).astype(np.uint8)
        chosen = self.levels[places]
        scale = np.einsum("nd,nd->n", rotated, chosen) / np.einsum("nd,nd->n", chosen, chosen)
        planes = [np.packbits(places >> bit & 1, axis=1) for bit in range(self.bits)]
        return np.concatenate([*planes, scale.astype(np.float16)[:, None].view(np.uint8)], axis=1)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        planes = np.split(codes[:, :-2], self.bits, axis=1)
        places = sum(np.unpackbits(plane, axis=1) << bit for bit, plane in enumerate(planes))
        scale = np.ascontiguousarray(codes[:, -2:]).view(np.float16).astype(np.float32)
        return np.asarray((self.levels[places] * scale) @ self.rotation.T + self.mean)


class EDEN2(EDEN):
    """The same at two bits, which TurboQuant (Zandieh et al. 2025) uses too."""

    name, bits = "EDEN 2 bits", 2


class RaBitQ(FaissMethod):
    """Sign bits after a random rotation with the factors of an unbiased estimate (Gao and Long 2024); scored by faiss' own from float queries."""

    name, sized, estimates = "RaBitQ 1 bit", False, ("own",)
    bits: ClassVar[int] = 1

    def learn(self, training: np.ndarray) -> None:
        width = training.shape[1]
        self.rotation = ortho_group.rvs(width, random_state=self.seed).astype(np.float32)
        self.index = faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT, self.bits)
        self.index.train(training @ self.rotation)
        self.index.qb = 0

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_encode(dense @ self.rotation))

    def decode(self, codes: np.ndarray) -> None:
        """faiss decodes the first bit only."""

    def scores(self, queries: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        values, places = self._filled(codes).search(queries @ self.rotation, min(SEARCHED, len(codes)))
        scores = np.full((len(queries), len(codes)), -np.inf, dtype=np.float32)
        np.put_along_axis(scores, places, values, axis=1)
        return scores

    def pair_scores(self, left: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        rotated, index = np.ascontiguousarray(left @ self.rotation), self._filled(codes)
        computer: Any = index.get_distance_computer()
        scores = np.empty(len(left), dtype=np.float32)
        for place in range(len(left)):
            computer.set_query(faiss.swig_ptr(rotated[place]))
            scores[place] = computer(place)
        return scores

    def _filled(self, codes: np.ndarray) -> Any:
        index = faiss.clone_index(self.index)
        index.add_sa_codes(codes)
        return index


class RaBitQ2(RaBitQ):
    """The same at two bits."""

    name, bits = "RaBitQ 2 bits", 2


class RaBitQ4(RaBitQ):
    """The same at four bits."""

    name, bits = "RaBitQ 4 bits", 4
