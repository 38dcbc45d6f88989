"""The measurements of interpretability give what they say on cases whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from evaluation.interpretability.detection import judge, summary
from evaluation.interpretability.document import render

pytestmark = pytest.mark.evaluation

HERE = Path(__file__).parent.parent / "evaluation"


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 texts about 20 topics, which one of them each, and the topics' directions."""
    random = np.random.default_rng(0)
    topics = unit(random.normal(size=(20, 40)))
    about = random.integers(0, 20, 2000)
    return unit(topics[about] + 0.05 * random.normal(size=(2000, 40))), about, topics


def test_right_labels_are_good_and_wrong_ones_are_chance(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    texts, about, topics = case
    fires = sparse.csc_matrix((about[:, None] == np.arange(20)).astype(np.float32))
    right = summary(judge(fires, topics, texts))
    assert right["measured"] == 20
    assert right["share"] == 1
    assert right["interval"] == [1, 1]
    assert right["mean_accuracy"] > 0.95
    assert right["mean_pure_strongest"] > 0.95
    random = np.random.default_rng(1)
    shuffled = sparse.csc_matrix((random.permutation(about)[:, None] == np.arange(20)).astype(np.float32))
    wrong = summary(judge(shuffled, topics, texts))
    assert wrong["mean_auc"] == pytest.approx(0.5, abs=0.03)
    assert wrong["mean_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert wrong["share"] == 0


def test_only_the_strongest_count_at_one_rate(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A feature that is strong on its topic and weak on another one."""
    texts, about, topics = case
    strengths = 2.0 * (about == 3) + 1.0 * (about == 4)
    column = sparse.csc_matrix(strengths[:, None].astype(np.float32))
    everything = judge(column, topics[3:4], texts)
    matched = judge(column, topics[3:4], texts, rate=0.02)
    assert everything.auc[0] < 0.85
    assert matched.auc[0] > 0.99
    assert matched.pure_all[0] == 1
    assert everything.pure_strongest[0] == 1


def test_features_that_hardly_fire_are_not_measured(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    texts, _, topics = case
    column = np.zeros((2000, 2), dtype=np.float32)
    column[:4, 0] = 1
    column[:5, 1] = 1
    assert len(judge(sparse.csc_matrix(column), topics[:2], texts).auc) == 1
    assert summary(judge(sparse.csc_matrix(column[:, :1]), topics[:1], texts)) == {"measured": 0}


@pytest.mark.docs
def test_the_document_is_the_one_that_the_results_give() -> None:
    results = json.loads((HERE / "interpretability.json").read_text())
    assert (HERE / "INTERPRETABILITY.md").read_text(encoding="utf-8") == render(results)
