"""The inner loops of :mod:`bsa_st.head.refine` in numba: one text at a time, its row in cache, texts over all threads."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc", "nsz"})
def step_rows(
    pull: np.ndarray,
    state: np.ndarray,
    before: np.ndarray,
    linear: np.ndarray,
    step: np.float32,
    pushed: np.float32,
    momentum: np.float32,
    total: np.float32,
) -> None:
    """One relaxed step of every text, in place.

    ``pull`` is ``V V^T h``, ``linear`` is ``step V (x - c)``, both float32 (n, D); ``state``, the relaxed codes h in [0, 1], and ``before``, those one step earlier, are
    brought one step on; ``total`` is what every row shall sum to, or -1 for anything.
    """
    features = state.shape[1]
    keep, half = 1 + pushed + momentum, pushed / 2
    for t in numba.prange(len(state)):
        now, old, grip, drive = state[t], before[t], pull[t], linear[t]
        for i in range(features):
            value = keep * now[i] - momentum * old[i] - step * grip[i] + drive[i] - half
            old[i] = now[i]
            now[i] = value
        if total >= 0:
            for _ in range(2):  # secant steps of the projection onto the capped simplex
                mass, inside = np.float32(0), np.float32(0)
                for i in range(features):
                    mass += min(max(now[i], np.float32(0)), np.float32(1))
                    inside += np.float32(1) if 0 < now[i] < 1 else np.float32(0)
                shift = (mass - total) / max(inside, np.float32(1))
                for i in range(features):
                    now[i] -= shift
        for i in range(features):
            now[i] = min(max(now[i], np.float32(0)), np.float32(1))


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc", "nsz"})
def improve_rows(
    active: np.ndarray,
    residuals: np.ndarray,
    towards: np.ndarray,
    lengths: np.ndarray,
    goals: np.ndarray,
    gram: np.ndarray,
    fewest: int,
    most: int,
    threshold: np.float32,
    weight: np.float32,
) -> None:
    """Improve every code, bool (n, D), in place until no move changes the objective by less than the (negative) threshold.

    ``residuals``, ``V (x - x_hat)``, and ``towards``, ``V x_hat``, float32 (n, D), change too; ``lengths`` are ``|x_hat|^2`` and ``goals`` the squared lengths wanted,
    float32 (n,), ``gram`` is ``V V^T``. A text with fewer or more active features than it may have gets or loses some first, whatever that costs.
    """
    features = residuals.shape[1]
    norms = np.diag(gram)  # side by side in cache
    nowhere = np.float32(np.inf)
    for t in numba.prange(len(residuals)):
        on, residual, toward = active[t], residuals[t], towards[t]
        now, goal = lengths[t], goals[t]
        count = 0
        for i in range(features):
            count += on[i]
        for _ in range(2 * features):
            removal, addition = nowhere, nowhere
            out, into = -1, -1
            for i in range(features):
                twice = np.float32(2 if on[i] else -2)
                error, length = norms[i] + twice * residual[i], norms[i] - twice * toward[i]  # how their squares would change
                value = error + weight * length * (2 * (now - goal) + length)
                if on[i] and value < removal:
                    removal, out = value, i
                elif not on[i] and value < addition:
                    addition, into = value, i
            leave, enter = -1, -1
            may_remove = out >= 0 and count > fewest and (removal < threshold or count > most)
            may_add = into >= 0 and count < most and (addition < threshold or count < fewest)
            if may_remove and (not may_add or removal <= addition):
                leave = out
            elif may_add:
                enter = into
            elif out >= 0 and into >= 0:
                best = threshold
                for fixed in (out, into):  # exchanged for any other of the opposite kind
                    row, twice = gram[fixed], np.float32(2 if on[fixed] else -2)
                    first, own = row[fixed] + twice * residual[fixed], row[fixed] - twice * toward[fixed]
                    for j in range(features):
                        if on[j] != on[fixed]:
                            norm = norms[j] - 2 * row[j]
                            error, length = first + norm - twice * residual[j], own + norm + twice * toward[j]
                            value = error + weight * length * (2 * (now - goal) + length)
                            if value < best:
                                best = value
                                leave, enter = (fixed, j) if on[fixed] else (j, fixed)
            if leave < 0 and enter < 0:
                break
            for moved, sign in ((leave, np.float32(-1)), (enter, np.float32(1))):
                if moved >= 0:
                    row = gram[moved]
                    now += row[moved] + sign * 2 * toward[moved]
                    for j in range(features):
                        residual[j] -= sign * row[j]
                        toward[j] += sign * row[j]
                    on[moved] = sign > 0
                    count += 1 if sign > 0 else -1
