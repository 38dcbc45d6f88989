"""Embeddings of one encoder, read from the cache or computed once: general sentences and the judged local sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bsa_st.inputs.embeddings import encoder_fingerprint, texts_fingerprint
from evaluation.data.embeddings import EmbeddingStore
from evaluation.data.encoders import E5_LIKE, MINILM, MPNET, WORDLLAMA, Reshaped, load_encoder
from evaluation.data.labelled import Collection, Pairs, read_tasks
from evaluation.data.neighbours import General, general_texts
from evaluation.methods.limit import GaussianLimit

ENCODERS = (MINILM, MPNET, WORDLLAMA, MINILM + E5_LIKE)
FRACTIONS = (48, 32, 24, 16, 12)
"""Budgets are float32's bytes divided by these, down to a multiple of eight."""


@dataclass(frozen=True)
class Inputs:
    """What one encoder gives.

    Attributes:
        encoder: One of :data:`ENCODERS`.
        data: Folder with the general sentences and the local sets.
        share: Share of the general sentences that is used, see :func:`evaluation.data.neighbours.general_texts`.
        with_tasks: Whether the judged sets are scored too.
        work: Folder of finished cells and fits, for resuming.
    """

    encoder: str
    data: Path
    share: float = 1.0
    with_tasks: bool = True
    work: Path = Path("build/evaluation")

    @cached_property
    def _store(self) -> EmbeddingStore:
        return EmbeddingStore(load_encoder(self.encoder.removesuffix(E5_LIKE)))

    @cached_property
    def general(self) -> General:
        """Embeddings of the general sentences."""
        texts = general_texts(self.data, self.share)  # before an encoder is loaded: the folder may be wrong
        return General(*map(self.embed, texts))

    @cached_property
    def tasks(self) -> dict[str, Collection | Pairs]:
        """The judged sets, by name."""
        return read_tasks(self.data, self.embed) if self.with_tasks else {}

    @cached_property
    def _reshaped(self) -> Reshaped | None:
        if not self.encoder.endswith(E5_LIKE):
            return None
        return Reshaped(self._store.evaluation(general_texts(self.data, self.share)[2]))

    @cached_property
    def limit(self) -> GaussianLimit:
        """The rate-distortion bound of the training rows."""
        return GaussianLimit(self.general.training)

    @cached_property
    def fingerprint(self) -> str:
        """Tells encoders and texts apart: what is kept for others is void."""
        texts = [text for part in general_texts(self.data, self.share) for text in part]
        return f"{encoder_fingerprint(self._store.encoder)[:16]}-{texts_fingerprint(texts)[:16]}"

    def embed(self, texts: list[str]) -> np.ndarray:
        """float32 (n, d), unit norm."""
        dense = self._store.evaluation(texts)
        return dense if self._reshaped is None else self._reshaped(dense)


def usual_budgets(width: int) -> list[int]:
    """Bytes per text for embeddings of this width, ascending."""
    return [8 * (4 * width // fraction // 8) for fraction in FRACTIONS]
