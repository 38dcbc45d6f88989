"""Embeddings of length 1: a code says in which direction a text lies, which is all that a cosine sees.

Some encoders end in ``Normalize``, others give embeddings of any length, and lengths of 5 are common. A head learns from directions and codes
directions: rows are brought to length 1 wherever they enter, and a model whose encoder does not normalise gets a stock ``Normalize``
in front of its head (:func:`bsa_st.encoding.encode.put_behind`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

BATCH_CELLS = 1 << 24  # rows times features of a batch: 64 MB of float32
TOLERANCE = 0.01  # rows so near to length 1 stay, bit for bit: their codes are those of plain sentence-transformers
SMALLEST = 1e-15
"""Rows of smaller values, or of larger ones than one over this, are brought near 1 first: their squares do not fit float32."""


def unit_rows(rows: Tensor) -> Tensor:
    """Rows brought to length 1, float (n, d), of the same dtype; a row of zeros stays zero."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    largest = rows.abs().amax(dim=1, keepdim=True)
    extreme = (largest != 0) & ((largest < SMALLEST) | (largest > 1 / SMALLEST))
    if extreme.any():
        rows = rows / torch.where(extreme, largest, torch.ones_like(largest))
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    stays = ((length - 1).abs() <= TOLERANCE) | (length == 0)
    return rows / torch.where(stays, torch.ones_like(length), length)


def batches(embeddings: np.ndarray, hidden_dim: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Rows of an embedding matrix, brought to length 1, as float32 tensors, in batches whose logits take at most 64 MB."""
    step = max(1, BATCH_CELLS // hidden_dim)
    for start in range(0, len(embeddings), step):
        yield unit_rows(torch.from_numpy(np.array(embeddings[start : start + step], dtype=np.float32)).to(device))
