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


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays zero.

    Args:
        rows: float (n, d).

    Returns:
        float (n, d), of the same dtype.
    """
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if ((length - 1).abs() <= TOLERANCE).all():
        return rows
    stays = ((length - 1).abs() <= TOLERANCE) | (length == 0)
    largest = rows.abs().amax(dim=1, keepdim=True)  # squares of 1e30 or 1e-30 do not fit float32
    stays &= (largest > SMALLEST) & (largest < 1 / SMALLEST) | (largest == 0)
    scaled = rows / torch.where(stays | (largest == 0), torch.ones_like(largest), largest)
    return scaled / torch.where(
        stays, torch.ones_like(length), torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp_min(SMALLEST)
    )
