"""What a head does on real embeddings: how well it decodes, how many features it fires and which never."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.inputs.unit_rows import batches


@torch.no_grad()
def code_statistics(head: BinarySparsityAlignment, embeddings: np.ndarray) -> dict[str, float]:
    """Figures of the codes that a head gives to dense embeddings.

    Args:
        head: The trained layer.
        embeddings: float (n, d).

    Returns:
        ``reconstruction_cosine`` mean cosine of x and x_hat; ``active_mean``, ``active_p5``, ``active_p95`` active features
        per text; ``never_fired`` number of features; ``highest_rate`` share of texts on which the busiest feature fires.
    """
    cosines, counts = [], []
    fired = torch.zeros(head.hidden_dim, dtype=torch.float64)
    for x in batches(embeddings, head.hidden_dim, head.weight.device):
        code = head.select(head.logits(x))
        cosines.append(F.cosine_similarity(x, head.decode(code), dim=1).cpu())
        counts.append(code.sum(dim=1).cpu())
        fired += code.sum(dim=0).cpu()
    active = torch.cat(counts).double().numpy()
    return {
        "reconstruction_cosine": float(torch.cat(cosines).double().mean()),
        "active_mean": float(active.mean()),
        "active_p5": float(np.percentile(active, 5)),
        "active_p95": float(np.percentile(active, 95)),
        "never_fired": int((fired == 0).sum()),
        "highest_rate": float(fired.max() / len(embeddings)),
    }


def head_figures(head: BinarySparsityAlignment, held_out: np.ndarray, sample: np.ndarray) -> dict[str, float]:
    """:func:`code_statistics` of held-out rows; but which features fire, of a sample of the training rows, since a rare feature may well miss a few thousand texts."""
    rates = code_statistics(head, sample)
    return code_statistics(head, held_out) | {name: rates[name] for name in ("never_fired", "highest_rate")}


class HeadEvaluator(BaseEvaluator):
    """Reports :func:`head_figures` at every evaluation step of the trainer.

    Args:
        held_out: float (n, d), rows kept out of training.
        sample: float (m, d), training rows for the firing rates.
    """

    def __init__(self, held_out: np.ndarray, sample: np.ndarray) -> None:
        super().__init__()
        self.held_out = held_out
        self.sample = sample
        self.primary_metric = "reconstruction_cosine"

    def __call__(  # type: ignore[override]
        self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, Any]:
        metrics = head_figures(head_of(model), self.held_out, self.sample)
        self.store_metrics_in_model_card_data(model, metrics, int(epoch), steps)
        return metrics
