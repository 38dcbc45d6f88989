"""Detection: does a label alone tell which held-out texts fire its feature?

An encoder that had no part in making the features compares label and text by the cosine of their embeddings. A perfect label has an AUC of 1, an empty one .5.

Source: detection scoring of G. Paulo et al., "Automatically Interpreting Millions of Features in Large Language Models" (2024), section 3, with an encoder as
the judge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

GOOD = 0.8
LEAST_FIRING = 5
MATCHED_RATE = 0.003
ACCEPTED = 0.95
"""The judge accepts a text that is nearer to the label than this share of all texts."""
STRONGEST = 10
RESAMPLES = 1000


class Judged(NamedTuple):
    """Figures of each measured feature, float (m,): AUC, balanced accuracy, purity of the strongest and of all firing texts."""

    auc: np.ndarray
    accuracy: np.ndarray
    pure_strongest: np.ndarray
    pure_all: np.ndarray


def judge(strengths: sparse.csc_matrix, labels: np.ndarray, texts: np.ndarray, rate: float | None = None) -> Judged:
    """Judge the features that fire on at least five texts.

    Args:
        strengths: (n, m), 0 where a feature does not fire.
        labels: The judge's embeddings of the labels, float (m, d), unit norm.
        texts: The judge's embeddings of the texts, float (n, d), unit norm.
        rate: Only this share of the texts, those with the largest strengths, count as firing, so that methods are compared at one rate; others that fire are left
            out.
    """
    found = []
    random = np.random.default_rng(0)
    n = len(texts)
    for feature in range(strengths.shape[1]):
        part = slice(strengths.indptr[feature], strengths.indptr[feature + 1])
        rows, values = strengths.indices[part], strengths.data[part]
        order = np.argsort(-values, kind="stable")
        firing = rows[order] if rate is None else rows[order][: max(LEAST_FIRING, round(rate * n))]
        if len(firing) < LEAST_FIRING:
            continue
        scores = texts @ labels[feature]
        silent = np.ones(n, dtype=bool)
        silent[rows] = False
        others = np.sort(scores[silent])
        if len(others) < LEAST_FIRING:
            continue
        above = np.searchsorted(others, scores[firing], "left") + np.searchsorted(others, scores[firing], "right")
        sample = random.choice(others, len(firing), replace=len(others) < len(firing))
        cut = np.median(np.concatenate([scores[firing], sample]))
        accepted = scores[firing] > np.quantile(scores, ACCEPTED)
        found.append(
            (
                above.mean() / (2 * len(others)),
                ((scores[firing] > cut).mean() + (sample <= cut).mean()) / 2,
                accepted[:STRONGEST].mean(),
                accepted.mean(),
            )
        )
    return Judged(*np.array(found).reshape(-1, 4).T)


def summary(judged: Judged) -> dict[str, Any]:
    """Means over features, and the share with an AUC of at least .8 with its 95 % bootstrap interval over features."""
    count = len(judged.auc)
    if count == 0:
        return {"measured": 0}
    good = judged.auc >= GOOD
    resampled = good[np.random.default_rng(0).integers(0, count, (RESAMPLES, count))].mean(axis=1)
    return {
        "measured": count,
        "share": round(float(good.mean()), 4),
        "interval": [round(float(edge), 4) for edge in np.quantile(resampled, [0.025, 0.975])],
        **{f"mean_{name}": round(float(values.mean()), 4) for name, values in judged._asdict().items()},
    }
