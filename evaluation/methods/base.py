"""What a way to store embeddings is, and the estimates by which float queries are scored against what it stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import faiss
import numpy as np
import torch

from bsa_st.training.monitor import FOUND_DOCUMENTS, FOUND_QUERIES, best_softening
from evaluation.data.embeddings import unit_rows

ESTIMATES = ("softened", "cosine", "dot", "centred", "sphere")
"""How ``q . x`` is estimated from the decoded ``x_hat`` (the training mean ``m`` added back):

- ``softened``: ``q . x_hat / sqrt(|x_hat|^2 + s)``, ``s`` chosen by what it finds on training rows.
- ``cosine``: ``q . x_hat / |x_hat|``.
- ``dot``: ``q . x_hat``, undivided.
- ``centred``: ``q . (x_hat - m) / |x_hat - m|``.
- ``sphere``: ``q . (m + a (x_hat - m))`` with the ``a`` at which this vector has length 1, as the stored embedding has: decoding
  shrinks what is left after centring, and ``a`` stretches it again.
"""
TINY = 1e-12


class Method(ABC):
    """One way to store embeddings in few bytes.

    Args:
        n_bytes: Bytes per text that may be used; 0 for a method of one size.
        seed: Seed of everything random; it also decides the order of the training rows, which k-means starts from.

    Attributes:
        name: Name in tables and on the command line.
        sized: Whether it is fitted to a budget of bytes.
        seeds: Seeds that are run at most: one for what has nothing random, and for what takes long to fit.
        estimate: The one of the estimates that is reported; empty: that which finds most.
        estimates: How float queries may be scored, see :data:`ESTIMATES`.
        fit_name: Name of the method whose fit it uses, where that is another one's.
    """

    name: ClassVar[str]
    sized: ClassVar[bool] = True
    seeds: ClassVar[int] = 3
    estimates: ClassVar[tuple[str, ...]] = ESTIMATES
    estimate: ClassVar[str] = ""
    fit_name: ClassVar[str] = ""

    def __init__(self, n_bytes: int = 0, seed: int = 0) -> None:
        self.n_bytes = n_bytes
        self.seed = seed
        self.mean = np.zeros(0, dtype=np.float32)
        self.softening = 0.0

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        """Whether embeddings of ``width`` dimensions can be stored in ``n_bytes`` by this method."""
        return True

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result beside bytes and seed; a change makes kept results void."""
        return {}

    def fit_settings(self) -> dict[str, Any]:
        """The part of :meth:`settings` that decides the fit; methods of the same :attr:`fit_name` share one."""
        return self.settings()

    def fit(self, training: np.ndarray) -> None:
        """Learn from training embeddings, float32 (n, d) of unit norm; the seed orders them."""
        self.mean = training.mean(axis=0)
        self.learn(training[np.random.default_rng(self.seed).permutation(len(training))])

    def learn(self, training: np.ndarray) -> None:  # noqa: B027
        """Learn from shuffled rows, float32 (n, d); :attr:`mean` is set. By default there is nothing more to learn."""

    def choose_softening(self, training: np.ndarray) -> float:
        """``s`` of the softened estimate, as :func:`bsa_st.training.monitor.choose_softening` finds it for a head."""
        if "softened" not in self.estimates:
            return 0.0
        rows = training[np.random.default_rng(self.seed).permutation(len(training))[: FOUND_QUERIES + FOUND_DOCUMENTS]]
        queries, documents = (torch.from_numpy(part) for part in np.split(rows, [FOUND_QUERIES]))
        decoded = torch.from_numpy(self.vectors(self.encode(documents.numpy()), "dot"))
        return best_softening(queries, documents, decoded)[0]

    @abstractmethod
    def encode(self, dense: np.ndarray) -> Any:
        """Codes of embeddings, float32 (n, d)."""

    @abstractmethod
    def decode(self, codes: Any) -> np.ndarray | None:
        """``x_hat``, float32 (n, d), the mean added back; None where codes are only scored."""

    def stored_bytes(self, codes: Any) -> float:
        """Bytes per text, everything included."""
        return float(codes.nbytes / len(codes))

    def scores(self, queries: np.ndarray, codes: Any, estimate: str) -> np.ndarray:
        """Float queries (q, d) against codes, float32 (q, n)."""
        return np.asarray(queries @ self.vectors(codes, estimate).T)

    def pair_scores(self, left: np.ndarray, codes: Any, estimate: str) -> np.ndarray:
        """Each float embedding (n, d) against the code at the same place, float32 (n,)."""
        return np.einsum("nd,nd->n", left, self.vectors(codes, estimate))

    def vectors(self, codes: Any, estimate: str) -> np.ndarray:
        """What queries are multiplied with, float32 (n, d), of a method that decodes."""
        decoded = self.decode(codes)
        assert decoded is not None
        decoded = np.ascontiguousarray(decoded, dtype=np.float32)
        if estimate == "softened":
            squares = np.einsum("nd,nd->n", decoded, decoded)[:, None]
            return np.asarray(decoded / np.sqrt(np.maximum(squares + self.softening, TINY)), dtype=np.float32)
        return estimated(decoded, self.mean, estimate)


class FaissMethod(Method):
    """A method whose fit holds a faiss index, which is pickled as bytes."""

    index: Any

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"index": faiss.serialize_index(self.index)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.index = faiss.deserialize_index(state["index"])


def estimated(decoded: np.ndarray, mean: np.ndarray, estimate: str) -> np.ndarray:
    """Decoded rows, float32 (n, d), scaled as the estimate wants it; see :data:`ESTIMATES`."""
    if estimate == "dot":
        return decoded
    if estimate == "cosine":
        return unit_rows(decoded)
    rest = decoded - mean
    if estimate == "centred":
        return unit_rows(rest)
    squared, along = np.einsum("nd,nd->n", rest, rest), rest @ mean
    root = np.sqrt(np.maximum(along**2 + squared * (1 - mean @ mean), 0))
    return mean + rest * ((root - along) / np.maximum(squared, TINY))[:, None]
