"""Quantisers that give every dimension the same number of bits: sign bits, ITQ, EDEN, RaBitQ, OSQ, int8, float16, truncation."""

from __future__ import annotations

from typing import Any, ClassVar

import faiss
import numpy as np
from scipy.stats import ortho_group

from evaluation.methods.base import TINY, Method

GAUSSIAN_LEVELS = {1: np.sqrt(2 / np.pi) * np.array([-1, 1]), 2: np.array([-1.5104, -0.4528, 0.4528, 1.5104])}
"""The best levels for a standard normal variable (Max 1960), which a rotated coordinate nearly is."""
SEARCHED = 200
"""Documents that faiss ranks by its own estimate for each query."""


class Float32(Method):
    """The embedding itself."""

    name, source, sized, seeds, estimates = "float32", "-", False, 1, ("dot",)
    dtype: ClassVar[type[np.floating[Any]]] = np.float32

    def learn(self, training: np.ndarray) -> None:
        pass

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return dense.astype(self.dtype)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.float32)


class Float16(Float32):
    """Half precision."""

    name, dtype = "float16", np.float16


class Int8(Method):
    """One byte per dimension between the least and the largest training value."""

    name, source, sized, seeds = "int8", "sentence-transformers quantize_embeddings", False, 1

    def learn(self, training: np.ndarray) -> None:
        rows = self.project(training)
        self.low, self.step = rows.min(axis=0), np.maximum(np.ptp(rows, axis=0), TINY) / 255

    def project(self, dense: np.ndarray) -> np.ndarray:
        """What is rounded, float32 (n, m)."""
        return dense

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.clip((self.project(dense) - self.low) / self.step + 0.5, 0, 255).astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray(codes * self.step + self.low, dtype=np.float32)


class Truncated(Int8):
    """The first dimensions, a byte each: what a Matryoshka model is trained for, and these encoders are not."""

    name, source, sized = "truncated int8", "Kusupati et al. 2022", True

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return n_bytes <= width

    def project(self, dense: np.ndarray) -> np.ndarray:
        return dense[:, : self.n_bytes]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        decoded = np.zeros((len(codes), len(self.mean)), dtype=np.float32)
        decoded[:, : self.n_bytes] = super().decode(codes)
        return decoded


class Principal(Truncated):
    """The first principal components, a byte each."""

    name, source = "PCA int8", "principal components by numpy"

    def learn(self, training: np.ndarray) -> None:
        self.axes = np.linalg.eigh(np.cov(training.T))[1][:, ::-1][:, : self.n_bytes].astype(np.float32)
        super().learn(training)

    def project(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray((dense - self.mean) @ self.axes)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return Int8.decode(self, codes) @ self.axes.T + self.mean


class Sign(Method):
    """Sign bits as sentence-transformers' ``precision="ubinary"`` packs them."""

    name, source, sized, seeds = "sign bits", "sentence-transformers ubinary, float queries", False, 1
    estimates: ClassVar[tuple[str, ...]] = ("dot",)

    def learn(self, training: np.ndarray) -> None:
        pass

    def project(self, dense: np.ndarray) -> np.ndarray:
        """What has signs, float32 (n, m)."""
        return dense

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.packbits(self.project(dense) > 0, axis=1)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1


class CentredSign(Sign):
    """Sign bits after centring, decoded to the mean magnitude of each dimension."""

    name, source, estimates = "centred sign bits", "sign bits after centring", Method.estimates

    def learn(self, training: np.ndarray) -> None:
        self.magnitude = np.abs(self.project(training)).mean(axis=0)

    def project(self, dense: np.ndarray) -> np.ndarray:
        return dense - self.mean

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return super().decode(codes) * self.magnitude + self.mean


class ITQ(Sign):
    """Sign bits after PCA and the rotation that loses least by rounding, as many as fit."""

    name, source, sized, seeds, estimates = "ITQ", "Gong and Lazebnik 2011; faiss ITQTransform", True, 3, Method.estimates

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return 8 * n_bytes <= width

    def learn(self, training: np.ndarray) -> None:
        transform: Any = faiss.ITQTransform(training.shape[1], 8 * self.n_bytes, True)
        transform.itq.seed = self.seed + 123
        transform.train(np.ascontiguousarray(training))
        steps = transform.pca_then_itq
        self.matrix = faiss.vector_to_array(steps.A).reshape(steps.d_out, steps.d_in)
        self.scale = np.abs(self.project(training)).mean()

    def project(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray((dense - self.mean) @ self.matrix.T)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return super().decode(codes) @ self.matrix * self.scale + self.mean


class EDEN(Method):
    """Random rotation, the best levels for a normal variable, and the scale that makes the error least (2 bytes)."""

    name, source, sized = "EDEN 1 bit", "Vargaftik et al. 2022", False
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
    """The same at two bits, which TurboQuant uses too."""

    name, source, bits = "EDEN 2 bits", "Vargaftik et al. 2022; Zandieh et al. 2025 (TurboQuant)", 2


class RaBitQ(Method):
    """Sign bits after a random rotation with the factors of an unbiased estimate; scored by faiss' own estimate from float queries."""

    name, source, sized, estimates = "RaBitQ 1 bit", "Gao and Long 2024; faiss IndexRaBitQ", False, ("own",)
    bits: ClassVar[int] = 1

    def learn(self, training: np.ndarray) -> None:
        width = training.shape[1]
        self.rotation = ortho_group.rvs(width, random_state=self.seed).astype(np.float32)
        self.index: Any = faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT, self.bits)
        self.index.train(training @ self.rotation)
        self.index.qb = 0

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_encode(dense @ self.rotation))

    def decode(self, codes: np.ndarray) -> None:
        """faiss decodes the first bit only."""

    def scores(self, queries: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        index = faiss.clone_index(self.index)
        index.add_sa_codes(codes)
        values, places = index.search(queries @ self.rotation, min(SEARCHED, len(codes)))
        scores = np.full((len(queries), len(codes)), -np.inf, dtype=np.float32)
        np.put_along_axis(scores, places, values, axis=1)
        return scores

    def pair_scores(self, left: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        index = faiss.clone_index(self.index)
        index.add_sa_codes(codes)
        rotated = np.ascontiguousarray(left @ self.rotation)
        computer: Any = index.get_distance_computer()
        scores = np.empty(len(left), dtype=np.float32)
        for place in range(len(left)):
            computer.set_query(faiss.swig_ptr(rotated[place]))
            scores[place] = computer(place)
        return scores

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"index": faiss.serialize_index(self.index)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.index = faiss.deserialize_index(state["index"])


class RaBitQ2(RaBitQ):
    """The same at two bits."""

    name, bits = "RaBitQ 2 bits", 2


class RaBitQ4(RaBitQ):
    """The same at four bits."""

    name, bits = "RaBitQ 4 bits", 4
