"""The heads of this package as methods: compact codes, about half of whose features are active, and sparse ones."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from bsa_st import BinaryCodes, BinarySparsityAlignment, DistillSettings, encode_embeddings
from bsa_st.training.trainer import train_head
from evaluation.methods.base import Method

CODER_SHARE = 0.97
"""Share of the budget that the entropy of a sparse code may take: what its coder reaches."""


class Head(Method):
    """A trained head, documents refined."""

    estimate = "softened"
    encoding: ClassVar[dict[str, bool]] = {"refine": True}
    """Keyword arguments of :func:`bsa_st.encode_embeddings` for documents."""

    def use(self, head: BinarySparsityAlignment) -> None:
        """Take a trained head."""
        self.head = head
        self.decoder = head.decoder_weight.detach().cpu().numpy()
        self.offset = head.decoder_bias.detach().cpu().numpy()

    def choose_softening(self, training: np.ndarray) -> float:
        return float(self.head.length_softening)

    def encode(self, dense: np.ndarray) -> BinaryCodes:
        return encode_embeddings(self.head, dense, **self.encoding)

    def decode(self, codes: BinaryCodes) -> np.ndarray:
        return np.asarray(codes.to_scipy() @ self.decoder + self.offset, dtype=np.float32)


class Distilled(Head):
    """A head that is trained here."""

    @abstractmethod
    def distill_settings(self) -> DistillSettings:
        """How the head is trained."""

    def settings(self) -> dict[str, Any]:
        return self.encoding | self.fit_settings()

    def fit_settings(self) -> dict[str, Any]:
        return self.distill_settings().to_dict()

    def learn(self, training: np.ndarray) -> None:
        self.use(train_head(training, self.distill_settings(), show_progress_bar=False))


class Compact(Distilled):
    """Eight features for every byte, about half of them active, stored as they are."""

    name = "compact"

    def distill_settings(self) -> DistillSettings:
        return DistillSettings.of_bytes(self.n_bytes, seed=self.seed, unroll_trials=0)

    def stored_bytes(self, codes: BinaryCodes) -> float:
        return codes.nbytes_as("packed") / len(codes)


class PlainCompact(Compact):
    """The same head without refinement: one linear layer and a threshold."""

    name, fit_name, encoding = "compact plain", "compact", {"refine": False}


class EqualLengths(Compact):
    """Documents refined towards decoded texts of one length, scored by the features alone: ``w . h``, nothing divided."""

    name, fit_name, estimates, estimate = "compact w.h", "compact", ("dot",), "dot"
    encoding: ClassVar[dict[str, bool]] = {"refine": True, "equal_lengths": True}


class Sparse(Distilled):
    """1,024 features, as many active as the budget allows on disk."""

    name = "sparse"
    hidden_dim: ClassVar[int] = 1024

    @classmethod
    def fits(cls, n_bytes: int, width: int) -> bool:
        return active_features(cls.hidden_dim, n_bytes) <= cls.hidden_dim // 4

    def distill_settings(self) -> DistillSettings:
        k = active_features(self.hidden_dim, self.n_bytes)
        return DistillSettings(hidden_dim=self.hidden_dim, k=k, seed=self.seed, unroll_trials=0)


class WideSparse(Sparse):
    """4,096 features: fewer active ones for the same bytes."""

    name, hidden_dim, seeds = "sparse 4096", 4096, 1


def active_features(hidden_dim: int, n_bytes: int) -> int:
    """The largest k for which ``log2 C(hidden_dim, k)`` bits, as coded, fit into the bytes; at most half of the features."""
    k = np.arange(1, hidden_dim // 2 + 1)
    bits = (gammaln(hidden_dim + 1) - gammaln(k + 1) - gammaln(hidden_dim - k + 1)) / np.log(2)
    return int(k[bits <= 8 * n_bytes * CODER_SHARE][-1])
