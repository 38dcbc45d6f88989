"""Dense embeddings of evaluation and training texts, computed once per model and text set and shared by all methods."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.inputs.embeddings import cached_embeddings, texts_fingerprint
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.unit_rows import TOLERANCE

SAMPLE = 10_000


class EmbeddingStore:
    """Unit-norm embeddings of text lists, kept on disk and, for the evaluation texts, in memory.

    Args:
        encoder: The frozen dense model.
        cache_dir: Folder of the cache on disk; default as in :func:`bsa_st.inputs.embeddings.cached_embeddings`.
        precision: Number format in which the encoder computes the embeddings of evaluation texts, see :mod:`bsa_st.inputs.precision`.
        show_progress_bar: Show a bar while texts are encoded.

    Attributes:
        document_prompt: What stands before documents; prompts are put before texts here and by mteb, never by the encoder.
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        cache_dir: Path | None = None,
        *,
        precision: str = "float32",
        show_progress_bar: bool = True,
    ) -> None:
        self.document_prompt = encoder.prompts.get(document_prompt(encoder) or "") or ""
        self.encoder = without_default_prompt(encoder)
        self.cache_dir = cache_dir
        self.precision = precision
        self.show_progress_bar = show_progress_bar
        self._memory: dict[str, np.ndarray] = {}

    def evaluation(self, texts: list[str]) -> np.ndarray:
        """float32 (n, d), unit norm, read-only; the same array object for the same texts."""
        key = texts_fingerprint(texts)
        if key not in self._memory:
            rows = unit_rows(self._cached(texts, self.precision))
            rows.setflags(write=False)
            self._memory[key] = rows
        return self._memory[key]

    def documents(self, texts: list[str]) -> np.ndarray:
        """:meth:`evaluation` of texts with the encoder's prompt for documents before them, if it has one."""
        return self.evaluation(self._as_documents(texts))

    def training(self, texts: list[str]) -> np.ndarray:
        """Of texts as documents, float16 or float32 (n, d), of length 1 within 1 %: as the encoder gives them, a read-only memory map, or scaled."""
        rows = self._cached(self._as_documents(texts), "auto")
        if np.abs(np.linalg.norm(rows[:SAMPLE].astype(np.float32), axis=1) - 1).max() <= TOLERANCE:
            return rows
        return unit_rows(rows).astype(rows.dtype)

    def _as_documents(self, texts: list[str]) -> list[str]:
        return [self.document_prompt + text for text in texts] if self.document_prompt else texts

    def _cached(self, texts: list[str], precision: str) -> np.ndarray:
        # an empty document is legal in a collection; the encoder gives it the embedding of the empty string
        return cached_embeddings(
            self.encoder, texts, cache_dir=self.cache_dir, precision=precision, show_progress_bar=self.show_progress_bar
        )


def without_default_prompt(encoder: SentenceTransformer) -> SentenceTransformer:
    """The encoder, sharing its weights, without a prompt that it would put before every text."""
    if encoder.default_prompt_name is None:
        return encoder
    plain = copy.copy(encoder)
    plain.default_prompt_name = None
    return plain


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 (n, d); a zero row stays zero."""
    rows = np.array(embeddings, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
