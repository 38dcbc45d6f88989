"""k-sparse probing: how well few features, chosen for the task, classify texts.

Source: W. Gurnee et al., "Finding Neurons in a Haystack: Case Studies with Sparse Probing" (2023), section 3.
"""

from __future__ import annotations

import csv
import gzip
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bsa_st import BSAError

DATASETS = ("cls_banking77", "cls_trec_questions")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class LabelledTexts(NamedTuple):
    """Texts with their classes, as the data set splits them."""

    train: list[str]
    train_labels: list[str]
    test: list[str]
    test_labels: list[str]


def read_labelled(folder: Path) -> LabelledTexts:
    """A folder with ``train.tsv.gz`` and ``test.tsv.gz`` (columns text, label); of ``coarse:fine`` labels the coarse part.

    Raises:
        BSAError: If a file is missing or has no such columns.
    """
    parts: list[list[str]] = []
    for name in ("train.tsv.gz", "test.tsv.gz"):
        path = folder / name
        if not path.is_file():
            raise BSAError(f"file not found: {path}")
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row.get("text")]
        if not rows or "label" not in rows[0]:
            raise BSAError(f"{path}: no rows with the columns text and label")
        parts += [[row["text"] for row in rows], [row["label"].split(":")[0] for row in rows]]
    return LabelledTexts(*parts)


def probe(
    train: np.ndarray | sparse.csr_matrix,
    train_labels: Sequence[str],
    test: np.ndarray | sparse.csr_matrix,
    test_labels: Sequence[str],
    sizes: Sequence[int] = SIZES,
) -> dict[int, float]:
    """Accuracy of a logistic regression on the best ``k`` columns, for each k.

    The best columns have the largest F value between the classes on the training texts; ties go to the lower number.

    Args:
        train: float (n, D).
        train_labels: n classes.
        test: float (m, D).
        test_labels: m classes.
        sizes: Numbers of columns; those above D are left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Features .* are constant")
        strength = np.nan_to_num(f_classif(train, train_labels)[0], nan=-1.0, posinf=np.inf)
    order = np.argsort(-strength, kind="stable")
    found = {}
    for size in (size for size in sizes if size <= train.shape[1]):
        columns = np.sort(order[:size])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
        model.fit(_dense(train[:, columns]), train_labels)
        found[size] = round(float(model.score(_dense(test[:, columns]), test_labels)), 4)
    return found


def _dense(matrix: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.toarray() if isinstance(matrix, sparse.csr_matrix) else matrix)
