"""The L1 penalty with cosine in place of squared error: what is left of BSA's objective when its alignment loss is replaced.

Source: the L1 baseline of "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations".
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.objectives.l1_mse import L1MSE


class L1Cosine(L1MSE):
    """``1 - cos(x, x_hat)`` plus the mean L1 norm of the strengths."""

    def reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(x, decoded, dim=1).mean()
