"""Binary codes from a head that was trained with real-valued strengths, in one way for all objectives.

1. ``topk`` heads fire the ``k`` largest pre-activations; in ``threshold`` mode one shift of all biases leaves ``k`` active features on average.
2. Each atom takes the mean strength that its feature had where it was active.
3. The decoder is fitted to the binary codes by ridge least squares (:mod:`bsa_st.training.refit`, without refinement).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective

CHUNK_TEXTS = 1024


@torch.no_grad()
def binarise(head: BinarySparsityAlignment, objective: Objective, sample: Tensor) -> None:
    """Steps 1 and 2.

    Args:
        head: A head that the objective has trained and finished; changed.
        objective: The objective.
        sample: Training embeddings, float32 (n, d).
    """
    total, count = torch.zeros_like(head.bias), torch.zeros_like(head.bias)
    highest = []
    for x in sample.to(head.weight.device).split(CHUNK_TEXTS):
        values = objective.values(head, x)
        total += values.sum(dim=0)
        count += (values > 0).sum(dim=0)
        highest.append(head.logits(x).topk(min(4 * head.k, head.hidden_dim), dim=1).values.flatten())
    usual = total.sum() / count.sum().clamp_min(1)
    strength = torch.where(count > 0, total / count.clamp_min(1), usual)
    head.decoder_weight.mul_(strength[:, None])
    if head.selection == "threshold":
        levels = torch.cat(highest)
        wanted = min(len(levels), len(sample) * head.k)
        head.bias.sub_(levels.kthvalue(len(levels) - wanted + 1).values - 1e-7)
