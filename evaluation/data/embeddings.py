"""Dense embeddings of evaluation texts, computed once per model and text set and shared by all methods."""

from __future__ import annotations

import copy

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.inputs.embeddings import cached_embeddings, texts_fingerprint


class EmbeddingStore:
    """Unit-norm embeddings of text lists, kept on disk and in memory.

    Args:
        encoder: The frozen dense model; prompts are put before texts by whoever asks, never by the encoder.
    """

    def __init__(self, encoder: SentenceTransformer) -> None:
        self.encoder = copy.copy(encoder)
        self.encoder.default_prompt_name = None
        self._memory: dict[str, np.ndarray] = {}

    def evaluation(self, texts: list[str]) -> np.ndarray:
        """float32 (n, d), unit norm, read-only; the same array object for the same texts."""
        key = texts_fingerprint(texts)
        if key not in self._memory:
            rows = unit_rows(cached_embeddings(self.encoder, texts, precision="float32"))
            rows.setflags(write=False)
            self._memory[key] = rows
        return self._memory[key]


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 (n, d); a zero row stays zero."""
    rows = np.array(embeddings, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
