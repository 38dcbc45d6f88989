"""The refinement loop of :mod:`bsa_st.refine` in numba: one text at a time, its row in cache, texts over all threads."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, inline="always")
def _score(agreement: np.float32, length: np.float32, floor: np.float32) -> np.float32:
    if agreement <= 0 or length <= floor:
        return np.float32(0)
    return agreement * agreement / length


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"})
def refine_rows(
    correlations: np.ndarray,
    gram: np.ndarray,
    ids: np.ndarray,
    counts: np.ndarray,
    max_moves: int,
    budget: int,
    least_ratio: np.float32,
    floor: np.float32,
) -> None:
    """Refine every text in place.

    Args:
        correlations: V y, float32 (n, D).
        gram: V V^T, float32 (D, D).
        ids: Active ids, int32 (n, width); the first ``counts[t]`` of row t count. Changed.
        counts: Active features, int32 (n,). Changed if ``budget >= 0``.
        max_moves: Most moves per text.
        budget: Most active features, or -1 for swaps only.
        least_ratio: A move must multiply the score by more than this.
        floor: Squared length below which a decoded code counts as 0.
    """
    features = correlations.shape[1]
    for t in numba.prange(len(correlations)):
        q = correlations[t]
        sums = np.zeros(features, dtype=np.float32)
        active = np.zeros(features, dtype=np.bool_)
        count = counts[t]
        for place in range(count):
            active[ids[t, place]] = True
            row = gram[ids[t, place]]
            for i in range(features):
                sums[i] += row[i]
        for _ in range(max_moves):
            agreement, length = np.float32(0), np.float32(0)
            for place in range(count):
                agreement += q[ids[t, place]]
                length += sums[ids[t, place]]
            out, best_removal = -1, np.float32(-1)
            for place in range(count):
                j = ids[t, place]
                value = _score(agreement - q[j], length + gram[j, j] - 2 * sums[j], floor)
                if value > best_removal:
                    out, best_removal = place, value
            best = max(_score(agreement, length, floor) * least_ratio, np.float32(1e-30))
            leaving, entering = -1, -1
            if budget >= 0 and best_removal > best:
                best, leaving = best_removal, out
            if out >= 0:
                j = ids[t, out]
                row = gram[j]
                base_agreement, base_length = agreement - q[j], length + row[j] - 2 * sums[j]
                for i in range(features):
                    if not active[i]:
                        value = _score(base_agreement + q[i], base_length + gram[i, i] + 2 * (sums[i] - row[i]), floor)
                        if value > best:
                            best, leaving, entering = value, out, i
            if 0 <= count < budget:
                for i in range(features):
                    if not active[i]:
                        value = _score(agreement + q[i], length + gram[i, i] + 2 * sums[i], floor)
                        if value > best:
                            best, leaving, entering = value, -1, i
            if leaving < 0 and entering < 0:
                break
            if leaving >= 0:
                j = ids[t, leaving]
                row = gram[j]
                for i in range(features):
                    sums[i] -= row[i]
                active[j] = False
                count -= 1
                ids[t, leaving] = ids[t, count]
            if entering >= 0:
                row = gram[entering]
                for i in range(features):
                    sums[i] += row[i]
                active[entering] = True
                ids[t, count] = entering
                count += 1
        counts[t] = count
