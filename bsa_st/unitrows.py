"""Embeddings of length 1: a code says in which direction a text lies, which is all that a cosine sees.

Some encoders end in ``Normalize``, others give embeddings of any length, and lengths of 5 are common. A head learns from directions and codes
directions: rows are brought to length 1 wherever they enter, and a model whose encoder does not normalise gets a stock ``Normalize``
in front of its head (:func:`bsa_st.encoding.put_behind`).
"""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 0.01
"""Rows so near to length 1 stay as they are, bit for bit: their codes are those of plain sentence-transformers."""


SMALLEST = 1e-15
"""Rows of smaller values, or of larger ones than one over this, are brought near 1 first: their squares do not fit float32."""


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays zero.

    Args:
        rows: float (n, d).

    Returns:
        float (n, d), of the same dtype.
    """
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    largest = rows.abs().amax(dim=1, keepdim=True)
    extreme = (largest != 0) & ((largest < SMALLEST) | (largest > 1 / SMALLEST))
    if extreme.any():
        rows = rows / torch.where(extreme, largest, torch.ones_like(largest))
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    stays = ((length - 1).abs() <= TOLERANCE) | (length == 0)
    return rows / torch.where(stays, torch.ones_like(length), length)
