"""The measurements of interpretability give what they say on cases whose answer is known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import ortho_group

from bsa_st import BSAError
from evaluation.interpretability.document import render
from evaluation.interpretability.probing import probe, read_labelled
from evaluation.interpretability.stability import chance, stability

pytestmark = pytest.mark.evaluation

HERE = Path(__file__).parent.parent / "evaluation"


def test_a_probe_finds_the_columns_that_tell_the_classes_apart() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 600)
    columns = (random.random((600, 50)) < 0.3).astype(np.float32)
    columns[:, 17] = np.where(random.random(600) < 0.95, labels, 1 - labels)
    names = [str(label) for label in labels]
    for matrix in (columns, sparse.csr_matrix(columns)):
        accuracy = probe(matrix[:400], names[:400], matrix[400:], names[400:], sizes=(1, 4, 64))
        assert set(accuracy) == {1, 4}
        assert accuracy[1] > 0.9
    noise = probe(columns[:400, :17], names[:400], columns[400:, :17], names[400:], sizes=(4,))
    assert noise[4] < 0.65


def test_a_constant_column_is_never_chosen() -> None:
    columns = np.stack([np.ones(40), np.tile([0, 1], 20)], axis=1).astype(np.float32)
    names = ["a", "b"] * 20
    assert probe(columns, names, columns, names, sizes=(1,)) == {1: 1.0}


def test_stability_ignores_order_and_length_and_sees_change() -> None:
    random = np.random.default_rng(1)
    rows = ortho_group.rvs(40, random_state=1)[:30]
    shuffled = rows[random.permutation(30)] * random.uniform(0.5, 3, (30, 1))
    assert stability(rows, shuffled) == {"matched_cosine": 1.0, "mean_max_cosine": 1.0, "same_share": 1.0}
    half = shuffled.copy()
    half[:15] = ortho_group.rvs(40, random_state=1)[30:40].repeat(2, axis=0)[:15]
    assert stability(rows, half)["same_share"] == pytest.approx(0.5)
    assert chance(rows)["matched_cosine"] < 0.7


def test_matching_is_one_to_one_where_the_maximum_is_not() -> None:
    one = np.eye(3)
    two = np.array([[1.0, 0, 0], [1, 0.01, 0], [1, 0, 0.01]])
    found = stability(one, two)
    assert found["matched_cosine"] < found["mean_max_cosine"]


def test_labelled_texts_are_read_and_what_is_missing_is_named(tmp_path: Path) -> None:
    for name in ("train", "test"):
        with gzip.open(tmp_path / f"{name}.tsv.gz", "wt", encoding="utf-8") as file:
            file.write('text\tlabel\na "quoted question\tDESC:manner\nother\tHUM:ind\n')
    found = read_labelled(tmp_path)
    assert found.train == ['a "quoted question', "other"]
    assert found.test_labels == ["DESC", "HUM"]
    with pytest.raises(BSAError, match=r"file not found: .*nowhere"):
        read_labelled(tmp_path / "nowhere")


@pytest.mark.docs
def test_the_document_is_the_one_that_the_results_give() -> None:
    results = json.loads((HERE / "interpretability.json").read_text())
    assert (HERE / "INTERPRETABILITY.md").read_text(encoding="utf-8") == render(results)
    for method in ("bsa-threshold", "bsa-topk", "csr", "dense", "sign"):
        for task in results["probing"].values():
            assert method in task["accuracy"]
    assert set(results["stability"]) == set(results["labels"]) == {"bsa-threshold", "bsa-topk", "csr"}
