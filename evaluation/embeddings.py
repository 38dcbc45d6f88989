"""Dense embeddings of evaluation and training texts, computed once per model and text set and shared by all methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError
from bsa_st.cache import cached_embeddings, texts_fingerprint
from bsa_st.demo.run import packaged_teacher
from bsa_st.distill import load_teacher

PACKAGED = "all-MiniLM-L6-v2"
WORDLLAMA = "wordllama"


class EmbeddingStore:
    """Unit-norm embeddings of text lists, kept on disk and, for the evaluation texts, in memory.

    Args:
        encoder: The frozen dense model.
        cache_dir: Folder of the cache on disk; default as in :func:`bsa_st.cache.cached_embeddings`.
        show_progress_bar: Show a bar while texts are encoded.
    """

    def __init__(self, encoder: SentenceTransformer, cache_dir: Path | None = None, *, show_progress_bar: bool = True) -> None:
        self.encoder = encoder
        self.cache_dir = cache_dir
        self.show_progress_bar = show_progress_bar
        self._memory: dict[str, np.ndarray] = {}

    def evaluation(self, texts: list[str]) -> np.ndarray:
        """float32 (n, d), unit norm, read-only; the same array object for the same texts."""
        key = texts_fingerprint(texts)
        if key not in self._memory:
            rows = unit_rows(self._cached(texts, "float32"))
            rows.setflags(write=False)
            self._memory[key] = rows
        return self._memory[key]

    def training(self, texts: list[str]) -> np.ndarray:
        """float16 or float32 (n, d) as the encoder gives them, a read-only memory map."""
        return self._cached(texts, "auto")

    def _cached(self, texts: list[str], precision: str) -> np.ndarray:
        # an empty document is legal in a collection; the encoder gives it the embedding of the empty string
        return cached_embeddings(
            self.encoder, texts, cache_dir=self.cache_dir, precision=precision, show_progress_bar=self.show_progress_bar
        )


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 (n, d); a zero row stays zero."""
    rows = np.array(embeddings, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def load_encoder(name: str) -> SentenceTransformer:
    """The encoder to evaluate: ``all-MiniLM-L6-v2`` and ``wordllama`` from their packages, else a folder or Hub name.

    Raises:
        BSAError: If the package is not installed or the model cannot be loaded.
    """
    if name == PACKAGED:
        return packaged_teacher()
    if name == WORDLLAMA:
        return _wordllama()
    return load_teacher(name)


def short_name(name: str) -> str:
    """The last part of a model's name or path, as it stands in tables and file names."""
    return name.rstrip("/").split("/")[-1]


def _wordllama() -> SentenceTransformer:
    """The 256-d static token embeddings of the package ``wordllama`` behind sentence-transformers' own module."""
    try:
        import wordllama  # type: ignore[import-untyped]
        from safetensors.numpy import load_file
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BSAError(f"the encoder wordllama needs the package wordllama: {error}") from error
    folder = Path(wordllama.__file__).parent
    weights = next(folder.rglob("*_256.safetensors"), None)
    tokenizer = next(folder.rglob("*tokenizer*.json"), None)
    if weights is None or tokenizer is None:
        raise BSAError(f"the package wordllama carries no 256-d weights with a tokenizer in {folder.name}/")
    embedding = next(iter(load_file(weights).values())).astype(np.float32)
    module = StaticEmbedding(Tokenizer.from_file(str(tokenizer)), embedding_weights=embedding)
    model = SentenceTransformer(modules=[module], device="cpu")
    model.model_card_data.base_model = "dleemiller/wordllama-l2-supercat"
    return model
