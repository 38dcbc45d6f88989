"""What an objective is: real-valued strengths of the features, and a loss made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment

SAMPLE = 4096


class Objective(nn.Module, ABC):
    """Turns pre-activations into strengths and a loss; the weights that are trained are those of the head.

    Subclasses give :meth:`values` and, where squared reconstruction is not all, :meth:`loss`.

    Attributes:
        real_valued: Whether the decoder was trained with strengths, and has to be fitted to binary codes after training.
    """

    real_valued: ClassVar[bool] = True

    @abstractmethod
    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        """Strengths of the features, 0 where a feature is not active: float32 (n, D), not negative.

        Args:
            head: The layer.
            x: Dense embeddings, float32 (n, d).
        """

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        """Parts of the loss by name; their sum is minimised."""
        return {"reconstruction_loss": squared_error(x, decode(head, self.values(head, x)))}

    @torch.no_grad()
    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        """Before training: set the decoder's length, which :meth:`BinarySparsityAlignment.initialise` fitted to binary codes.

        Args:
            head: An initialised head; changed.
            sample: Training embeddings, float32 (n, d).
        """
        sample = sample[:SAMPLE]
        decoded = self.values(head, sample) @ head.decoder_weight
        amplitude = (decoded * (sample - head.decoder_bias)).sum() / decoded.square().sum().clamp_min(1e-12)
        head.decoder_weight.mul_(amplitude.clamp_min(1e-6))

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        """After training: bring the head into the form in which it is used. Nothing to do for most."""


class ObjectiveLoss(nn.Module):
    """An objective as a loss of the sentence-transformers trainer.

    Args:
        model: Cached rows and a head.
        objective: The objective.
    """

    def __init__(self, model: SentenceTransformer, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> dict[str, Tensor]:
        head: Any = self.model[-1]
        (features,) = sentence_features
        return self.objective.loss(head, self.model[0](features)["sentence_embedding"])


def pre_activations(head: BinarySparsityAlignment, x: Tensor) -> Tensor:
    """``W (x - mean) + b``, float32 (n, D), with gradient."""
    return F.linear(x - head.mean, head.weight, head.bias).float()


def keep_largest(values: Tensor, k: int) -> Tensor:
    """The ``k`` largest entries of each row, the others 0."""
    top = values.topk(k, dim=1)
    return torch.zeros_like(values).scatter(1, top.indices, top.values)


def decode(head: BinarySparsityAlignment, values: Tensor) -> Tensor:
    """Reconstruction from strengths, float32 (n, d)."""
    return (values @ head.decoder_weight).float() + head.decoder_bias


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared distance relative to the squared length of ``x``, mean over texts: a scalar."""
    return (x - reconstruction).square().sum(dim=1).mean() / x.square().sum(dim=1).mean()
