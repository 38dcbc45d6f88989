"""AbsTopK: directions that may be active in either sense.

The head has a feature for each sense: the second half of the features mirrors the first. A binary code then says which senses are active, and
``hidden_dim`` features need half as many directions.

Source: X. Zhu et al., "AbsTopK: rethinking sparse autoencoders for bidirectional features" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, keep_largest, squared_error


class AbsTopK(Objective):
    """Squared error of a reconstruction from the ``k`` strengths that are largest in absolute value."""

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        if head.hidden_dim % 2 or head.k > head.hidden_dim // 2:
            raise BSAError(
                f"the objective abs-topk needs an even hidden_dim of at least 2 k, got hidden_dim={head.hidden_dim}, k={head.k}"
            )
        with torch.no_grad():
            head.bias.zero_()
        self.finish(head)
        super().prepare(head, sample)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        half = head.hidden_dim // 2
        signed = F.linear(x - head.mean, head.weight[:half], head.bias[:half]).float()
        kept = signed * (keep_largest(signed.detach().abs(), head.k) > 0)
        return torch.cat([kept.relu(), (-kept).relu()], dim=1)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        self.finish(head)
        half = head.hidden_dim // 2
        values = self.values(head, x)
        signed = values[:, :half] - values[:, half:]  # through the first half alone, which learns from both senses
        return {"reconstruction_loss": squared_error(x, (signed @ head.decoder_weight[:half]).float() + head.decoder_bias)}

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        """Make the second half of the features mirror the first."""
        half = head.hidden_dim // 2
        for tensor in (head.weight, head.bias, head.decoder_weight):
            tensor[half:] = -tensor[:half]
