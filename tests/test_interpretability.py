"""The measurements of interpretability give what they say on cases whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from bsa_st import DistillSettings
from bsa_st.concepts.dictionary import Candidates, fit_dictionary
from evaluation.interpretability.detection import judge, summary
from evaluation.interpretability.document import render
from evaluation.interpretability.methods import Texts, learnt_names
from evaluation.interpretability.probing import probe
from evaluation.interpretability.stability import stability

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


def test_one_feature_tells_a_class_that_it_fires_for_and_five_one_that_they_share() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, 2000)
    own = classes[:, None] == np.arange(4)
    shared = (random.integers(0, 5, 2000)[:, None] == np.arange(5)) & (classes == 0)[:, None]
    noise = random.random((2000, 30)) < 0.1
    for features, one, five in ((own, 1.0, 1.0), (noise, 0.5, 0.5), (shared, None, 1.0)):
        asked = classes if one is not None else np.minimum(classes, 1)
        rows = sparse.csr_matrix(np.hstack([features, noise]).astype(np.float32))
        found = probe(rows[:1000], asked[:1000], rows[1000:], asked[1000:])
        assert found["auc_5"] == pytest.approx(five, abs=0.06)
        assert found["auc_1"] == pytest.approx(0.6 if one is None else one, abs=0.06)


def test_a_dictionary_in_another_order_is_stable_and_a_foreign_one_is_not() -> None:
    random = np.random.default_rng(0)
    one, other = (unit(random.normal(size=(60, 40))) for _ in range(2))
    assert stability(one, one[random.permutation(60)]) == {"mean_cosine": 1.0, "alike": 1.0}
    assert stability(one, other)["alike"] == 0
    half = np.concatenate([one[:30], other[30:]])
    assert stability(one, half)["alike"] == pytest.approx(0.5, abs=0.02)


def test_names_are_kept_while_atoms_stay_near_them(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    texts, _, topics = (part.astype(np.float32) for part in case)
    dictionary = fit_dictionary(Candidates([f"topic {number}" for number in range(20)], topics), texts, k=2)
    settings = DistillSettings(hidden_dim=len(dictionary), k=2, steps=2, refit_rounds=0, batch_size=64)
    train = Texts([""] * len(texts), texts)
    features = learnt_names(dictionary, settings, train)
    assert features.labels == list(dictionary.names)
    assert features.directions is not None
    assert stability(features.directions, dictionary.atoms)["alike"] == 1
    assert features.strengths(train).shape == (2000, len(dictionary))


@pytest.mark.docs
def test_the_document_is_the_one_that_the_results_give() -> None:
    results = json.loads((HERE / "results" / "interpretability.json").read_text())
    assert (HERE / "INTERPRETABILITY.md").read_text(encoding="utf-8") == render(results)
