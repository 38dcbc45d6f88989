"""The classical sparse autoencoder: ReLU strengths, squared error, L1 penalty.

Source: H. Cunningham et al., "Sparse autoencoders find highly interpretable features in language models" (2023).
"""

from __future__ import annotations

from torch import Tensor

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, decode, pre_activations, squared_error
from bsa_st.head.objectives.penalty import SteeredWeight, decoded_strengths


class L1MSE(Objective):
    """Squared error plus the mean L1 norm of the strengths, whose weight is steered to ``k`` active features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = SteeredWeight()

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return pre_activations(head, x).relu()

    def reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        """How far a reconstruction is from its target: a scalar."""
        return squared_error(x, decoded)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values = self.values(head, x)
        length = decoded_strengths(values, head.decoder_weight).sum(dim=1).mean()
        return {
            "reconstruction_loss": self.reconstruction(x, decode(head, values)),
            "sparsity_loss": self.weight(values, head.k) * length,
        }
