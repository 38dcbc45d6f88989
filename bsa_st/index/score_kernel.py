"""numba: from a document's counter to its score, and from a score to the least counter that reaches it."""

from __future__ import annotations

import numba
import numpy as np

from bsa_st.index.tables import COSINE, OVERLAP


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score_of(measure: int, value: int, size: float, own: float) -> float:
    """Score of a document from its counter.

    Args:
        measure: One of the constants of :mod:`bsa_st.index.tables`.
        value: The counter.
        size: Active features of the document.
        own: Active features of the query.
    """
    if measure == OVERLAP:
        return float(value)
    if value == 0:
        return 0.0
    shared = np.float32(value)
    if measure == COSINE:
        return float(shared / np.sqrt(np.float32(own) * np.float32(size)))
    return float(shared / (np.float32(own) + np.float32(size) - shared))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def least_counter(measure: int, low: float, high: float, own: float, limit: float, least: int, most: int) -> int:
    """Smallest counter from ``least`` on with which a document whose size is between ``low`` and ``high`` might reach ``limit``;
    ``most`` if there is none below."""
    while least < most:
        middle = (least + most) >> 1
        if max(score_of(measure, middle, low, own), score_of(measure, middle, high, own)) >= limit:
            most = middle
        else:
            least = middle + 1
    return least
