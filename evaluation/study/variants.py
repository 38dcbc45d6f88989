"""Parts of BSA's training exchanged one at a time, for the ablations; with all defaults it is BSA's own objective.

These are no settings of the library: each was measured and none is recommended. Objectives of one's own work in the same way.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives import Objective

Initialisation = Literal["random", "data", "principal"]
PRINCIPAL = 128
"""Dimensions of the principal subspace, a third of the encoder's."""


class BSAVariant(Objective):
    """BSA's loss with parts exchanged.

    Args:
        soft_code: The decoder sees probabilities in training, not binary codes with straight-through gradients.
        hard_topk: The decoder sees exactly ``k`` features and only these have gradients; the alignment loss is left out.
        scale: The sigmoid's scale, fixed, relative to the usual first value, from which it is learnt otherwise.
        initialisation: Directions of the features: random, centred training texts, or random within the principal subspace.
        centring: Whether the mean is subtracted from the input.
        tied: Whether the decoder is the encoder times one learnt amplitude.
    """

    real_valued = False

    def __init__(
        self,
        *,
        soft_code: bool = False,
        hard_topk: bool = False,
        scale: float | None = None,
        initialisation: Initialisation = "random",
        centring: bool = True,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.soft_code, self.hard_topk = soft_code, hard_topk
        self.scale, self.initialisation = scale, initialisation
        self.centring, self.tied = centring, tied
        self.amplitude = torch.nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        centred = sample - sample.mean(dim=0)
        if self.initialisation == "data":
            chosen = torch.randint(len(sample), (head.hidden_dim,))
            head.weight.copy_(F.normalize(centred[chosen], dim=1))
        elif self.initialisation == "principal":
            axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -PRINCIPAL:]
            head.weight.copy_(F.normalize(torch.randn(head.hidden_dim, axes.shape[1]) @ axes.T, dim=1))
        if self.initialisation != "random":
            head.initialise(sample)
        if not self.centring:
            head.bias.sub_(head.weight @ head.mean)
            head.mean.zero_()
        if self.scale is not None:
            head.log_scale.add_(torch.tensor(self.scale).log())
            head.log_scale.requires_grad_(False)
        self.amplitude.copy_(head.decoder_weight.norm() / head.weight.norm())

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        logits = head.logits(x)
        return torch.sigmoid(head.log_scale.exp() * logits) * head.select(logits)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        logits = F.linear(x - head.mean, head.weight, head.bias)
        probability = torch.sigmoid(head.log_scale.exp() * logits)
        target = head.select(logits, "topk")
        hard = target if head.selection == "topk" or self.hard_topk else head.select(logits)
        followed = probability * target if self.hard_topk else probability
        code = followed if self.soft_code else followed + (hard - followed).detach()
        decoded = self.amplitude * (code @ head.weight) + head.decoder_bias if self.tied else head.decode(code)
        losses = {"reconstruction_loss": 1 - F.cosine_similarity(x, decoded, dim=-1).mean()}
        if not self.hard_topk:
            losses["alignment_loss"] = 1 - F.cosine_similarity(probability, target, dim=-1).mean()
        return losses

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        if self.tied:
            head.decoder_weight.copy_(self.amplitude * head.weight)
