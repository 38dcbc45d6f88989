"""Model cards: valid front matter, examples that run, and figures that are those of the training."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.head.layer import head_of
from bsa_st.hub.card import PLACEHOLDER, TAGS
from tests.smallmodel import small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return small_model(tmp_path_factory.mktemp("encoder"))


def test_the_examples_of_a_card_run(model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.save(model, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)).replace(PLACEHOLDER, "./model")
    program += "\nassert bits.shape == (3, 8) and dense.shape == (3, 16)"
    program += "\nassert np.allclose(scores, model.similarity(weights, model.encode_document(texts))[0], atol=1e-3)\n"
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
