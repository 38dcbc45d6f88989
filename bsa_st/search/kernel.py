"""numba: sums of weights over lists of feature ids."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=True)
def sum_weights(ids: np.ndarray, indptr: np.ndarray, rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """``out[i]``: the sum of ``weights`` over the ids of row ``rows[i]``."""
    for i in range(len(rows)):
        total = np.float32(0)
        for place in range(indptr[rows[i]], indptr[rows[i] + 1]):
            total += weights[ids[place]]
        out[i] = total
