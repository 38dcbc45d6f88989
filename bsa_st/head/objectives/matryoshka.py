"""Matryoshka sparse autoencoder: prefixes of the dictionary must reconstruct on their own.

Source: B. Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders" (2025).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives.base import squared_error
from bsa_st.head.objectives.batch_topk import BatchTopK

LEVELS = 4
"""Prefixes: the whole dictionary, its half, quarter and eighth."""


class Matryoshka(BatchTopK):
    """Squared error of the reconstruction from every prefix, mean over the prefixes; strengths as in :class:`BatchTopK`."""

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values = self.values(head, x)
        edges = [0, *(max(1, head.hidden_dim >> level) for level in reversed(range(LEVELS)))]
        decoded, errors = head.decoder_bias.expand_as(x), []
        for low, high in itertools.pairwise(edges):
            decoded = decoded + (values[:, low:high] @ head.decoder_weight[low:high]).float()
            errors.append(squared_error(x, decoded))
        return {"reconstruction_loss": torch.stack(errors).mean()}
