"""The pages on engines and scale come from the measured rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.engines.__main__ import FLIPPED, GROWN, RESULTS, copied_codes
from evaluation.engines.report import write_reports

pytestmark = pytest.mark.evaluation


def row(**changes: Any) -> dict[str, Any]:
    figures = {
        "load_seconds": 10.0,
        "load_average": 2.0,
        "ms": 99.0,
        "cpu_ms": 20.0,
        "queries": 500,
        "resident_growth": 72_000_000,
    }
    found = {"found": 0.5, "found_by_all": 0.52}
    disk = {"disk_bytes": {"documents": 66_600_000, "index": 0}}
    return {"engine": "lancedb", "documents": 1_000_000, "index": False, **figures, **found, **disk, **changes}


def test_figures_are_divided_by_documents(tmp_path: Path) -> None:
    indexed = {
        "index": True,
        "index_seconds": 30.0,
        "index_load_average": 3.0,
        "disk_bytes": {"documents": 66_600_000, "index": 70_300_000},
    }
    results = tmp_path / "results" / "engines.json"
    results.parent.mkdir()
    results.write_text(json.dumps({"rows": [row(), row(**indexed, cpu_ms=6.0), row(engine="qdrant-edge", only_opened=True)]}))
    engines, scale = (path.read_text() for path in write_reports(results))
    assert "| LanceDB | 1,000,000 | none | 66.6 | - | 20.0 | 500 | 50.0 | 96.2 % | 100,000 | - | 2 |" in engines
    assert "| LanceDB | 1,000,000 | IVF_FLAT | 66.6 | 70.3 | 6.0 | 500 | 50.0 | 96.2 % | 100,000 | 30 | 3 |" in engines
    assert "holds 72 bytes per document in memory" in engines
    # 1,000 times 40 seconds, and ten machines
    assert "| LanceDB | IVF_FLAT | 1,000,000 | 137 | 137 GB | 11 | 1.1 | more than 6 ms |" in scale
    assert "| LanceDB | none | 1,000,000 | 67 | 67 GB | 3 | 0.3 | 2.0 s |" in scale
    assert len(scale.splitlines()) <= 80


def test_the_pages_in_the_repository_are_those_of_its_figures(tmp_path: Path) -> None:
    results = tmp_path / "results" / "engines.json"
    results.parent.mkdir()
    results.write_bytes(RESULTS.read_bytes())
    for path in write_reports(results):
        assert path.read_text() == (RESULTS.parent.parent / path.name).read_text()


def test_copies_differ_from_the_originals_in_the_share_of_bits_that_is_said() -> None:
    codes = np.zeros((GROWN // 1000, 64), np.uint8)
    whole = copied_codes(codes, 21_000).to_packed()
    assert not whole[: len(codes)].any()
    share = np.bitwise_count(whole[len(codes) :]).mean() / 8
    assert abs(share - FLIPPED) < 0.002
    assert np.array_equal(whole, copied_codes(codes, 21_000).to_packed())
