"""What a head does on real embeddings: how well it decodes, how many features it fires, and how many of the float embeddings' neighbours its codes find."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import Tensor
from torch.nn import functional as F

from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.refine import weigh_mean
from bsa_st.inputs.unit_rows import batches

DIVISIONS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.25)
"""How much of a decoded length is divided away, to first order, by the softenings that are tried."""

FOUND_QUERIES = 500
FOUND_DOCUMENTS = 10_000


@torch.no_grad()
def code_statistics(head: BinarySparsityAlignment, embeddings: np.ndarray) -> dict[str, float]:
    """Figures of the plain codes that a head gives to dense embeddings, float (n, d).

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
    """:func:`code_statistics` of held-out rows; but which features fire, of training rows, since a rare feature may well miss a few thousand texts."""
    rates = code_statistics(head, sample)
    return code_statistics(head, held_out) | {name: rates[name] for name in ("never_fired", "highest_rate")}


class HeadEvaluator(BaseEvaluator):
    """Reports :func:`head_figures` at every evaluation step of the trainer, of rows kept out of training, float (n, d), and a sample of training rows, float (m, d)."""

    def __init__(self, held_out: np.ndarray, sample: np.ndarray) -> None:
        super().__init__()
        self.held_out, self.sample = held_out, sample
        self.primary_metric = "reconstruction_cosine"

    def __call__(self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:  # type: ignore[override]
        return head_figures(head_of(model), self.held_out, self.sample)


@torch.no_grad()
def choose_softening(head: BinarySparsityAlignment, queries: np.ndarray, documents: np.ndarray) -> float:
    """Set ``head.length_softening`` to what finds most of the true neighbours, and ``head.decoded_share`` to the mean of ``|x_hat|^2 / |x|^2``.

    Of queries (n, d) and documents (m, d), float, unit norm. Returns found@10 with that softening: the share of the float embeddings' own ten nearest
    documents among the ten that float queries find by refined codes.
    """
    codes = torch.from_numpy(encode_embeddings(head, documents, refine=True).to_dense()).to(head.weight.device)
    asked, there = (torch.from_numpy(np.array(rows, dtype=np.float32)).to(codes.device) for rows in (queries, documents))
    decoded = head.decode(codes)
    softening, found = best_softening(asked, there, decoded)
    head.length_softening.fill_(softening)
    weighed, whole = (weigh_mean(rows, head.mean).square().sum(dim=1) for rows in (decoded, there))
    head.decoded_share.copy_((weighed / whole).mean())
    return found


def best_softening(queries: Tensor, documents: Tensor, decoded: Tensor) -> tuple[float, float]:
    """The softening of ``q . x_hat / sqrt(|x_hat|^2 + softening)`` by which most true neighbours are found, and the share that it finds: of queries (n, d) and
    documents (m, d), float32, unit norm, and what the documents' codes decode to."""
    count = min(10, len(documents))
    true = (queries @ documents.T).topk(count, dim=1).indices
    products, squares = queries @ decoded.T, decoded.square().sum(dim=1)
    softenings = [float(squares.mean()) * (1 / division - 1) for division in DIVISIONS]
    found = []
    for softening in softenings:
        ours = (products / (squares + softening).clamp_min(1e-12).sqrt()).topk(count, dim=1).indices
        found.append(float((ours[:, :, None] == true[:, None, :]).any(dim=2).float().mean()))
    best = int(np.argmax(found))
    return softenings[best], found[best]


def hardware_name(device: torch.device | str = "cpu") -> str:
    """What something ran on, e.g. ``"NVIDIA A10"`` or ``"Intel(R) Xeon(R) Gold 6330, 8 threads"``."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {torch.get_num_threads()} threads"
