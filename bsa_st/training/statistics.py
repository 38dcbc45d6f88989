"""found@10: how many of the float embeddings' own neighbours a head's codes find."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from bsa_st.encoding import encode_embeddings
from bsa_st.module import BinarySparsityAlignment


@torch.no_grad()
def found_at_10(head: BinarySparsityAlignment, queries: np.ndarray, documents: np.ndarray) -> float:
    """Share of the float embeddings' own ten nearest documents among the ten that float queries find by refined codes.

    Args:
        head: The trained layer.
        queries: float (n, d), unit norm, n > 0.
        documents: float (m, d), unit norm, m > 10.
    """
    codes = torch.from_numpy(encode_embeddings(head, documents, refine=True).to_dense()).to(head.weight.device)
    asked, there = (torch.from_numpy(np.array(rows, dtype=np.float32)).to(codes.device) for rows in (queries, documents))
    first = min(10, len(there))
    true = (asked @ there.T).topk(first, dim=1).indices
    found = (asked @ F.normalize(head.decode(codes), dim=1).T).topk(first, dim=1).indices
    return float((found[:, :, None] == true[:, None, :]).any(dim=2).float().mean())
