"""Mean, spread and resolution of scores against cosine, measured on pairs of real embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.embeddings import unit_rows
from evaluation.paper.inputs import Inputs
from evaluation.paper.smallheads import training_rows

CENTRES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
HALF_WIDTH = 0.05
PAIRS = 400
SLOPE_DEGREE = 3


class Pairs(NamedTuple):
    """Pairs of texts around each of some cosines.

    Attributes:
        left: float32 (p, d): embeddings, centred on the training mean.
        right: float32 (p, d).
        cosine: float (p,): cosines of the centred embeddings.
        group: integer (p,): which of :data:`CENTRES` the pair is near.
        mean: float32 (d,): what was subtracted.
    """

    left: np.ndarray
    right: np.ndarray
    cosine: np.ndarray
    group: np.ndarray
    mean: np.ndarray


def pairs_by_cosine(inputs: Inputs, per_group: int = PAIRS) -> Pairs:
    """Pairs of documents of the collections, up to so many around each centre."""
    mean = training_rows(inputs).mean(axis=0)
    rows = np.concatenate([inputs.collection(name).documents for name in inputs.retrieval]) - mean
    rng = np.random.default_rng(0)
    rows = rows[rng.permutation(len(rows))[:6000]]
    unit = unit_rows(rows)
    cosines = np.triu(unit @ unit.T, 1)
    chosen, group = [], []
    for place, centre in enumerate(CENTRES):
        near = np.argwhere(np.abs(cosines - centre) < HALF_WIDTH)
        near = near[rng.permutation(len(near))[:per_group]]
        chosen.append(near)
        group.append(np.full(len(near), place))
    left, right = np.concatenate(chosen).T
    return Pairs(rows[left], rows[right], cosines[left, right], np.concatenate(group), mean)


def spread(pairs: Pairs, scores: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """For each centre with enough pairs: ``mean``, ``slope`` and residual ``std`` of a score, and ``resolution`` = std / slope.

    The spread is that around a line within the group, so that its width adds none; the slope is that of a cubic through all
    pairs, which is steadier than the line's.

    Args:
        pairs: The pairs.
        scores: The score of each pair, float (p,), once for each independent draw of a random code; figures are means over draws.
    """
    found = []
    curve = np.polynomial.Polynomial.fit(pairs.cosine, np.mean(scores, axis=0), SLOPE_DEGREE).deriv()
    for place, centre in enumerate(CENTRES):
        mine = pairs.group == place
        if mine.sum() < 20:
            continue
        x = pairs.cosine[mine] - centre
        design = np.stack([np.ones_like(x), x], axis=1)
        values = np.stack([draw[mine] for draw in scores], axis=1)
        line, *_ = np.linalg.lstsq(design, values, rcond=None)
        rest = values - design @ line
        std = float(np.sqrt((rest**2).sum(axis=0).mean() / (mine.sum() - 2)))
        mean, steepness = float(line[0].mean()), float(curve(centre))
        facts = {"cosine": centre, "pairs": int(mine.sum()), "mean": mean, "slope": steepness, "std": std}
        found.append(facts | {"resolution": std / steepness})
    return found


def random_scores(
    pairs: Pairs, width: int, score: Callable[[np.ndarray, np.ndarray], np.ndarray], draws: int
) -> list[np.ndarray]:
    """Scores of codes made from Gaussian projections of the unit embeddings.

    Args:
        pairs: The pairs.
        width: Number D of projections.
        score: Takes the projections of both sides, float32 (p, D), gives (p,).
        draws: How often new directions are drawn.
    """
    left, right = unit_rows(pairs.left), unit_rows(pairs.right)
    found = []
    for seed in range(draws):
        directions = np.random.default_rng(seed).normal(size=(left.shape[1], width)).astype(np.float32)
        found.append(score(left @ directions, right @ directions))
    return found


def sign_agreement(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Equal signs of two sets of projections, float (p, D): float (p,)."""
    return np.asarray(((left > 0) == (right > 0)).sum(axis=1), dtype=np.float64)


def topk_overlap(k: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Shared places among the k largest."""

    def score(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray((_largest(left, k) & _largest(right, k)).sum(axis=1), dtype=np.float64)

    return score


def threshold_overlap(threshold: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Shared places above a threshold."""
    return lambda left, right: np.asarray(((left > threshold) & (right > threshold)).sum(axis=1), dtype=np.float64)


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures with six digits, as they are kept."""
    return [{name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()} for row in rows]


def _largest(projections: np.ndarray, k: int) -> np.ndarray:
    mask = np.zeros(projections.shape, dtype=bool)
    np.put_along_axis(mask, np.argpartition(-projections, k - 1, axis=1)[:, :k], True, axis=1)
    return mask
