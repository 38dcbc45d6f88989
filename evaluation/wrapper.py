"""A method as a model that ``mteb.evaluate`` can run: cached embeddings in, the method's own scores out."""

from __future__ import annotations

from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType

from evaluation.embeddings import EmbeddingStore
from evaluation.methods.base import Encoded, Method

RANKED = 10


class Vectors(np.ndarray):
    """What mteb carries about: float32 vectors whose dot products are the scores, and the embeddings that they stand for.

    mteb's generic measures (cosine, Euclidean...) and tasks that take rows out of the array see an ordinary array. Where the whole
    array comes back to be scored, :attr:`dense` lets the method do what vectors cannot: candidates and tie-breaking.
    """

    dense: np.ndarray | None

    def __array_finalize__(self, parent: Any) -> None:
        self.dense = None  # a slice or a copy is no longer the same texts

    @classmethod
    def of(cls, vectors: np.ndarray, dense: np.ndarray) -> Vectors:
        """Vectors that remember their embeddings."""
        array = np.ascontiguousarray(vectors, dtype=np.float32).view(cls)
        array.dense = dense
        return array


class CodeMemo:
    """Codes of a fitted method, computed once per text set and shared by all its scorings."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._codes: dict[int, tuple[np.ndarray, Any]] = {}

    def __call__(self, dense: np.ndarray) -> Encoded:
        """Embeddings, float32 (n, d), with their codes."""
        if id(dense) not in self._codes:
            self._codes[id(dense)] = (dense, self.method.encode(dense))  # keeping the array keeps its id from being reused
        return Encoded(dense, self._codes[id(dense)][1])


class MethodEncoder(SentenceTransformerEncoderWrapper):
    """One fitted method with one scoring.

    Args:
        store: Where the dense embeddings come from.
        codes: Codes of the fitted method.
        scoring: One of the method's scorings.
        meta: What mteb writes beside the results; default: that of the dense encoder.

    Attributes:
        tie_rates: For every score matrix so far, the share of queries with equal scores among the first 11, before ties are broken.
        last: Queries and documents that were scored last, for measuring bytes and speed.
    """

    def __init__(self, store: EmbeddingStore, codes: CodeMemo, scoring: str, meta: ModelMeta | None = None) -> None:
        super().__init__(store.encoder)
        self.store = store
        self.codes = codes
        self.scoring = scoring
        self.tie_rates: list[float] = []
        self.last: tuple[Encoded, Encoded] | None = None
        if meta is not None:
            self.mteb_model_meta = meta

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: PromptType | None = None, **kwargs: Any) -> Vectors:
        """Vectors of a data loader's texts, float32 (n, m)."""
        name = get_prompt_name(self.model_prompts, task_metadata, prompt_type)
        prompt = (self.model_prompts or {}).get(name or "", "")
        dense = self.store.evaluation([prompt + text for batch in inputs for text in batch["text"]])
        query = prompt_type is PromptType.query
        return Vectors.of(self.codes.method.vectors(self.codes(dense), self.scoring, query=query), dense)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Scores of queries against documents with ties broken, float32 (n, m)."""
        left, right = (getattr(embeddings, "dense", None) for embeddings in (embeddings1, embeddings2))
        if left is None or right is None:
            return np.asarray(embeddings1) @ np.asarray(embeddings2).T
        self.last = queries, documents = self.codes(left), self.codes(right)
        method = self.codes.method
        scores = method.scores(queries, documents, self.scoring)
        self.tie_rates.append(tie_rate(scores))
        extra = method.tie_break(queries, documents, self.scoring)
        return scores if extra is None else scores + extra

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Scores of pairs, float32 (n,): the left text as a query, the right one as a document."""
        left, right = (getattr(embeddings, "dense", None) for embeddings in (embeddings1, embeddings2))
        if left is None or right is None:
            return np.einsum("nd,nd->n", np.asarray(embeddings1), np.asarray(embeddings2))
        self.last = self.codes(left), self.codes(right)
        return self.codes.method.pairs(*self.last, self.scoring)


def tie_rate(scores: np.ndarray) -> float:
    """Share of queries with two equal scores among their best 11: where a tie can change the first ten."""
    first = min(RANKED + 1, scores.shape[1])
    top = -np.sort(-np.partition(scores, -first, axis=1)[:, -first:], axis=1)
    return float((top[:, 1:] == top[:, :-1]).any(axis=1).mean())
