"""The baselines of the page: float32, sign bits after centring, product quantisation."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from sentence_transformers.util import quantize_embeddings

from evaluation.paper.methods.base import DecodedMethod, Method, sample_rows


class Float32(DecodedMethod):
    """The embedding itself."""

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


class SignCentered(DecodedMethod):
    """Signs after subtracting the mean of the training embeddings; ties are broken at random, by a fixed seed."""

    family = "sign-centered"

    def __init__(self) -> None:
        super().__init__("sign-centered", ("symmetric", "asymmetric"))

    def fit(self, training: np.ndarray) -> None:
        self.mean = sample_rows(training).mean(axis=0)
        self.shared_bytes = self.mean.nbytes

    def project(self, dense: np.ndarray) -> np.ndarray:
        return dense - self.mean

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(quantize_embeddings(self.project(dense), precision="ubinary"))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1

    def tie_break(self, queries: Any, documents: Any, scoring: str) -> np.ndarray | None:
        if scoring != "symmetric":
            return None
        # scores differ by 2 or not at all; signs have no second opinion to break a tie with
        return np.random.default_rng(0).random((len(queries.dense), len(documents.dense)), dtype=np.float32)


class PQ(DecodedMethod):
    """Product quantisation with one byte per subspace, by faiss."""

    family = "pq"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"pq-{n_bytes}", ("symmetric", "asymmetric"))
        self.n_bytes = n_bytes

    def fit(self, training: np.ndarray) -> None:
        self.index: Any = faiss.IndexPQ(training.shape[1], self.n_bytes, 8, faiss.METRIC_INNER_PRODUCT)
        self.index.train(sample_rows(training))
        self.shared_bytes = int(faiss.serialize_index(self.index).nbytes)

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_encode(np.ascontiguousarray(dense)))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_decode(codes))


def baseline(name: str) -> Method:
    """``float32``, ``sign-centered`` or ``pq-48``, by its name."""
    methods: tuple[Method, ...] = (Float32(), SignCentered(), PQ(48))
    return next(method for method in methods if method.name == name)
