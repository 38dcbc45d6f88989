"""The vector quantisers of faiss at a budget of bytes: PQ, OPQ and RaBitQ."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import faiss
import numpy as np

from bsa_st import BSAError
from evaluation.methods.base import DecodedMethod, Encoded, Search, sample_rows


class FaissQuantizer(DecodedMethod):
    """A faiss index used as a codec; ``asymmetric`` scores float queries with decoded codes, ``symmetric`` decoded with decoded."""

    def fit(self, training: np.ndarray) -> None:
        self.index: Any = self.build(training.shape[1])
        self.train(sample_rows(training))
        self.shared_bytes = int(faiss.serialize_index(self.index).nbytes)

    @abstractmethod
    def build(self, width: int) -> Any:
        """The untrained index for embeddings of this width."""

    def train(self, sample: np.ndarray) -> None:
        """Train the index on float32 rows in random order (n, d)."""
        self.index.train(sample)

    def encode(self, dense: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_encode(np.ascontiguousarray(dense)))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.sa_decode(codes))

    def searcher(self, documents: Encoded, scoring: str) -> Search:
        if scoring != "asymmetric":
            return super().searcher(documents, scoring)
        index = faiss.clone_index(self.index)
        index.add(np.ascontiguousarray(documents.dense))

        def search(dense: np.ndarray) -> np.ndarray:
            return np.asarray(index.search(np.ascontiguousarray(dense), 10)[1])

        return search


def product_size(n_bytes: int, width: int) -> int:
    """The largest number of bytes, at most ``n_bytes``, at which embeddings of this width split into subspaces of 8 or 9 bits."""
    return next(size for size in range(n_bytes, 0, -1) if _subspaces(size, width) is not None)


def _subspaces(n_bytes: int, width: int) -> tuple[int, int] | None:
    """Subspaces and bits of each that fill the bytes exactly."""
    splits = ((n_bytes, 8), (n_bytes * 8 // 9, 9))
    return next(((parts, bits) for parts, bits in splits if parts and width % parts == 0 and parts * bits == 8 * n_bytes), None)


def _product_index(n_bytes: int, width: int) -> Any:
    found = _subspaces(n_bytes, width)
    if found is None:
        raise BSAError(f"{width} dimensions cannot be split into subspaces of 8 or 9 bits that fill {n_bytes} bytes")
    return faiss.IndexPQ(width, *found, faiss.METRIC_INNER_PRODUCT)


class PQ(FaissQuantizer):
    """Product quantisation with one byte per subspace, or nine bits where that fills the budget.

    Source: Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search" (2011).
    """

    family = "pq"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"pq-{n_bytes}", ("symmetric", "asymmetric"))
        self.n_bytes = n_bytes

    def build(self, width: int) -> Any:
        return _product_index(self.n_bytes, width)


class OPQ(FaissQuantizer):
    """Product quantisation after a learnt rotation.

    The rotation comes from fewer rows and iterations than faiss' default of 50, which takes tens of minutes on one core.

    Source: Ge, He, Ke and Sun, "Optimized Product Quantization" (2013).
    """

    family = "opq"
    rotation_rows = 10_240
    rotation_iterations = 10

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"opq-{n_bytes}", ("symmetric", "asymmetric"))
        self.n_bytes = n_bytes

    def settings(self) -> dict[str, Any]:
        return {"rows": self.rotation_rows, "iterations": self.rotation_iterations}

    def build(self, width: int) -> Any:
        codebook = _product_index(self.n_bytes, width)
        rotation = faiss.OPQMatrix(width, codebook.pq.M)
        rotation.niter = self.rotation_iterations
        return faiss.IndexPreTransform(rotation, codebook)

    def train(self, sample: np.ndarray) -> None:
        faiss.downcast_VectorTransform(self.index.chain.at(0)).train(sample[: self.rotation_rows])
        super().train(sample)  # skips what is trained already


class RaBitQ(FaissQuantizer):
    """Signs after centring, with the factors of an unbiased estimate beside them; several bits per dimension where asked for.

    A random rotation comes first, as the method prescribes. The scores are faiss' own estimates: faiss decodes the first bit
    only, so products with decoded vectors would leave out the further bits.

    Source: Gao and Long, "RaBitQ" (2024).
    """

    family = "rabitq"

    def __init__(self, bits: int) -> None:
        super().__init__(f"rabitq-{bits}bit", ("asymmetric",))
        self.bits = bits

    def build(self, width: int) -> Any:
        rotation = faiss.RandomRotationMatrix(width, width)
        rotation.init(0)
        return faiss.IndexPreTransform(rotation, faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT, self.bits))

    def scores(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray:
        index = faiss.clone_index(self.index)
        index.add(np.ascontiguousarray(documents.dense))
        values, places = index.search(np.ascontiguousarray(queries.dense), len(documents.dense))
        scores = np.empty_like(values)
        np.put_along_axis(scores, places, values, axis=1)
        return scores

    def pairs(self, left: Encoded, right: Encoded, scoring: str) -> np.ndarray:
        scores = [
            self.scores(Encoded(left.dense[part], None), Encoded(right.dense[part], None), scoring).diagonal()
            for part in np.array_split(np.arange(len(left.dense)), max(1, len(left.dense) // 64))
        ]
        return np.concatenate(scores)
