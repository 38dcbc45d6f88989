"""Vectors with fewer bits per number or fewer numbers: float32, float16, int8, truncated."""

from __future__ import annotations

import numpy as np
from sentence_transformers.util import quantize_embeddings

from evaluation.embeddings import unit_rows
from evaluation.methods.base import DecodedMethod, sample_rows


class Float32(DecodedMethod):
    """The dense embeddings themselves: the upper bound that all are compared with."""

    family = "float32"
    trained = False

    def __init__(self) -> None:
        super().__init__("float32", ("symmetric",))

    def fit(self, training: np.ndarray) -> None:
        pass

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return dense

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes


class Float16(DecodedMethod):
    """Half precision."""

    family = "float16"
    trained = False

    def __init__(self) -> None:
        super().__init__("float16", ("symmetric",))

    def fit(self, training: np.ndarray) -> None:
        pass

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return dense.astype(np.float16)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.float32)


class Int8(DecodedMethod):
    """sentence-transformers' int8 quantisation, with ranges per dimension from the training embeddings."""

    family = "int8"

    def __init__(self) -> None:
        super().__init__("int8", ("symmetric", "asymmetric"))

    def fit(self, training: np.ndarray) -> None:
        sample = sample_rows(training)
        self.ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
        self.shared_bytes = self.ranges.nbytes

    def encode(self, dense: np.ndarray) -> np.ndarray:
        inside = np.clip(dense, *self.ranges)  # values outside the ranges would wrap around
        return np.asarray(quantize_embeddings(inside, precision="int8", ranges=self.ranges))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        low, high = self.ranges
        return (codes.astype(np.float32) + 128.5) * ((high - low) / 255) + low


class Truncated(DecodedMethod):
    """The first dimensions only, scaled to length 1: what a Matryoshka model would be trained for, and this one may not be."""

    family = "truncate"
    trained = False

    def __init__(self, dimensions: int) -> None:
        super().__init__(f"truncate-{dimensions}", ("symmetric",))
        self.dimensions = dimensions

    def fit(self, training: np.ndarray) -> None:
        pass

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return unit_rows(dense[:, : self.dimensions])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes
