"""The whole evaluation end to end: a quick run, what it writes, how it resumes, and the committed results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from sentence_transformers import SentenceTransformer
from sklearn.metrics import ndcg_score

import evaluation
from bsa_st import BSAError
from evaluation.budgets import BUDGETS
from evaluation.cli import app
from evaluation.embeddings import EmbeddingStore
from evaluation.methods import QUICK_METHODS, choose_methods
from evaluation.methods.base import Method
from evaluation.onetask import run_task
from evaluation.report import write_report
from evaluation.rows import Row, read_rows
from evaluation.tasks import QUICK_CONCEPTS, folder_task, hpo_task
from evaluation.threads import one_thread
from evaluation.training import adaptation_texts
from evaluation.wrapper import CodeMemo, MethodEncoder

ROOT = Path(evaluation.__file__).parent
DATA = Path(os.environ.get("BSA_ST_DATA") or ROOT.parents[1] / "shared" / "data")
ROWS_FILE = "all-MiniLM-L6-v2-adapted.json"
BSA = BUDGETS[48]


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """Runs in this process set the number of threads, which they write down; tests of other modules want theirs back."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Folder of a finished quick run."""
    folder = tmp_path_factory.mktemp("quick")
    quick_run(folder, cache_dir)
    return folder


def quick_run(folder: Path, cache_dir: Path, *more: str) -> None:
    """``python -m evaluation --quick`` in this process."""
    places = ["--output", str(folder / "results"), "--work", str(folder / "work"), "--cache-dir", str(cache_dir)]
    app(["--quick", *places, *more], standalone_mode=False)


@pytest.fixture(scope="module")
def rows(quick: Path) -> list[Row]:
    return read_rows(quick / "results" / ROWS_FILE)


def test_every_method_and_scoring_has_a_row_with_score_interval_bytes_and_speed(rows: list[Row]) -> None:
    wanted = {(method.name, scoring) for method in choose_methods(list(QUICK_METHODS)) for scoring in method.scorings}
    assert {(row.method, row.scoring) for row in rows} == wanted
    for row in rows:
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low < row.score < row.ci_high
        assert row.queries_per_second is not None
        assert row.queries_per_second > 0
        assert 0 < row.bytes_per_text <= 1536 + 48
        assert (row.model, row.setting, row.task, row.metric) == ("all-MiniLM-L6-v2", "adapted", "hpo", "ndcg_at_10")


def test_mteb_scores_float32_as_sklearn_does(rows: list[Row], teacher: SentenceTransformer, cache_dir: Path) -> None:
    task = hpo_task(QUICK_CONCEPTS)
    data = task.task.data  # type: ignore[attr-defined]
    store = EmbeddingStore(teacher, cache_dir, show_progress_bar=False)
    scores = store.evaluation(list(data.queries.values())) @ store.evaluation(task.corpus).T
    gold = np.zeros_like(scores)
    for place, query in enumerate(data.queries):
        for document in data.qrels[query]:
            gold[place, list(data.corpus).index(document)] = 1
    found = next(row.score for row in rows if row.method == "float32")
    assert found == pytest.approx(ndcg_score(gold, scores, k=10), abs=1e-4)


def test_codes_lose_quality_and_float_queries_win_some_back(rows: list[Row]) -> None:
    score = {(row.method, row.scoring): row.score for row in rows}
    assert score["float32", "symmetric"] > score["sign", "asymmetric"] > score["sign", "symmetric"] > 0.1
    assert score["sign", "rescored"] == pytest.approx(score["float32", "symmetric"], abs=0.03)
    assert score[BSA, "two-stage"] == pytest.approx(score[BSA, "asymmetric"], abs=0.02)


def test_no_query_is_trained_on() -> None:
    task = hpo_task(QUICK_CONCEPTS)
    queries = {text.casefold() for text in task.task.data.queries.values()}  # type: ignore[attr-defined]
    assert queries
    assert not queries & {text.casefold() for text in adaptation_texts([task])}


def test_values_of_queries_average_to_the_score(quick: Path) -> None:
    files = list((quick / "work" / "pairs").rglob("*.json"))
    assert files
    for path in files:
        pair = json.loads(path.read_text())
        assert np.mean(pair["values"]) == pytest.approx(pair["row"]["score"], abs=1e-4)


def test_mteb_writes_its_own_result_for_every_method_and_scoring(quick: Path, rows: list[Row]) -> None:
    files = [path for path in (quick / "work" / "mteb").rglob("*.json") if path.name == "hpo.json"]
    scores = sorted(json.loads(path.read_text())["scores"]["test"][0]["main_score"] for path in files)
    assert scores == pytest.approx(sorted(row.score for row in rows), abs=1e-4)


