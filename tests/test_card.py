"""Model cards: valid front matter, examples that run, and figures that are those of the results files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.card import PLACEHOLDER, TAGS
from bsa_st.monitor import head_of
from evaluation.cards import HERE, all_cards
from tests.smallmodel import small_model

COMMITTED = HERE.parent / "model_cards"
CARDS = {path.name: path.read_text(encoding="utf-8") for path in sorted(COMMITTED.glob("*.md")) if path.name != "README.md"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return small_model(tmp_path_factory.mktemp("encoder"))


def test_the_examples_of_a_card_run(model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.save(model, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)).replace(PLACEHOLDER, "./model")
    program += "\nassert len(points) == 3 and bits.shape == (3, 8) and dense.shape == (3, 16)\n"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_saved_model_has_a_card_with_the_figures_of_its_training(model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.save(model, tmp_path / "model")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "sentence-transformers"
    assert card.data.base_model == "org/small-encoder"
    assert card.data.tags == TAGS
    report = head_of(model).report
    assert f"| active features, plain: mean | {report['figures']['active_mean']:.1f} |" in card.text
    assert f"- {report['texts']} training texts" in card.text
    assert report["hardware"] in card.text
    assert "Not evaluated on a task." in card.text
    bsa_st.save(bsa_st.load(tmp_path / "model"), tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == (tmp_path / "model" / "README.md").read_text()


def test_a_card_without_figures_says_so_and_a_damaged_report_is_named(model: SentenceTransformer, tmp_path: Path) -> None:
    head = head_of(model)
    report, head.report = head.report, {}
    try:
        bsa_st.save(model, tmp_path / "model")
        assert "- Not recorded." in (tmp_path / "model" / "README.md").read_text()
        head.report = {"texts": "many"}
        with pytest.raises(BSAError, match="the report of the head's training is damaged"):
            bsa_st.save(model, tmp_path / "model")
    finally:
        head.report = report


def test_committed_cards_are_those_that_the_results_give() -> None:
    assert all_cards(HERE / "results", HERE / "demo.json") == CARDS


def test_the_wanted_configurations_have_cards() -> None:
    names = " ".join(CARDS)
    for label in ("general-threshold-4096", "general-topk-4096", "general-topk-768", "general-topk-1536", "hpo"):
        assert label in names


@pytest.mark.parametrize("name", CARDS)
def test_a_committed_card_has_complete_front_matter(name: str) -> None:
    card = ModelCard(CARDS[name])
    for key in ("license", "library_name", "pipeline_tag", "base_model", "datasets", "metrics", "language"):
        assert getattr(card.data, key), key
    assert {"sparse", "binary", "bsa"} <= set(card.data.tags or [])
    assert card.data.eval_results
    for title in ("Usage", "Quality, bytes and speed", "The codes", "Training", "Limits", "Citation"):
        assert f"\n## {title}\n" in card.text


@pytest.mark.parametrize("name", [name for name in CARDS if "hpo" not in name])
def test_figures_of_a_card_are_in_the_results_files(name: str) -> None:
    """Read back independently of how the card was made."""
    card = ModelCard(CARDS[name])
    source = re.search(r"`evaluation/(results/.*?\.json)`", card.text)
    match = re.search(r"-(general|adapted)-(.*)\.md", name)
    assert source
    assert match
    rows = json.loads((HERE / source[1]).read_text())
    own = {row["method"]: row for row in rows if row["method"].startswith(f"bsa-{match[2]}")}
    assert own
    for result in card.data.eval_results or []:
        scoring = result.metric_name.split(", ")[-1] if result.metric_name else ""
        assert any(
            row["score"] == result.metric_value
            and (row["task"], row["scoring"], row["metric"]) == (result.dataset_type, scoring, result.metric_type)
            and row["method"].startswith(f"bsa-{match[2].split('-')[0]}")
            for row in rows
        )
    retrieval = [row for row in rows if row["metric"] == "ndcg_at_10" and row["task"] != "hpo"]
    for method, scoring in (("float32", "symmetric"), ("sign", "asymmetric")):
        scores = [row["score"] for row in retrieval if (row["method"], row["scoring"]) == (method, scoring)]
        assert re.search(rf"^\| {method} \| {scoring} \| [\d.]+ \| {np.mean(scores):.4f} ", card.text, flags=re.MULTILINE)
    details = json.loads((HERE / source[1].replace(".json", ".details.json")).read_text())
    figures = details["figures"][next(iter(own))]
    assert f"features never fired on the training sample | {figures['never_fired']:g} |" in card.text
