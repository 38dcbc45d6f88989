"""The FLOPs regulariser: features that are used often cost more, so that work in an inverted index is spread evenly.

Source: B. Paria et al., "Minimizing FLOPs to learn efficient sparse representations" (2020).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, decode, pre_activations
from bsa_st.head.objectives.penalty import SteeredWeight, decoded_strengths


class Flops(Objective):
    """``1 - cos(x, x_hat)`` plus the sum over features of the squared mean strength, whose weight is steered to ``k`` active features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = SteeredWeight()

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return pre_activations(head, x).relu()

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values = self.values(head, x)
        operations = decoded_strengths(values, head.decoder_weight).mean(dim=0).square().sum() * head.hidden_dim
        return {
            "reconstruction_loss": 1 - F.cosine_similarity(x, decode(head, values), dim=1).mean(),
            "sparsity_loss": self.weight(values, head.k) * operations,
        }
