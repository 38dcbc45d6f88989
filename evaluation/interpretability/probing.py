"""Sparse probing: how well do a few features tell a class of texts from the others?

Source: W. Gurnee et al., "Finding Neurons in a Haystack: Case Studies with Sparse Probing" (2023): features chosen by the difference of their means.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

SIZES = (1, 5)


def probe(
    train: sparse.csr_matrix, train_classes: np.ndarray, test: sparse.csr_matrix, classes: np.ndarray
) -> dict[str, float]:
    """Mean AUC over classes, on test texts, of logistic regression on the 1 and 5 features whose means differ most between a class and the rest.

    Args:
        train: Strengths of features, (n, D).
        train_classes: The class of each text, (n,).
        test: Strengths of the test texts, (m, D).
        classes: Their classes, (m,).
    """
    columns, asked = train.tocsc(), test.tocsc()
    means = np.asarray(columns.mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(columns.multiply(columns).mean(axis=0)).ravel() - means**2, 1e-12))
    found: dict[int, list[float]] = {size: [] for size in SIZES}
    for one in np.unique(classes):
        inside = train_classes == one
        best = np.argsort(-np.abs(np.asarray(columns[inside].mean(axis=0)).ravel() - means) / spread, kind="stable")
        for size in SIZES:
            chosen = best[:size]
            scaled = (part[:, chosen].toarray() / spread[chosen] for part in (columns, asked))
            model = LogisticRegression(class_weight="balanced").fit(next(scaled), inside)
            found[size].append(float(roc_auc_score(classes == one, model.decision_function(next(scaled)))))
    return {f"auc_{size}": round(float(np.mean(values)), 4) for size, values in found.items()}
