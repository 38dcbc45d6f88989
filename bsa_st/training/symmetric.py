"""The encoder of codes that are compared with each other: a linear layer and a threshold whose cosines rank pairs as the dense embeddings' do.

Refined codes are made to be decoded, and codes of the linear layer fitted to them lose more than they must when they are compared with each other (figures in
evaluation/NOTES.md). This layer starts as a tight frame and learns from groups of near texts that the cosines of codes shall correlate with the cosines of embeddings;
gradients go straight through the threshold, which is set in the end so that k features are active on average.

Source: a loss on the correlation with the floats' similarities in place of their order, on the soft codes of Binary Sparsity Alignment; frames of signs are
L. Jacques et al., "Robust 1-bit compressive sensing via binary stable embeddings" (2013).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bsa_st.head.layer import BinarySparsityAlignment

ROWS = 8000
RATE_ROWS = 2000
GROUPS, NEAR = 32, 16
"""Groups in a batch, and texts in a group: one and its nearest."""
LEARNING_RATE = 2e-3
SLOPE, RATE_WEIGHT = 4.0, 10.0
"""Slope of the soft threshold, over the spread of the logits, and weight of the squared error of the share of active features."""


def fit_symmetric(head: BinarySparsityAlignment, rows: np.ndarray, steps: int, seed: int = 0) -> Tensor:
    """``[b, W]`` of the layer ``h = W (x - mean) + b > 0``, float32 (D, 1 + d), of a head's sizes and mean, from training embeddings, float (n, d), of length 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.array(rows[:ROWS], dtype=np.float32))
    near = torch.cat([(part @ x.T).topk(min(NEAR, len(x)), dim=1).indices for part in x.split(1024)])
    middle = x - head.mean.cpu()
    weight = F.normalize(nn.init.orthogonal_(torch.empty(head.hidden_dim, head.input_dim), generator=generator), dim=1)
    logits = middle[:1000] @ weight.T
    share = head.k / head.hidden_dim
    bias = -torch.quantile(logits, 1 - share, dim=0) if share < 0.5 else (weight @ head.mean.cpu()) / 2
    spread = float(logits.std().clamp_min(1e-9))
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.Adam([{"params": [weight], "lr": LEARNING_RATE}, {"params": [bias], "lr": LEARNING_RATE * spread}])
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        chosen = near[torch.randperm(len(x), generator=generator)[:GROUPS]].flatten()
        soft = torch.sigmoid(SLOPE / spread * (middle[chosen] @ weight.T + bias))
        codes = soft + ((soft > 0.5).float() - soft).detach()
        loss = 1 - _correlation(codes, x[chosen]) + RATE_WEIGHT * (codes.mean() - share).square()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    with torch.no_grad():
        bias -= torch.quantile((middle[:RATE_ROWS] @ weight.T + bias).flatten(), 1 - share)
    return torch.cat([bias[:, None], weight], dim=1).detach().to(head.weight.device)


def _correlation(codes: Tensor, x: Tensor) -> Tensor:
    """Correlation of the cosines of all pairs of codes, (n, D), with those of their embeddings, (n, d); near pairs weigh more."""
    wanted = x @ x.T
    weights = torch.softmax(wanted.clone().fill_diagonal_(-torch.inf).flatten(), dim=0)
    wanted = wanted.flatten() - weights @ wanted.flatten()
    wanted = wanted / (weights @ wanted.square()).clamp_min(1e-12).sqrt()
    codes = F.normalize(codes, dim=1)
    found = (codes @ codes.T).flatten()
    found = found - weights @ found
    return (weights * wanted) @ found / (weights @ found.square()).clamp_min(1e-12).sqrt()
