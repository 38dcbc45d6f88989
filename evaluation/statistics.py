"""Uncertainty: bootstrap intervals over queries or pairs, and paired randomisation tests between two methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 1000
PAIR_RESAMPLES = 200
PERMUTATIONS = 9999


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


def paired_test(left: Sequence[np.ndarray], right: Sequence[np.ndarray], seed: int = 0) -> float:
    """Two-sided p-value that two methods have the same mean over tasks, by randomly swapping them query by query.

    Args:
        left: For each task the values of its queries under one method, float (n,).
        right: The same queries under the other.
        seed: Seed of the swaps.

    Source: Smucker, Allan and Carterette, "A comparison of statistical significance tests for IR evaluation" (2007).
    """
    weights = np.concatenate([np.full(len(task), 1 / len(task) / len(left)) for task in left])
    a, b = np.concatenate(list(left)) * weights, np.concatenate(list(right)) * weights
    if np.array_equal(a, b):
        return 1.0
    result = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _percentiles(draws: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))
