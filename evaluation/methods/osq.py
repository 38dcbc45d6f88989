"""Elasticsearch's BBQ: the optimised scalar quantisation of Lucene at one bit, written again from its published formulas."""

from __future__ import annotations

import numpy as np

from evaluation.methods.base import TINY, Method

WEIGHT = 0.1
"""Weight of errors across the embedding beside those along it; Lucene's default."""
ROUNDS = 5
START = {1: 0.798, 4: 2.514}
"""Half the interval, in standard deviations, that is best for a normal variable at so many bits."""
QUERY_BITS = 4
SIDE_BYTES = 14
"""Two ends of the interval and the product with the centroid in float32, and the number of ones in 16 bits."""


class OSQ(Method):
    """One bit per dimension in an interval of each vector's own, fitted by coordinate descent to an anisotropic error.

    ``own`` is the published score, queries in four bits by the same rule; ``float`` multiplies float queries instead.
    """

    name, sized, seeds, estimates = "BBQ (OSQ)", False, 1, ("own", "float")

    def encode(self, dense: np.ndarray) -> np.ndarray:
        levels, ends = quantise(dense - self.mean, 1)
        side = np.concatenate([ends, (dense @ self.mean)[:, None]], axis=1).astype(np.float32)
        ones = levels.sum(axis=1, dtype=np.uint16)[:, None]
        return np.concatenate([np.packbits(levels, axis=1), side.view(np.uint8), ones.view(np.uint8)], axis=1)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(codes[:, :-SIDE_BYTES], axis=1, count=len(self.mean)).astype(np.float32)
        low, high, _ = self._side(codes).T[:, :, None]
        return np.asarray(low + (high - low) * bits + self.mean)

    def scores(self, queries: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        rest = self.decode(codes) - self.mean
        return self._queries(queries, estimate) @ rest.T + self._side(codes)[:, 2] + self._constant(queries)[:, None]

    def pair_scores(self, left: np.ndarray, codes: np.ndarray, estimate: str) -> np.ndarray:
        rest = self.decode(codes) - self.mean
        products = np.einsum("nd,nd->n", self._queries(left, estimate), rest)
        return np.asarray(products + self._side(codes)[:, 2] + self._constant(left))

    def _constant(self, queries: np.ndarray) -> np.ndarray:
        """``q . m - m . m``, float32 (n,)."""
        return np.asarray(queries @ self.mean - self.mean @ self.mean)

    def _queries(self, queries: np.ndarray, estimate: str) -> np.ndarray:
        """Centred queries, in four bits where the score is the published one."""
        centred = queries - self.mean
        if estimate == "float":
            return centred
        levels, ends = quantise(centred, QUERY_BITS)
        low, high = ends.T[:, :, None]
        return np.asarray(low + (high - low) / (2**QUERY_BITS - 1) * levels, dtype=np.float32)

    def _side(self, codes: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(codes[:, -SIDE_BYTES:-2]).view(np.float32)


def quantise(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels uint8 (n, d) and the two ends of each row's interval, float64 (n, 2).

    Args:
        rows: Centred embeddings, float (n, d).
        bits: Bits per dimension.
    """
    x = rows.astype(np.float64)
    steps = 2**bits - 1
    squared = np.maximum(np.einsum("nd,nd->n", x, x), TINY)
    half = START[bits] * x.std(axis=1)
    ends = np.clip(x.mean(axis=1) + half * np.array([[-1.0], [1.0]]), x.min(axis=1), x.max(axis=1)).T
    loss, going = loss_of(x, ends, steps, squared), np.ones(len(x), dtype=bool)
    for _ in range(ROUNDS):
        share = _levels(x, ends, steps) / steps
        first, second = np.einsum("nd,nd->n", x, 1 - share), np.einsum("nd,nd->n", x, share)
        scale = (1 - WEIGHT) / squared
        aa = scale * first**2 + WEIGHT * ((1 - share) ** 2).sum(axis=1)
        ab = scale * first * second + WEIGHT * ((1 - share) * share).sum(axis=1)
        bb = scale * second**2 + WEIGHT * (share**2).sum(axis=1)
        determinant = aa * bb - ab**2
        going &= determinant != 0
        safe = np.where(determinant == 0, 1, determinant)
        better = np.stack([(bb * first - ab * second) / safe, (aa * second - ab * first) / safe], axis=1)
        found = loss_of(x, better, steps, squared)
        going &= found <= loss
        ends, loss = np.where(going[:, None], better, ends), np.where(going, found, loss)
    return _levels(x, ends, steps).astype(np.uint8), ends


def _levels(x: np.ndarray, ends: np.ndarray, steps: int) -> np.ndarray:
    low, high = ends.T[:, :, None]
    width = np.where(high == low, 1, high - low)
    return np.floor((np.clip(x, np.minimum(low, high), np.maximum(low, high)) - low) * (steps / width) + 0.5)


def loss_of(x: np.ndarray, ends: np.ndarray, steps: int, squared: np.ndarray) -> np.ndarray:
    """The anisotropic error that an interval makes, float64 (n,), for rows (n, d) whose squared lengths are given."""
    low, high = ends.T[:, :, None]
    error = x - (low + (high - low) / steps * _levels(x, ends, steps))
    along = np.einsum("nd,nd->n", x, error)
    return np.asarray((1 - WEIGHT) * along**2 / squared + WEIGHT * np.einsum("nd,nd->n", error, error))
