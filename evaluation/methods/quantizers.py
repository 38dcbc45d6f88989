"""The vector quantisers of faiss at a budget of bytes: PQ, OPQ and RaBitQ."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from evaluation.methods.base import DecodedMethod, Encoded, Search, sample_rows


class FaissQuantizer(DecodedMethod):
    """A faiss index used as a codec; ``asymmetric`` scores float queries with decoded codes, ``symmetric`` decoded with decoded."""

    recipe: str

    def fit(self, training: np.ndarray) -> None:
        self.index: Any = self.build(training.shape[1])
        self.train(sample_rows(training))
        self.shared_bytes = int(faiss.serialize_index(self.index).nbytes)

    def build(self, width: int) -> Any:
        """The untrained index for embeddings of this width."""
        return faiss.index_factory(width, self.recipe, faiss.METRIC_INNER_PRODUCT)

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


class PQ(FaissQuantizer):
    """Product quantisation with one byte per subspace.

    Source: Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search" (2011).
    """

    family = "pq"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"pq-{n_bytes}", ("symmetric", "asymmetric"))
        self.recipe = f"PQ{n_bytes}"


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
        self.rotation = faiss.OPQMatrix(width, self.n_bytes)
        self.rotation.niter = self.rotation_iterations
        self.codebook = faiss.IndexPQ(width, self.n_bytes, 8, faiss.METRIC_INNER_PRODUCT)
        return faiss.IndexPreTransform(self.rotation, self.codebook)

    def train(self, sample: np.ndarray) -> None:
        self.rotation.train(sample[: self.rotation_rows])
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
        self.inner = faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT, self.bits)
        return faiss.IndexPreTransform(rotation, self.inner)

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
