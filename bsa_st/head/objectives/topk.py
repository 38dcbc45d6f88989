"""TopK sparse autoencoder: exactly ``k`` strengths are kept, and there is no penalty.

The paper's auxiliary loss, which revives dead features, is left out: none of the objectives compared here reactivates features.

Source: A. Makhzani and B. Frey, "k-Sparse autoencoders" (2013); L. Gao et al., "Scaling and evaluating sparse autoencoders" (2024).
"""

from __future__ import annotations

from torch import Tensor

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import Objective, keep_largest, pre_activations


class TopK(Objective):
    """Squared error of a reconstruction from the ``k`` largest strengths of each text."""

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return keep_largest(pre_activations(head, x).relu(), head.k)
