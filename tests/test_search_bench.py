"""The search benchmark on small sets: what it keeps, how it goes on, and what its report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bsa_st import BSAError

pytest.importorskip("faiss")

from evaluation import bench_search, search_data
from evaluation.search_bars import bars
from evaluation.search_report import write_report

CONFIGURATION = "64-8-700-2"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_search, "SECONDS", 0.0)
    monkeypatch.setattr(bench_search, "ROUNDS", 1)


def run(tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    arguments: dict[str, Any] = {
        "data": None,
        "embeddings": tmp_path / "embeddings.npy",
        "documents": "600,900",
        "configurations": CONFIGURATION,
        "collection": "",
        "real": 700,
        "steps": 2,
        "train_limit": 10,
        "work": tmp_path / "work",
        "output": tmp_path / "out" / "search.json",
        "scans_only": True,
        "again": False,
        "report_only": False,
        "prepare_only": False,
    }
    bench_search.bench(**(arguments | options))
    rows: list[dict[str, Any]] = json.loads((tmp_path / "out" / "search.json").read_text())["rows"]
    return rows


def test_a_run_measures_every_group_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "embeddings.npy", rng.standard_normal((1300, 16)).astype(np.float32))
    rows = run(tmp_path)
    groups = {(row["group"], row["documents"]) for row in rows}
    assert groups == {("D=64 k=8", 600), ("D=64 k=8", 900), ("dense", 600), ("dense", 900)}
    mine = [row for row in rows if row["name"] == "bsa_st overlap"]
    assert all(row["beside"].keys() == {r["name"] for r in rows if r["group"] == "dense"} for row in mine)
    complete = [row for row in rows if row["name"].startswith("bsa_st two-stage") and row["documents"] == 600]
    assert [row["recall"] for row in complete] == [1.0] * len(complete), "all documents are candidates there"
    report = (tmp_path / "out" / "SEARCH.md").read_text()
    assert "| D=64 k=8 | 700 | 2 |" in report
    assert "Not measured in this run: HNSW, IVF, Seismic, bm25s, usearch." in report

    def fail(*arguments: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(bench_search, "_timed", fail)
    assert run(tmp_path) == rows
    with pytest.raises(AssertionError, match="measured again"):
        run(tmp_path, documents="600,800")


def test_rows_of_another_collection_stand_beside_those_of_general_texts(tmp_path: Path) -> None:
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(0).standard_normal((1300, 16)).astype(np.float32))
    general = run(tmp_path, documents="600")
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(1).standard_normal((1200, 16)).astype(np.float32))
    both = run(tmp_path, documents="600", collection="plants")
    assert both[: len(general)] == general
    assert {row.get("collection", "") for row in both[len(general) :]} == {"plants"}
    assert [row["name"] for row in both[len(general) :]] == [row["name"] for row in general]
    report = (tmp_path / "out" / "SEARCH.md").read_text()
    assert "| plants, D=64 k=8 | 700 | 2 |" in report
    assert "plants: 1200 ready embeddings" in report


def test_texts_of_a_folder_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Store:
        def __init__(self, encoder: object) -> None:
            pass

        def training(self, texts: list[str]) -> np.ndarray:
            seen.extend(texts)
            return np.random.default_rng(0).standard_normal((1300, 16)).astype(np.float32)

    monkeypatch.setattr(bench_search, "EmbeddingStore", Store)
    monkeypatch.setattr(bench_search, "load_encoder", lambda name: None)
    folder = tmp_path / "data" / "text_mix"
    folder.mkdir(parents=True)
    import gzip

    with gzip.open(folder / "mix.txt.gz", "wt") as file:
        file.write("one text\nanother text\n")
    rows = run(tmp_path, data=tmp_path / "data", embeddings=None, documents="600")
    assert sorted(seen) == ["another text", "one text"]
    assert rows


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "embeddings.npy", np.ones((1300, 16), np.float32))
    with pytest.raises(BSAError, match=r"a configuration is written D-k or D-k-real-steps, e\.g\. 4096-64, got '64'"):
        run(tmp_path, configurations="64")
    with pytest.raises(BSAError, match="no configuration given"):
        run(tmp_path, configurations="")


def row(group: str, name: str, single: float, **facts: Any) -> dict[str, Any]:
    return {
        "group": group,
        "name": name,
        "single_ms": single,
        "batch_ms": single,
        "documents": 1_000_000,
        "recall": None,
    } | facts


def test_a_bar_is_met_only_by_a_setting_that_is_fast_and_finds_enough() -> None:
    group = "D=4096 k=64"
    fast = row(group, "bsa_st two-stage T=64 C=1500", 2.0, recall=0.9)
    good = row(group, "bsa_st two-stage T=128 C=6000", 6.0, recall=0.995)
    bar = next(bar for bar in bars([fast, good]) if bar.name.startswith("two-stage"))
    assert not bar.met
    assert bar.measured == "167 queries/s, recall 0.995 (T=128 C=6000)"
    quick = good | {"single_ms": 4.0}
    assert next(bar for bar in bars([fast, quick]) if bar.name.startswith("two-stage")).met
    count = row("D=768 k=135", "bsa_st overlap", 2.0, beside={"48 bytes of sign bits": 1.0}, batch_ms=0.5)
    met = {bar.name: bar.met for bar in bars([count])}
    assert met == {
        "overlap, D=768 k=135: a batch of 64 has 3 times the throughput of single queries": True,
        "overlap, D=768 k=135: faster than IndexBinaryFlat on sign bits": False,
    }


def test_rows_of_an_earlier_version_are_marked_and_measured_again(tmp_path: Path) -> None:
    facts = {"bytes": 10.0, "disk": 5.0, "quality": 0.5, "real": 700, "steps": 2, "beside": {}, "earlier": True}
    rows = [
        row("D=64 k=8", "bsa_st overlap", 1.0, **facts),
        row("D=64 k=8", "bsa_st asymmetric", 1.0, **facts),
        row("D=64 k=8", "bsa_st two-stage T=64 C=1500", 1.0, **(facts | {"recall": 0.9})),
    ]
    (tmp_path / "search.json").write_text(json.dumps({"sources": {"": "texts"}, "rounds": 3, "rows": rows}))
    report = write_report(tmp_path / "search.json").read_text()
    assert "| D=64 k=8 | bsa_st overlap * |" in report
    assert not bench_search._has({"rows": rows}, "", "D=64 k=8", 1_000_000)


def test_grown_codes_are_the_real_ones_and_noisy_copies() -> None:
    from bsa_st import BinaryCodes

    rng = np.random.default_rng(0)
    ids = np.sort(np.argpartition(rng.random((50, 100)), 9, axis=1)[:, :10], axis=1)
    codes = BinaryCodes(ids.ravel(), np.arange(51) * 10, 100)
    grown = search_data.grow_codes(codes, 200)
    assert len(grown) == 200
    assert grown[:50] == codes
    overlap = (grown[50:].to_scipy() @ codes.to_scipy().T).toarray().max(axis=1)
    assert 7 < overlap.mean() < 9.5
