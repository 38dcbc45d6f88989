"""Sums of weights over lists of feature ids: a lookup per id, compiled by numba where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

HAS_NUMBA = find_spec("numba") is not None


def sums(ids: np.ndarray, indptr: np.ndarray, rows: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """Sum of ``weights`` over the ids of each row.

    Args:
        ids: Integer (nnz,).
        indptr: int64 (n + 1,).
        rows: int64 (m,); None for all.
        weights: float32 (D,).

    Returns:
        float32 (m,).
    """
    rows = np.arange(len(indptr) - 1) if rows is None else rows
    if HAS_NUMBA:
        from bsa_st.search.kernel import sum_weights

        out = np.empty(len(rows), np.float32)
        sum_weights(ids, indptr, rows, weights, out)
        return out
    starts, counts = indptr[rows], indptr[rows + 1] - indptr[rows]
    ends = np.cumsum(counts)
    picked = weights[ids[np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)]]
    total = np.concatenate([[0.0], np.cumsum(picked, dtype=np.float64)])
    return (total[ends] - total[ends - counts]).astype(np.float32)
