"""What every method can do: learn from training embeddings, encode, score, and say what it stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bsa_st.codes.scoring import top_k

CANDIDATES = 40
"""Candidates that are scored again: 10 results times the usual ``rescore_multiplier`` of 4."""

SAMPLE_ROWS = 32_768
"""Training rows that codebooks and rotations are learnt from: 128 for each of 256 centroids, where faiss asks for 39."""


class Encoded(NamedTuple):
    """Some texts as a method sees them: dense embeddings, float32 (n, d) of unit norm, and the method's own codes."""

    dense: np.ndarray
    codes: Any


class Method(ABC):
    """One way to store embeddings.

    Attributes:
        name: Name with its parameters, e.g. ``pq-48``.
        family: Name without them, e.g. ``pq``.
        scorings: Which of ``symmetric`` (code against code), ``asymmetric`` (float query), ``idf``, ``cosine``, ``decoded`` (both
            codes decoded), ``two-stage``
            (code candidates, float query) and ``rescored`` (code candidates, float32 vectors) it offers.
        trained: Whether :meth:`fit` depends on the training texts, so that the two settings differ.
        shared_bytes: Size of what all documents share (codebooks, rotations, decoders), known after :meth:`fit`.
        figures: Other facts for the report, known after :meth:`fit`.
    """

    family: ClassVar[str]
    trained: ClassVar[bool] = True

    def __init__(self, name: str, scorings: tuple[str, ...]) -> None:
        self.name = name
        self.scorings = scorings
        self.shared_bytes = 0
        self.figures: dict[str, Any] = {}

    def settings(self) -> dict[str, Any]:
        """Everything but the name that decides the result, for telling finished work from other work."""
        return {}

    @abstractmethod
    def fit(self, training: np.ndarray) -> None:
        """Learn from training embeddings, float (n, d)."""

    @abstractmethod
    def encode(self, dense: np.ndarray) -> Any:
        """Codes of embeddings, float32 (n, d)."""

    @abstractmethod
    def vectors(self, texts: Encoded, scoring: str, *, query: bool) -> np.ndarray:
        """Texts as float32 (n, m), whose dot products are the scores, but for candidates and ties."""

    def scores(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray:
        """float32 (n, m), ties not broken."""
        if scoring in ("two-stage", "rescored"):
            coarse = self.broken_ties(queries, documents, "symmetric")
            if scoring == "rescored":
                return rescore(coarse, queries.dense @ documents.dense.T)
            return rescore(coarse, self.scores(queries, documents, "asymmetric"))
        left, right = self.vectors(queries, scoring, query=True), self.vectors(documents, scoring, query=False)
        return left @ right.T

    def pairs(self, left: Encoded, right: Encoded, scoring: str) -> np.ndarray:
        """Score of each text on the left, as a query, with the one at the same place on the right: float32 (n,)."""
        if scoring == "rescored":
            return np.einsum("nd,nd->n", left.dense, right.dense)
        scoring = "asymmetric" if scoring == "two-stage" else scoring
        queries, documents = self.vectors(left, scoring, query=True), self.vectors(right, scoring, query=False)
        return np.einsum("nd,nd->n", queries, documents)

    def tie_break(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray | None:
        """What to add to :meth:`scores` so that ties are broken and nothing else changes; ``None`` where scores hardly tie."""
        return None

    def broken_ties(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray:
        """:meth:`scores` with ties broken, float32 (n, m)."""
        scores, extra = self.scores(queries, documents, scoring), self.tie_break(queries, documents, scoring)
        return scores if extra is None else scores + extra

    def stored_bytes(self, documents: Encoded, scoring: str) -> float:
        """Bytes per document on disk, all that the scoring needs included."""
        own = documents.codes.nbytes / len(documents.dense)
        return float(own + (documents.dense.itemsize * documents.dense.shape[1] if scoring == "rescored" else 0))


class DecodedMethod(Method):
    """A method whose codes can be turned back into vectors, against which float queries are scored directly."""

    @abstractmethod
    def decode(self, codes: Any) -> np.ndarray:
        """float32 (n, m)."""

    def project(self, dense: np.ndarray) -> np.ndarray:
        """Float queries in the space of the decoded vectors, float32 (n, m)."""
        return dense

    def vectors(self, texts: Encoded, scoring: str, *, query: bool) -> np.ndarray:
        if scoring == "rescored":
            return texts.dense
        as_float = query and scoring in ("asymmetric", "two-stage")
        return self.project(texts.dense) if as_float else self.decode(texts.codes)


def rescore(coarse: np.ndarray, fine: np.ndarray, candidates: int = CANDIDATES) -> np.ndarray:
    """Scores that rank the best by ``coarse`` first, among themselves by ``fine``, then the rest by ``coarse``."""
    candidates = min(candidates, coarse.shape[1])
    chosen = np.argpartition(-coarse, candidates - 1, axis=1)[:, :candidates]
    below = coarse - coarse.max(axis=1, keepdims=True) + fine.min() - 1
    np.put_along_axis(below, chosen, np.take_along_axis(fine, chosen, axis=1), axis=1)
    return below.astype(np.float32)


def best(scores: np.ndarray, k: int = 10) -> np.ndarray:
    """Best ``k`` columns of each row, best first: integer (n, k)."""
    k = min(k, scores.shape[1])
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = top_k(np.take_along_axis(scores, part, axis=1), k).ids
    return np.take_along_axis(part, order, axis=1)


def sample_rows(training: np.ndarray, rows: int = SAMPLE_ROWS, seed: int = 0) -> np.ndarray:
    """Random training rows as float32, at most ``rows``, in random order; the same for every method."""
    chosen = np.random.default_rng(seed).choice(len(training), min(rows, len(training)), replace=False)
    return np.array(training[chosen], dtype=np.float32)
