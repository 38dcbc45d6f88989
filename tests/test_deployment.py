"""DEPLOYMENT.md shows the figures of its results file, and the comparison behind them can tell codes apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import bsa_st
from evaluation.stock import deployment, embedding
from tests.smallmodel import WORDS, small_model

pytestmark = pytest.mark.evaluation

PAGE = Path(__file__).parent.parent / "DEPLOYMENT.md"


@pytest.mark.docs
def test_the_table_is_the_one_in_the_results_file() -> None:
    shown = PAGE.read_text(encoding="utf-8").split("<!-- table -->\n")[1].split("<!-- end -->")[0]
    assert shown == deployment.markdown(json.loads(deployment.RESULTS.read_text()))


def test_ways_that_work_here_are_compared_and_others_skipped(tmp_path: Path) -> None:
    model = small_model(tmp_path / "encoder")
    bsa_st.save(model, tmp_path / "model")
    bsa_st.save(small_model(tmp_path / "encoder", seed=1), tmp_path / "other")
    ways: dict[str, Callable[[str, list[str]], deployment.Encoded]] = {
        "same": lambda folder, texts: deployment.encode(deployment.load_plain(folder), texts),
        "other": lambda folder, texts: deployment.encode(deployment.load_plain(str(tmp_path / "other")), texts),
        "broken": lambda folder, texts: deployment.encode(deployment.load_plain(folder, backend="nonsense"), texts),
    }
    rows = deployment.compare(str(tmp_path / "model"), WORDS, ways)
    assert list(rows) == ["same", "other"]
    assert rows["same"]["exact"]
    assert rows["same"]["identical"] == 1
    assert rows["same"]["bits"] > rows["other"]["bits"]


@pytest.mark.docs
def test_the_speeds_are_those_of_the_results_file() -> None:
    shown = PAGE.read_text(encoding="utf-8").split("<!-- speed -->\n")[1].split("<!-- end of speed -->")[0]
    assert shown == embedding.table(json.loads(embedding.RESULTS.read_text())) + "\n"
