"""One bit per direction: sign bits raw, centred, after a random projection, after a learnt rotation (ITQ)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import faiss
import numpy as np
from sentence_transformers.util import quantize_embeddings
from sklearn.random_projection import GaussianRandomProjection

from evaluation.methods.base import DecodedMethod, Encoded, Search, sample_rows

SCORINGS = ("symmetric", "asymmetric", "two-stage", "rescored")


class SignBits(DecodedMethod):
    """Packed signs of a projection; ties of the integer scores are broken at random, by a fixed seed."""

    @abstractmethod
    def project(self, dense: np.ndarray) -> np.ndarray: ...

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(quantize_embeddings(self.project(dense), precision="ubinary"))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1

    def tie_break(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray | None:
        if scoring != "symmetric":
            return None
        # scores differ by 2 or not at all; signs have no second opinion to break a tie with
        return np.random.default_rng(0).random((len(queries.dense), len(documents.dense)), dtype=np.float32)

    def searcher(self, documents: Encoded, scoring: str) -> Search:
        if scoring != "symmetric":
            return super().searcher(documents, scoring)
        index = faiss.IndexBinaryFlat(8 * documents.codes.shape[1])
        index.add(documents.codes)

        def search(dense: np.ndarray) -> np.ndarray:
            return np.asarray(index.search(self.encode(dense), 10)[1])

        return search


class Sign(SignBits):
    """Signs of the embedding as it is: sentence-transformers' ``precision="ubinary"``."""

    family = "sign"
    trained = False

    def __init__(self) -> None:
        super().__init__("sign", SCORINGS)

    def fit(self, training: np.ndarray) -> None:
        pass

    def project(self, dense: np.ndarray) -> np.ndarray:
        return dense


class SignCentered(SignBits):
    """Signs after subtracting the mean of the training embeddings."""

    family = "sign-centered"

    def __init__(self) -> None:
        super().__init__("sign-centered", SCORINGS)

    def fit(self, training: np.ndarray) -> None:
        self.mean = sample_rows(training).mean(axis=0)
        self.shared_bytes = self.mean.nbytes

    def project(self, dense: np.ndarray) -> np.ndarray:
        return dense - self.mean


class RandomProjection(SignBits):
    """Signs of a Gaussian random projection (SimHash)."""

    family = "random-projection"
    trained = False

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"random-projection-{n_bytes}", ("symmetric", "asymmetric"))
        self.projection = GaussianRandomProjection(8 * n_bytes, random_state=0)

    def fit(self, training: np.ndarray) -> None:
        self.projection.fit(np.zeros((1, training.shape[1]), dtype=np.float32))
        self.shared_bytes = self.projection.components_.nbytes

    def project(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.projection.transform(dense), dtype=np.float32)


class ITQ(SignBits):
    """Signs after faiss' ``ITQTransform``: centring, PCA and the rotation that loses least by rounding.

    Source: Gong and Lazebnik, "Iterative Quantization: a Procrustean approach to learning binary codes" (2011).
    """

    family = "itq"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"itq-{n_bytes}", ("symmetric", "asymmetric"))
        self.bits = 8 * n_bytes

    def fit(self, training: np.ndarray) -> None:
        width = training.shape[1]
        transform: Any = faiss.ITQTransform(width, self.bits, True)
        transform.train(sample_rows(training))
        steps = transform.pca_then_itq
        self.mean = faiss.vector_to_array(transform.mean)
        self.matrix = faiss.vector_to_array(steps.A).reshape(steps.d_out, steps.d_in)
        self.shared_bytes = self.mean.nbytes + self.matrix.nbytes

    def project(self, dense: np.ndarray) -> np.ndarray:
        centred = dense - self.mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12) @ self.matrix.T)
