"""Dense embeddings of evaluation texts, computed once per model and text set and shared by all methods."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.inputs.embeddings import cached_embeddings, texts_fingerprint


class EmbeddingStore:
    """Unit-norm embeddings of text lists, kept on disk and in memory.

    Args:
        encoder: The frozen dense model; prompts are put before texts by whoever asks, never by the encoder.
        cache_dir: Folder of the cache on disk; default as in :func:`bsa_st.inputs.embeddings.cached_embeddings`.
        show_progress_bar: Show a bar while texts are encoded.
    """

    def __init__(self, encoder: SentenceTransformer, cache_dir: Path | None = None, *, show_progress_bar: bool = True) -> None:
        self.encoder = without_default_prompt(encoder)
        self.cache_dir = cache_dir
        self.show_progress_bar = show_progress_bar
        self._memory: dict[str, np.ndarray] = {}

    def evaluation(self, texts: list[str]) -> np.ndarray:
        """float32 (n, d), unit norm, read-only; the same array object for the same texts."""
        key = texts_fingerprint(texts)
        if key not in self._memory:
            options = {"cache_dir": self.cache_dir, "show_progress_bar": self.show_progress_bar}
            rows = unit_rows(cached_embeddings(self.encoder, texts, precision="float32", **options))  # type: ignore[arg-type]
            rows.setflags(write=False)
            self._memory[key] = rows
        return self._memory[key]


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
