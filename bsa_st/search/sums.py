"""Sums of weights over lists of feature ids: a lookup per id, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


def sums(ids: np.ndarray, indptr: np.ndarray, rows: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """Sum of ``weights``, float32 (D,), over the ids of each row (None: of all): float32 (m,)."""
    rows = np.arange(len(indptr) - 1) if rows is None else rows
    out = np.empty(len(rows), np.float32)
    _compiled()(ids, indptr, rows, weights, out)
    return out


def _kernel(ids: np.ndarray, indptr: np.ndarray, rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(rows)):
        total = np.float32(0)
        for place in range(indptr[rows[i]], indptr[rows[i] + 1]):
            total += weights[ids[place]]
        out[i] = total


@cache
def _compiled() -> Callable[..., Any]:
    from numba import njit

    compiled: Callable[..., Any] = njit(cache=True, nogil=True, fastmath=True)(_kernel)
    return compiled
