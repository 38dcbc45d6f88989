"""found@10: how many of the float embeddings' own neighbours a head's codes find, and the scores that find most."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.refine import weigh_mean

DIVISIONS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.25)
"""How much of a decoded length is divided away, to first order, by the softenings that are tried."""

FIRST = 10
FOUND_QUERIES = 500
FOUND_DOCUMENTS = 10_000


@torch.no_grad()
def choose_softening(head: BinarySparsityAlignment, queries: np.ndarray, documents: np.ndarray) -> float:
    """Set ``head.length_softening`` to what finds most of the true neighbours, and ``head.decoded_share`` to the mean of ``|x_hat|^2 / |x|^2``.

    Args:
        head: The trained layer; changed.
        queries: float (n, d), unit norm, n > 0.
        documents: float (m, d), unit norm, m > 0.

    Returns:
        found@10 with that softening: the share of the float embeddings' own ten nearest documents among the ten that float queries find by refined codes.
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
    """The softening of ``q . x_hat / sqrt(|x_hat|^2 + softening)`` by which most true neighbours are found, and the share that it finds.

    Args:
        queries: float32 (n, d), unit norm.
        documents: float32 (m, d), unit norm.
        decoded: What the documents' codes decode to, float32 (m, d).
    """
    true = _best(queries @ documents.T)
    products, squares = queries @ decoded.T, decoded.square().sum(dim=1)
    softenings = [float(squares.mean()) * (1 / division - 1) for division in DIVISIONS]
    found = [_shared(_best(products / (squares + softening).clamp_min(1e-12).sqrt()), true) for softening in softenings]
    best = int(np.argmax(found))
    return softenings[best], found[best]


def _best(scores: Tensor) -> Tensor:
    return scores.topk(min(FIRST, scores.shape[1]), dim=1).indices


def _shared(found: Tensor, true: Tensor) -> float:
    return float((found[:, :, None] == true[:, None, :]).any(dim=2).float().mean())
