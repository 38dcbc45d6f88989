"""The study of the reviewers' questions: a run continues, heads are measured as the page says, the page is that of the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bsa_st import BSAError, DistillSettings
from evaluation.data.inputs import Inputs
from evaluation.data.neighbours import General, shares
from evaluation.study import objectives
from evaluation.study.__main__ import app
from evaluation.study.heads import KINDS, train
from evaluation.study.page import PAGE, RESULTS, read_results, render
from evaluation.study.runner import Cells, measure

pytestmark = pytest.mark.evaluation


class Counted:
    """A section of two cells, one of which lacks its data, that counts how often they are measured."""

    title = "Counted"

    def __init__(self) -> None:
        self.times = 0

    def cells(self) -> Cells:
        return {"there": self._there, "absent": self._absent}

    def render(self, results: Any) -> str:
        return ""

    def _there(self, inputs: Inputs) -> dict[str, Any]:
        self.times += 1
        return {"value": 1}

    def _absent(self, inputs: Inputs) -> dict[str, Any]:
        raise BSAError("no such data")


def inputs_of(embeddings: np.ndarray, fingerprint: str = "of the test") -> Inputs:
    """Real embeddings in place of the general sentences."""
    inputs = Inputs("none", Path("nowhere"), with_tasks=False)
    rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    vars(inputs)["general"] = General(rows[:100], rows[100:1500], rows[1500:3500])
    vars(inputs)["fingerprint"] = fingerprint
    return inputs


def test_a_finished_cell_is_measured_again_only_for_other_data(tmp_path: Path) -> None:
    section = Counted()
    for fingerprint, times in (("a", 1), ("a", 1), ("b", 2)):
        measure("counted", section, inputs_of(np.ones((1, 2)), fingerprint), tmp_path)
        assert section.times == times
    assert '"value": 1' in (tmp_path / "counted.json").read_text()
    assert "absent" not in (tmp_path / "counted.json").read_text()


def test_a_head_is_measured_and_shown(embeddings: np.ndarray) -> None:
    inputs = inputs_of(embeddings)
    settings = DistillSettings(hidden_dim=128, k=12, selection="topk", steps=5, batch_size=64, refit_rounds=0, unroll_trials=0)
    one = train(inputs, settings)
    found = {kind: 100 * shares(one[kind]["counts"]).mean() for kind in KINDS}
    assert found["plain"] < found["refined"] < found["refit"] + 3
    assert one["active"] == 12
    assert f"{found['refit']:.1f} ±" in objectives.render({"cell": {**one, "objective": "bsa"}})


def test_an_unknown_section_names_the_nearest() -> None:
    with pytest.raises(BSAError, match="unknown section 'domain'; did you mean 'domains'"):
        app(["--sections", "domain", "--report-only"], standalone_mode=False)


@pytest.mark.docs
def test_the_page_is_the_one_that_the_results_give() -> None:
    page = PAGE.read_text()
    assert page == render(read_results(RESULTS))
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page):
        assert (PAGE.parent / name).is_file()
