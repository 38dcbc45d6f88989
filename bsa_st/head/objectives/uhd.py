"""Ultra-high-dimensional top-k with binarisation: winners take all, and what counts is similarity, not reconstruction.

The paper learns from labelled queries and passages. Without labels the frozen encoder is the teacher: within a batch, the similarities of
the sparse vectors follow those of the dense ones. One bucket is used. There is no decoder in the paper; here one is fitted to the
binary codes afterwards, as for all objectives.

Source: K.-R. Jang et al., "Ultra-high dimensional sparse representations with binarization for efficient text retrieval" (2021).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, keep_largest, pre_activations

TEMPERATURE = 0.1


class UHD(Objective):
    """Divergence of the batch's similarities under the ``k`` largest strengths from those of the dense embeddings."""

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return keep_largest(pre_activations(head, x).relu(), head.k)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        sparse, dense = F.normalize(self.values(head, x), dim=1), F.normalize(x, dim=1)
        itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
        student, teacher = (
            (rows @ rows.T).float().masked_fill(itself, -1e4).div(TEMPERATURE).log_softmax(dim=1) for rows in (sparse, dense)
        )
        return {"similarity_loss": F.kl_div(student, teacher, log_target=True, reduction="batchmean")}
