"""The least error that any code of so many bytes can have, if the embeddings were normally distributed with their covariance.

Source: Cover and Thomas, "Elements of Information Theory", sections 10.3.2 and 10.3.3: test channel and reverse water-filling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq

from evaluation.methods.base import Method


class GaussianLimit:
    """Rate and distortion of a Gaussian source with the covariance of the rows, float (n, d) of unit norm."""

    def __init__(self, rows: np.ndarray) -> None:
        variances, axes = np.linalg.eigh(np.cov(np.asarray(rows, dtype=np.float64).T, bias=True))
        kept = variances > variances.max() * 1e-9
        self.variances, self.axes = variances[kept], axes[:, kept]

    def level(self, n_bytes: float) -> float:
        """The water level: the error that every direction with a larger variance keeps."""
        logarithms = np.log(self.variances)

        def excess(level: float) -> float:
            return float(np.maximum(logarithms - level, 0).sum() / 2 - 8 * n_bytes * np.log(2))

        lowest = logarithms.min() - 16 * n_bytes * np.log(2) / len(logarithms) - 1
        return float(np.exp(brentq(excess, lowest, logarithms.max())))

    def cosine(self, n_bytes: float) -> float:
        """Largest mean cosine of unit-norm embeddings with what is decoded from so many bytes: ``sqrt(1 - D)``."""
        return float(np.sqrt(1 - np.minimum(self.variances, self.level(n_bytes)).sum()))

    def n_bytes(self, cosine: float) -> float:
        """Fewest bytes per text at which this mean cosine can be reached."""
        if 1 - cosine**2 >= self.variances.sum():
            return 0.0
        return float(brentq(lambda n_bytes: self.cosine(n_bytes) - cosine, 0.01, 64 * len(self.variances)))

    @property
    def effective_dimensions(self) -> float:
        """Participation ratio of the variances: ``(sum v)^2 / sum v^2``."""
        return float(self.variances.sum() ** 2 / (self.variances**2).sum())


class Limit(Method):
    """What the best code would decode to: the Gaussian test channel applied to the embeddings themselves. Its codes are decoded rows, float32 (n, d)."""

    name = "limit"

    def settings(self) -> dict[str, Any]:
        return {"channel": "forward"}

    def learn(self, training: np.ndarray) -> None:
        limit = GaussianLimit(training)
        self.level, self.variances, self.axes = limit.level(self.n_bytes), limit.variances, limit.axes

    def encode(self, dense: np.ndarray) -> np.ndarray:
        kept = 1 - np.minimum(self.level / self.variances, 1)
        noise = np.random.default_rng(self.seed).standard_normal((len(dense), len(kept)))
        along = (dense - self.mean) @ self.axes * kept + noise * np.sqrt(self.level * kept)
        return np.asarray(along @ self.axes.T + self.mean, dtype=np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes

    def stored_bytes(self, codes: np.ndarray) -> float:
        return float(self.n_bytes)
