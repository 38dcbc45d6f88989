"""What random features predict: mean and variance of the overlap of two codes, and the bits that a resolution costs.

Model: feature i of a text fires where the projection of its embedding on a Gaussian direction exceeds a threshold. For two texts of
cosine c both projections are standard normal with correlation c. The derivations are in ``docs/theory``.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.stats import norm

GRID = np.linspace(0, np.pi / 2, 4001)


def joint_rate(rate: float, cosine: np.ndarray) -> np.ndarray:
    """Probability p11 that a feature of the given firing rate fires on both texts: float (n,).

    ``dp11/dc`` is the bivariate normal density at the threshold (Plackett), integrated from c = 0, where p11 = rate squared.

    Args:
        rate: Share of texts on which a feature fires, between 0 and 1.
        cosine: float (n,), from -1 to 1.
    """
    threshold = norm.isf(rate)
    angles = np.concatenate([-GRID[:0:-1], GRID])  # c = sin(angle) takes the pole of the density away
    density = np.exp(-(threshold**2) / np.maximum(1 + np.sin(angles), 1e-300)) / (2 * np.pi)
    integral = cumulative_trapezoid(density, angles, initial=0)
    integral -= integral[len(GRID) - 1]
    return np.asarray(rate**2 + np.interp(np.arcsin(cosine), angles, integral))


def slope(rate: float, cosine: np.ndarray) -> np.ndarray:
    """``dp11/dc``: float (n,), for cosines between -1 and 1, ends excluded."""
    threshold = norm.isf(rate)
    cosine = np.asarray(cosine)
    return np.asarray(np.exp(-(threshold**2) / (1 + cosine)) / (2 * np.pi * np.sqrt(1 - cosine**2)))


def free_variance(rate: float, cosine: np.ndarray) -> np.ndarray:
    """Variance of the overlap divided by D where features fire independently of each other: ``p11 (1 - p11)``."""
    both = joint_rate(rate, cosine)
    return np.asarray(both * (1 - both))


def fixed_variance(rate: float, cosine: np.ndarray) -> np.ndarray:
    """The same where every text has exactly k = rate D active features: ``1 / (1/p11 + 2/p10 + 1/p00)``.

    Source: large-sample variance of the noncentral hypergeometric distribution, W. Stevens, "Mean and variance of an entry in a
    contingency table" (1951).
    """
    both = joint_rate(rate, cosine)
    one, none = np.maximum(rate - both, 1e-12), np.maximum(1 - 2 * rate + both, 1e-12)
    return np.asarray(1 / (1 / both + 2 / one + 1 / none))


def sign_resolution(cosine: np.ndarray) -> np.ndarray:
    """Standard error of the cosine read from one random sign bit; D bits have this divided by the root of D: float (n,)."""
    angle = np.arccos(cosine) / np.pi
    return np.asarray(np.sqrt(angle * (1 - angle)) * np.pi * np.sqrt(1 - np.asarray(cosine) ** 2))


def sparse_resolution(rate: float, cosine: np.ndarray) -> np.ndarray:
    """The same for the overlap of codes with a fixed share of active features, for one feature."""
    return np.asarray(np.sqrt(fixed_variance(rate, cosine)) / slope(rate, cosine))


def entropy(rate: float) -> float:
    """Bits per feature of an ideal code: the binary entropy."""
    return float(-(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate)))


def bits_needed(rate: float | None, cosine: np.ndarray, resolution: float) -> np.ndarray:
    """Bits per text for a standard error of ``resolution`` in the cosine; ``rate`` None for sign bits: float (n,)."""
    if rate is None:
        return np.asarray((sign_resolution(cosine) / resolution) ** 2)
    return np.asarray((sparse_resolution(rate, cosine) / resolution) ** 2 * entropy(rate))


def postings_touched(rate: float, cosine: float, resolution: float) -> float:
    """Postings per document that a query reads at that resolution: ``D rate^2``, if all features fire equally often."""
    return float(sparse_resolution(rate, np.array([cosine]))[0] / resolution) ** 2 * rate**2
