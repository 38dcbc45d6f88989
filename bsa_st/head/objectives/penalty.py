"""The weight of a sparsity penalty, steered so that ``k`` features are active on average.

Papers tune this weight by hand until the sparsity fits; a comparison at equal bytes needs it to fit every time. The weight rises while more
than ``k`` features are active and falls while fewer are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FIRST = 0.03
RATE = 0.2
"""Largest relative change of the weight in one step."""


class SteeredWeight(nn.Module):
    """A weight that follows the number of active features."""

    def __init__(self) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", torch.tensor(FIRST), persistent=False)

    @torch.no_grad()
    def forward(self, values: Tensor, k: int) -> Tensor:
        """The weight to use for a batch of strengths, float (n, D), after one step of steering."""
        active = (values > 0).sum(dim=1).float().mean()
        self.value.mul_(torch.exp(RATE * (active / k).log().clamp(-1, 1)) if active > 0 else math.exp(-RATE))
        return self.value.clone()


def decoded_strengths(values: Tensor, decoder: Tensor) -> Tensor:
    """Strengths times the length of their atoms, float (n, D): a penalty on them is not evaded by longer atoms.

    Source: T. Conerly et al., "Update on how we train SAEs" (2024).
    """
    return values * decoder.norm(dim=1)
