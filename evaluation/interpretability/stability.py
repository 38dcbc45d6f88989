"""Stability over seeds: does a second training find the same features?

Source: T. Fel et al., "Archetypal SAE: Adaptive and Stable Dictionary Learning" (2025), section 3: the best one-to-one match of two dictionaries.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

ALIKE = 0.8


def stability(one: np.ndarray, two: np.ndarray) -> dict[str, float]:
    """Mean cosine of matched directions, unit rows, float32 (D, d) and (E, d), and the share of pairs with a cosine of at least .8."""
    cosines = one @ two.T
    matched = cosines[linear_sum_assignment(cosines, maximize=True)]
    return {"mean_cosine": round(float(matched.mean()), 4), "alike": round(float((matched >= ALIKE).mean()), 4)}
