"""JumpReLU: a threshold per feature, learnt through a straight-through estimate of the derivative of a step.

The threshold is the head's negative bias, so that a feature is active where its logit is positive, as in every head; the paper's further bias
inside the activation is left out, since the mean is subtracted from the input.

Source: S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders" (2024), with the
penalty ``(L0 / k - 1)^2`` of its appendix.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, decode, squared_error

BANDWIDTH = 0.5
"""Width of the window in which a threshold feels a text, relative to the spread of the pre-activations."""


class JumpReLU(Objective):
    """Squared error plus the squared relative distance of the mean number of active features from ``k``."""

    def __init__(self) -> None:
        super().__init__()
        self.bandwidth: Tensor
        self.register_buffer("bandwidth", torch.tensor(0.1), persistent=False)

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        with torch.no_grad():
            self.bandwidth.copy_(BANDWIDTH * F.linear(sample[:512] - head.mean, head.weight).std())
        super().prepare(head, sample)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return self._gated(head, x)[0]

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values, active = self._gated(head, x)
        return {
            "reconstruction_loss": squared_error(x, decode(head, values)),
            "sparsity_loss": (active.sum(dim=1).mean() / head.k - 1).square(),
        }

    def _gated(self, head: BinarySparsityAlignment, x: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths and active features, float32 (n, D), with the derivatives that the paper gives for the thresholds."""
        bias = head.bias.float()
        before = F.linear(x - head.mean, head.weight).float()
        margin = (before + bias).detach()
        window = (margin.abs() < self.bandwidth / 2).float() / self.bandwidth
        moved = window * (bias - bias.detach())  # value 0, derivative of the step with respect to the bias
        active = (margin > 0).float()
        return (before * active).relu() - bias.detach() * moved, active + moved
