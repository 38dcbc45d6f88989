"""Whether another random seed finds the same features.

Source: the matching of two dictionaries as in G. Paulo and N. Belrose, "Sparse Autoencoders Trained on the Same Data Learn Different
Features" (2025), section 3, and the mean maximum cosine of L. Sharkey et al., "Taking features out of superposition" (2022).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

SAME = 0.7
"""Two directions with at least this cosine count as the same feature."""


def stability(one: np.ndarray, two: np.ndarray) -> dict[str, float]:
    """How alike the feature directions of two heads are.

    Args:
        one: Decoder of the first, float (D, d).
        two: Decoder of the second, float (D, d).

    Returns:
        ``matched_cosine`` mean cosine under the best one-to-one matching (Hungarian); ``mean_max_cosine`` of each feature with the most alike
        of the other head, averaged over both directions; ``same_share`` matched features with a cosine of at least 0.7.
    """
    cosines = _unit(one) @ _unit(two).T
    matched = cosines[linear_sum_assignment(cosines, maximize=True)]
    return {
        "matched_cosine": round(float(matched.mean()), 4),
        "mean_max_cosine": round(float((cosines.max(axis=0).mean() + cosines.max(axis=1).mean()) / 2), 4),
        "same_share": round(float((matched >= SAME).mean()), 4),
    }


def chance(one: np.ndarray, seed: int = 0) -> dict[str, float]:
    """The same against random directions of the same covariance: what two heads with nothing in common would reach."""
    random = np.random.default_rng(seed)
    rows = _unit(one)
    centred = rows - rows.mean(axis=0)
    spread = np.linalg.cholesky(centred.T @ centred / len(rows) + 1e-6 * np.eye(rows.shape[1]))
    return stability(one, rows.mean(axis=0) + random.normal(size=rows.shape) @ spread.T)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
