"""The alignment loss as contrastive learning between a text and its features: its gradient, and what replaces it.

With ``a = scale z``, ``p = sigmoid(a)`` and t the text's own top k, ``-log cos(p, t) = -log sum_T p + log(sum p^2) / 2 + log(k) / 2``: the
features in T are positives, all features negatives, as in InfoNCE with several positives. See ``docs/theory/contrastive.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment

EDGES = np.arange(-12.0, 6.01, 0.5)
BATCH = 256
LEARNING_RATE = 1e-3


def alignment(a: Tensor, target: Tensor) -> Tensor:
    """The loss of the method, for each text: ``1 - cos(sigmoid(a), t)``; a and t float (n, D), result (n,)."""
    return 1 - F.cosine_similarity(torch.sigmoid(a), target, dim=-1)


def info_nce(a: Tensor, target: Tensor) -> Tensor:
    """Its contrastive counterpart: ``-log sum_T exp(a) + log(sum exp(2 a)) / 2 + log(k) / 2``, which has e^a in place of sigmoid(a).

    Source: positives summed inside the logarithm, as ``L_in`` of Khosla et al., "Supervised contrastive learning" (2020).
    """
    positives = a.masked_fill(target == 0, -torch.inf).logsumexp(dim=-1)
    return (2 * a).logsumexp(dim=-1) / 2 - positives + target.sum(dim=-1).log() / 2


def bounded(a: Tensor, target: Tensor) -> Tensor:
    """:func:`info_nce` with ``log sigmoid(a)`` as similarity: equals ``-log cos(p, t)``."""
    return info_nce(F.logsigmoid(a), target)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "alignment 1 - cos": alignment,
    "contrastive, similarity log p": bounded,
    "contrastive, similarity a": info_nce,
    "none": None,
}


def gradients(head: BinarySparsityAlignment, dense: np.ndarray) -> dict[str, Any]:
    """How the gradient of the alignment loss over ``a`` compares with that of its contrastive forms, on real texts.

    Args:
        head: A head, trained or not.
        dense: float (n, d).

    Returns:
        ``exact``: largest difference between the gradient and cos times that of :func:`bounded`, relative to the largest gradient;
        ``cosine``: mean cosine with the gradient of :func:`info_nce`; and, by bins of ``a`` over inactive features, the mean
        ``measured`` push, ``softmax`` = cos times the weight ``e^2a / sum p^2``, and ``predicted`` = the same with the sigmoid's saturation.
    """
    with torch.no_grad():
        a = head.log_scale.exp() * head.logits(torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32)))
        target = head.select(a, "topk")
    measured, matched, contrastive = (_gradient(loss, a, target) for loss in (alignment, bounded, info_nce))
    p = torch.sigmoid(a)
    cosine = F.cosine_similarity(p, target, dim=-1)[:, None]
    weight = cosine / p.square().sum(dim=-1, keepdim=True)
    forms = {"measured": measured, "softmax": (2 * a).exp() * weight, "predicted": p.square() * (1 - p) * weight}
    place = torch.from_numpy(np.digitize(a.numpy(), EDGES))
    place[target == 1] = -1
    bins = []
    for number in range(1, len(EDGES)):
        inside = place == number
        if inside.sum() >= 50:
            bins.append(
                {"a": float(EDGES[number - 1] + 0.25), **{name: float(form[inside].mean()) for name, form in forms.items()}}
            )
    difference = (measured - cosine * matched).abs().max() / measured.abs().max()
    return {
        "exact": float(difference),
        "cosine": float(F.cosine_similarity(measured, contrastive, dim=-1).mean()),
        "alignment": float(alignment(a, target).mean()),
        "active": float((a > 0).float().sum(dim=-1).mean()),
        "bins": bins,
    }


def trained_with(
    name: str, training: np.ndarray, hidden_dim: int, k: int, steps: int, seed: int = 0
) -> tuple[BinarySparsityAlignment, list[float]]:
    """A threshold head trained with reconstruction and one of :data:`LOSSES`, in a plain loop; and its active features at each step.

    Args:
        name: Key of :data:`LOSSES`.
        training: float32 (n, d), unit norm.
        hidden_dim: D.
        k: Target number of active features.
        steps: Steps of Adam.
        seed: Seed of weights and batches.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = BinarySparsityAlignment(training.shape[1], hidden_dim, k)
    head.initialise(torch.from_numpy(training[:8192]))
    head.train()
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    loss_of, active = LOSSES[name], []
    for _ in range(steps):
        x = torch.from_numpy(training[rng.integers(len(training), size=BATCH)])
        out = head({"sentence_embedding": x})
        loss = 1 - F.cosine_similarity(x, out["bsa_reconstruction"], dim=-1).mean()
        if loss_of is not None:
            loss = loss + loss_of(head.log_scale.exp() * out["bsa_logits"], out["bsa_target"]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        active.append(float(out["sentence_embedding"].detach().sum(dim=-1).mean()))
    head.eval()
    return head, active


def _gradient(loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, target: Tensor) -> Tensor:
    leaf = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, target).sum(), leaf)
    return gradient
