"""Two vectors as sums of the same few named atoms: what names explain of their dot product, and what they leave.

Source: simultaneous orthogonal matching pursuit, J. Tropp, A. Gilbert and M. Strauss, "Algorithms for simultaneous sparse approximation, part I" (2006),
with coefficients that are not negative (A. Bruckstein, M. Elad and M. Zibulevsky, "On the uniqueness of nonnegative sparse solutions", 2008).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls


class Decomposition(NamedTuple):
    """Chosen atoms with their coefficients.

    Attributes:
        ids: int (m,), in the order in which they were chosen.
        a: float64 (m,), not negative: ``a @ atoms[ids]`` approximates the first vector; likewise
        b: the second.
        parts: float64 (m,): what each atom adds to ``x_hat_a . x_hat_b``; their sum is that product.
    """

    ids: np.ndarray
    a: np.ndarray
    b: np.ndarray
    parts: np.ndarray


def decompose(atoms: np.ndarray, first: np.ndarray, second: np.ndarray, most: int) -> Decomposition:
    """At most ``most`` atoms, each chosen for what the earlier ones leave of both vectors.

    Args:
        atoms: Unit rows, float32 (D, d).
        first: float (d,).
        second: float (d,).
        most: Atoms to choose.

    Returns:
        The products of two different atoms are divided evenly between both.
    """
    pair = np.stack([first, second], axis=1).astype(np.float64)
    left = pair.copy()
    ids: list[int] = []
    found = np.zeros((0, 2))
    for _ in range(min(most, len(atoms))):
        gains = np.square(np.maximum(atoms @ left.astype(np.float32), 0)).sum(axis=1)
        gains[ids] = 0
        best = int(gains.argmax())
        if gains[best] <= 1e-9:
            break
        ids.append(best)
        chosen = atoms[ids].astype(np.float64).T
        found = np.stack([nnls(chosen, pair[:, side])[0] for side in (0, 1)], axis=1)
        left = pair - chosen @ found
    chosen = atoms[ids].astype(np.float64)
    sums = found.T @ chosen
    parts = (found[:, 0] * (chosen @ sums[1]) + found[:, 1] * (chosen @ sums[0])) / 2
    return Decomposition(np.array(ids, dtype=np.int64), found[:, 0], found[:, 1], parts)
