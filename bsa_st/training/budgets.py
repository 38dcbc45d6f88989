"""Smaller budgets of a whole model, and what a head is measured for so that it can have them (:mod:`bsa_st.head.nested`)."""

from __future__ import annotations

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bsa_st.encoding.encode import encode_embeddings, rebuild, split_model
from bsa_st.head.layer import BUDGET_STEPS, BinarySparsityAlignment, usual_threshold
from bsa_st.head.nested import best_amplitude, largest_budgets, prefix_head, truncate_head
from bsa_st.inputs.unit_rows import batches

SAMPLE = 4096
AMPLITUDE_TEXTS = 256
AMPLITUDE_ROUNDS = 2


def truncate(
    model: SentenceTransformer, *, hidden_dim: int | None = None, max_active_dims: int | None = None
) -> SentenceTransformer:
    """A smaller BSA model from a trained one; it encodes, decodes, searches and saves like any other.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`. It is not changed.
        hidden_dim: Number of features, the model's own or the width of one of its ``nested`` budgets. Default: the model's own.
        max_active_dims: k of the smaller model. Default: the largest k trained at that width.

    Raises:
        BSAError: If the model has no BSA head, was not trained for ``hidden_dim``, or ``max_active_dims`` is out of range.

    Example: ``small = bsa_st.truncate(named, max_active_dims=50)``
    """
    encoder, head = split_model(model)
    return rebuild(model, [*encoder, truncate_head(head, hidden_dim, max_active_dims)])


@torch.no_grad()
def measure_budgets(head: BinarySparsityAlignment, sample: np.ndarray) -> None:
    """Fill ``head.budgets`` (rows of k, amplitude, threshold) from dense embeddings, float (n, d), n > 0."""
    if head.compact:  # any number of features may be active: there is no smaller k to prepare for
        return
    sample, few = sample[:SAMPLE], np.array(sample[:AMPLITUDE_TEXTS], dtype=np.float32)
    rows = []
    for width, top in largest_budgets(head).items():
        logits = torch.cat([head.logits(x)[:, :width].cpu() for x in batches(sample, head.hidden_dim, head.weight.device)])
        for step in BUDGET_STEPS:
            k, amplitude = max(1, round(top * step)), 1.0
            for _ in range(AMPLITUDE_ROUNDS):  # a fixed point: codes are refined with the amplitude that is measured on them
                small = prefix_head(head, width, k, amplitude)
                codes = torch.from_numpy(encode_embeddings(small, few, refine=True).to_dense())
                amplitude *= best_amplitude(small, codes, torch.from_numpy(few))
            rows.append([k, amplitude, float(usual_threshold(logits, k))])
    head.budgets.copy_(torch.tensor(rows))
