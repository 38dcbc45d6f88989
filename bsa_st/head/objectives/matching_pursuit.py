"""Matching-pursuit sparse autoencoder: features are chosen one after the other, each for what the others have left unexplained.

Chosen in this way a text has strengths that no linear encoder gives. The head's encoder is tied to the decoder, so that its logits are the
first step of the pursuit, and refinement (:mod:`bsa_st.head.refine`) does the later ones for binary codes.

Source: V. Costa et al., "From flat to hierarchical: extracting sparse representations with matching pursuit" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, squared_error


class MatchingPursuit(Objective):
    """Squared length of what ``k`` steps of matching pursuit leave over, relative to the text's own."""

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        self.finish(head)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        chosen, strengths, _ = self._pursue(head, x)
        values = torch.zeros(len(x), head.hidden_dim, device=x.device)
        return values.scatter_add(1, chosen, strengths)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        _, _, left = self._pursue(head, x)
        return {"reconstruction_loss": squared_error(x, x - left)}

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        """Atoms of length 1, which are the encoder's weights too; the bias moves the encoder's origin to the decoder's."""
        head.decoder_weight.copy_(F.normalize(head.decoder_weight, dim=1))
        head.weight.copy_(head.decoder_weight)
        head.bias.copy_(head.weight @ (head.mean - head.decoder_bias))

    def _pursue(self, head: BinarySparsityAlignment, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Chosen features and strengths, (n, k), and what is left, (n, d)."""
        atoms = F.normalize(head.decoder_weight.float(), dim=1)
        left = x - head.decoder_bias
        chosen = self._choose(atoms.detach(), left.detach(), head.k)
        strengths = []
        for step in chosen.unbind(dim=1):
            atom = atoms[step]
            strength = (left * atom).sum(dim=1, keepdim=True).relu()
            left = left - strength * atom
            strengths.append(strength)
        return chosen, torch.cat(strengths, dim=1), left

    @torch.no_grad()
    def _choose(self, atoms: Tensor, left: Tensor, k: int) -> Tensor:
        """The feature of each step, (n, k); no feature twice, so that ``k`` differ."""
        gram, correlation = (atoms @ atoms.T).float(), (left @ atoms.T).float()
        used = torch.zeros_like(correlation, dtype=torch.bool)
        chosen = []
        for _ in range(k):
            strength, feature = correlation.masked_fill(used, -torch.inf).max(dim=1)
            correlation -= strength.relu()[:, None] * gram[feature]
            used.scatter_(1, feature[:, None], True)
            chosen.append(feature)
        return torch.stack(chosen, dim=1)