def test_a_second_run_trains_nothing_and_changes_nothing(quick: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [path.read_text() for path in sorted((quick / "results").iterdir())]

    def fail(self: Method, training: np.ndarray) -> None:
        raise AssertionError("a finished method was fitted again")

    for method in choose_methods(list(QUICK_METHODS)):
        monkeypatch.setattr(type(method), "fit", fail)
    quick_run(quick, cache_dir)
    assert [path.read_text() for path in sorted((quick / "results").iterdir())] == before


def test_two_processes_write_the_same_scores_as_one(quick: Path, cache_dir: Path, tmp_path: Path) -> None:
    names = ("sign", "rabitq-1bit")
    quick_run(tmp_path, cache_dir, "--workers", "2", "--threads", "1", "--methods", ",".join(names), "--no-report")
    alone = {row.key: row.score for row in read_rows(quick / "results" / ROWS_FILE) if row.method in names}
    assert {row.key: row.score for row in read_rows(tmp_path / "results" / ROWS_FILE)} == pytest.approx(alone, abs=1e-4)


def test_an_error_in_a_worker_process_reaches_the_user(cache_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pairs").write_text("a file where a folder should be")
    with pytest.raises(BSAError, match="cannot write"):
        quick_run(tmp_path, cache_dir, "--workers", "2", "--threads", "1", "--methods", "sign,float32")


def test_each_setting_trains_heads_of_its_own_in_one_process(cache_dir: Path, tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "general.txt").write_text("\n".join(texts[:500]))
    options = ["--settings", "general,adapted", "--train-texts", str(tmp_path / "general.txt"), "--steps", "5"]
    quick_run(tmp_path, cache_dir, *options, "--methods", BSA, "--no-report")
    general, adapted = (read_rows(tmp_path / "results" / f"all-MiniLM-L6-v2-{name}.json") for name in ("general", "adapted"))
    assert {row.scoring for row in general} == {row.scoring for row in adapted}
    assert not {row.score for row in general} & {row.score for row in adapted}


def test_workers_end_when_the_run_is_killed(cache_dir: Path, tmp_path: Path, quick: Path) -> None:
    places = ["--output", str(tmp_path / "results"), "--work", str(tmp_path / "work"), "--cache-dir", str(cache_dir)]
    command = [sys.executable, "-m", "evaluation", "--quick", *places, "--workers", "2", "--methods", "itq,opq-48,pq-48,pq-64"]
    run = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "work" / "pairs").exists():
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    workers = run.children()
    run.kill()
    assert len(workers) >= 2
    assert not psutil.wait_procs(workers, timeout=30)[1]


def test_details_hold_what_a_model_card_states(quick: Path) -> None:
    details = json.loads((quick / "results" / ROWS_FILE.replace(".json", ".details.json")).read_text())
    facts = details["figures"][BSA]
    assert facts["active_p5"] <= facts["active_mean"] <= facts["active_p95"] <= facts["hidden_dim"]
    assert 0 <= facts["never_fired"] < facts["hidden_dim"]
    assert facts["texts"] == details["training_texts"] + QUICK_CONCEPTS
    assert facts["seconds_to_fit"] > 0


def test_the_recommended_method_is_tested_against_every_baseline_of_its_budget(quick: Path) -> None:
    details = json.loads((quick / "results" / ROWS_FILE.replace(".json", ".details.json")).read_text())
    entries = [entry for entry in details["budgets"] if entry["side"] == "float query"]
    assert [entry["method"] for entry in entries if entry["bsa"]] == [BSA]
    rivals = [entry for entry in entries if not entry["bsa"]]
    assert {(entry["method"], entry["scoring"]) for entry in rivals} == {("sign", "asymmetric"), ("sign", "two-stage")}
    own = next(entry for entry in entries if entry["bsa"])
    for entry in rivals:
        assert entry["difference"] == pytest.approx(own["score"] - entry["score"], abs=2e-5)
        assert 0 < entry["p_value"] <= 1
        assert entry["ci_low"] < entry["score"] < entry["ci_high"]


def test_an_interrupted_run_does_only_what_is_missing(quick: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = next((quick / "work" / "pairs").rglob("sign-symmetric-*.json"))
    lost.unlink()
    done: list[tuple[str, str]] = []

    def record(task: object, model: MethodEncoder, folder: Path) -> object:
        done.append((model.codes.method.name, model.scoring))
        return run_task(task, model, folder)  # type: ignore[arg-type]

    monkeypatch.setattr("evaluation.pairs.run_task", record)
    quick_run(quick, cache_dir)
    assert done == [("sign", "symmetric")]
    assert lost.is_file()


def test_the_report_shows_every_score_and_its_plots_exist(quick: Path, rows: list[Row]) -> None:
    page = (quick / "RESULTS.md").read_text()
    for row in rows:
        assert f"{row.score:.4f}".lstrip("0") in page
    linked = [part.split(")")[0] for part in page.split("](")[1:] if part.startswith("plots/")]
    assert len(linked) == 4
    assert all((quick / link).stat().st_size > 1000 for link in linked)


def test_the_report_needs_results(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="no result rows"):
        write_report(tmp_path)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the development data is not there; set BSA_ST_DATA (looked in {DATA})")
def test_float32_on_stsbenchmark_has_its_known_score(teacher: SentenceTransformer, cache_dir: Path, tmp_path: Path) -> None:
    store = EmbeddingStore(teacher, cache_dir, show_progress_bar=False)
    (method,) = choose_methods(["float32"])
    outcome = run_task(
        folder_task("stsbenchmark", DATA / "sts_stsbenchmark"), MethodEncoder(store, CodeMemo(method), "symmetric"), tmp_path
    )
    assert outcome.score == pytest.approx(0.820, abs=0.005)
    assert outcome.interval is not None
    assert outcome.interval.low < outcome.score < outcome.interval.high


@pytest.mark.parametrize(("task", "score"), [("scifact", 0.645), ("stsbenchmark", 0.820)])
def test_committed_float32_rows_agree_with_known_scores(task: str, score: float) -> None:
    committed = read_rows(ROOT / "results" / "all-MiniLM-L6-v2-general.json")
    found = [row.score for row in committed if (row.method, row.task) == ("float32", task)]
    assert found == [pytest.approx(score, abs=0.005)]


def test_the_committed_page_is_made_from_the_committed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copy(ROOT / "dictionaries.json", tmp_path)
    for name in ("pareto", "speed", "active_features", "firing_rates"):
        monkeypatch.setattr(f"evaluation.plots.{name}", lambda *arguments: None)
    page = write_report(tmp_path / "results").read_text()
    assert page == (ROOT / "RESULTS.md").read_text(), "run python -m evaluation --report-only"
