"""Uncertainty: bootstrap intervals over queries or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 1000
PAIR_RESAMPLES = 200


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Bootstrap interval of a mean over queries, float (n,)."""
    return macro_interval([values], seed)


def macro_interval(values: Sequence[np.ndarray], seed: int = 0) -> Interval:
    """Bootstrap interval of the mean over tasks of the mean over queries; queries are drawn anew within each task.

    Args:
        values: For each task the values of its queries, float (n,).
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    means = [task[rng.integers(len(task), size=(RESAMPLES, len(task)))].mean(axis=1) for task in values]
    return _percentiles(np.mean(means, axis=0))


def spearman_interval(predicted: np.ndarray, gold: np.ndarray, seed: int = 0) -> Interval:
    """Bootstrap interval of Spearman's rank correlation over pairs, both float (n,)."""
    chosen = np.random.default_rng(seed).integers(len(gold), size=(PAIR_RESAMPLES, len(gold)))
    left, right = (stats.rankdata(values[chosen], axis=1) for values in (predicted, gold))
    left, right = left - left.mean(axis=1, keepdims=True), right - right.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return _percentiles((left * right).sum(axis=1) / np.maximum(lengths, 1e-12))


def _percentiles(draws: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))
