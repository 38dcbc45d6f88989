"""The plan for a billion texts: its page is that of the results, its arithmetic holds, its simulation found equality."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from evaluation.scale import RESULTS, million
from evaluation.scale_report import write_report


def test_the_committed_page_is_that_of_the_results(tmp_path: Path) -> None:
    shutil.copy(RESULTS, tmp_path)
    assert write_report(tmp_path / RESULTS.name).read_text() == (RESULTS.parent / "SCALE.md").read_text()


def test_every_input_is_marked_and_assumptions_give_a_reason() -> None:
    page = (RESULTS.parent / "SCALE.md").read_text()
    inputs = [line.split(" | ") for line in page.split("## Inputs")[1].split("\n## ")[0].splitlines() if line.startswith("|")][
        2:
    ]
    marked = [row for row in inputs if row[2] in ("measured", "assumed")]
    assert len(marked) >= 20
    assert all(len(row[3].strip(" |")) > 5 for row in marked)
    assert {row[2] for row in marked} == {"measured", "assumed"}


def test_the_arithmetic_of_the_page_is_that_of_its_inputs(tmp_path: Path) -> None:
    data = json.loads(RESULTS.read_text())
    row = next(row for row in data["million"] if row["group"] == "D=768 k=135")
    page = (RESULTS.parent / "SCALE.md").read_text()
    assert f"= {1e9 * row['disk_bytes'] / 1e9:,.0f} GB" in page
    data["plan"]["texts"][0] = 2e9
    changed = tmp_path / "scale.json"
    changed.write_text(json.dumps(data))
    assert f"= {2e9 * row['disk_bytes'] / 1e9:,.0f} GB" in write_report(changed).read_text()


def test_exact_scorings_of_the_simulation_equal_one_index() -> None:
    rows = json.loads(RESULTS.read_text())["shards"]
    assert [row["shards"] for row in rows] == [1, 2, 4, 8]
    for row in rows:
        for scoring in ("overlap", "cosine", "jaccard", "idf", "asymmetric"):
            assert row["same"][scoring] == 1, (row["shards"], scoring)
        assert row["same_ids"]["two-stage"] > 0.99


def test_the_plan_takes_figures_of_general_texts_only(tmp_path: Path) -> None:
    names = {"bsa_st overlap": 1.0, "bsa_st two-stage T=128 C=3000": 2.0}
    facts = {"group": "D=768 k=135", "documents": 1_000_000, "disk": 60.0, "bytes": 80.0, "build_docs_per_second": 9.0}
    rows = [{**facts, "name": name, "single_ms": time} for name, time in names.items()]
    others = [{**row, "single_ms": 50.0, "collection": "medquad"} for row in rows]
    (tmp_path / "search.json").write_text(json.dumps({"rows": [*rows, *others]}))
    (found,) = million(tmp_path / "search.json")
    assert (found["overlap_ms"], found["two_stage_ms"]) == (1.0, 2.0)
