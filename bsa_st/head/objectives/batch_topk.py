"""BatchTopK: ``k`` strengths per text on average over a batch, so that a rich text may have more than a plain one.

In use, where a code must not depend on its neighbours, a threshold takes the batch's place.

Source: B. Bussmann, P. Leask and N. Nanda, "BatchTopK sparse autoencoders" (2024).
"""

from __future__ import annotations

from torch import Tensor

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, pre_activations


class BatchTopK(Objective):
    """Squared error of a reconstruction from the ``n k`` largest strengths of a batch of ``n`` texts."""

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return keep_largest_of_batch(pre_activations(head, x).relu(), head.k)


def keep_largest_of_batch(values: Tensor, k: int) -> Tensor:
    """The ``n k`` largest entries of a matrix (n, D), the others 0."""
    flat = values.detach().flatten()
    threshold = flat.kthvalue(flat.numel() - k * len(values) + 1).values
    return values * (values >= threshold)
