"""Bad input of the evaluation: one clear message, before any long work."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from bsa_st import BSAError
from evaluation import cli
from evaluation.budgets import BUDGETS, OVERLAP, SPARSE, THRESHOLD, scaled, scaled_name
from evaluation.folders import read_pairs, read_retrieval
from evaluation.methods import all_methods, choose_methods
from evaluation.rows import read_rows
from evaluation.tasks import local_folders, resolve_tasks

CORPUS = [{"_id": "d1", "title": "Heart", "text": "beats"}, {"_id": "d2", "text": "A lung breathes."}]
QUERIES = [{"_id": "q1", "text": "what beats"}, {"_id": "q2", "text": "never judged"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small retrieval task, all right."""
    folder = tmp_path / "retrieval_small"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in CORPUS))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in QUERIES))
    (folder / "qrels.tsv").write_text(QRELS)
    return folder


def test_title_and_text_are_joined_and_unjudged_queries_left_out(folder: Path) -> None:
    data = read_retrieval(folder)
    assert data.documents == ["Heart beats", "A lung breathes."]
    assert data.queries == {"q1": "what beats"}


def test_gzipped_files_read_the_same(folder: Path) -> None:
    plain = read_retrieval(folder)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read_retrieval(folder) == plain


def test_folder_names_lose_their_prefix(folder: Path) -> None:
    assert list(local_folders(folder.parent)) == list(local_folders(folder)) == ["small"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": \n', "corpus.jsonl: line 2 is not JSON"),
        ("corpus.jsonl", '{"id": "d1", "text": "a"}\n', "line 1 must be an object with the fields _id and text"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n', "line 2 repeats the id 'd1'"),
        ("corpus.jsonl", "", "line 2 names the unknown document id 'd1'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", "qrels.tsv: line 2 names the unknown query id 'q9'"),
        ("qrels.tsv", "q1\td1\tyes\n", "the score 'yes' is not a number"),
        ("qrels.tsv", "q1 d1 1\n", "line 1 has 1 columns"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "empty split: not one judged query"),
    ],
)
def test_bad_retrieval_files_are_named_with_their_line(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(BSAError, match=message):
        read_retrieval(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    with pytest.raises(BSAError, match=r"queries\.jsonl: not found"):
        read_retrieval(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence1\tsentence2\nx\ty\n", "line 1 must name the columns"),
        ("sentence1\tsentence2\tscore\nx\ty\t1\nx\ty\n", "line 3 has 2 columns, not 3"),
        ("sentence1\tsentence2\tscore\nx\ty\thigh\n", "line 2: the score 'high' is not a number"),
        ("sentence1\tsentence2\tscore\n", "empty split: 0 pairs"),
    ],
)
def test_bad_pair_files_are_named_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "test.tsv").write_text(content)
    with pytest.raises(BSAError, match=message):
        read_pairs(tmp_path)


def test_an_unknown_task_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(BSAError, match="did you mean 'SciFact'"):
        resolve_tasks(["SciFac"], None)
    with pytest.raises(BSAError, match="did you mean 'small'"):
        resolve_tasks(["smal"], folder.parent)


def test_mteb_tasks_and_benchmarks_are_found_by_name_without_a_download() -> None:
    assert [item.metric for item in resolve_tasks(["SciFact", "STS12"], None)] == ["ndcg_at_10", "spearman"]
    assert len(resolve_tasks(["NanoBEIR"], None)) == 13


def test_a_misspelt_method_suggests_the_nearest() -> None:
    with pytest.raises(BSAError, match="unknown method 'bsa-topkk'; did you mean 'bsa-topk"):
        choose_methods(["bsa-topkk"])


def test_a_family_stands_for_all_its_members() -> None:
    assert [method.name for method in choose_methods(["pq", "sign"])] == ["pq-48", "pq-64", "pq-96", "pq-108", "sign"]
    assert {method.family for method in choose_methods(["bsa-topk"])} == {"bsa"}


@pytest.mark.parametrize("width", [256, 384, 768, 1024])
def test_the_core_methods_fit_the_budgets_of_any_width(width: int) -> None:
    names = {method.name for method in choose_methods(["core"], width=width)}
    assert {scaled_name(name, width) for name in (*BUDGETS.values(), *OVERLAP.values(), SPARSE)} < names
    for method in choose_methods(["pq", "opq"], width=width):
        assert method.build(width).sa_code_size() == method.n_bytes <= scaled(110, width)  # type: ignore[attr-defined]


def test_a_name_for_384_dimensions_stands_for_the_method_scaled_to_the_width() -> None:
    assert [method.name for method in choose_methods(["bsa-topk-768-126-elastic"], width=768)] == ["bsa-topk-1536-252-elastic"]


def test_every_method_that_is_recommended_exists() -> None:
    assert {*BUDGETS.values(), *OVERLAP.values(), SPARSE, *THRESHOLD} <= set(all_methods())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "data folder not found: nowhere"),
        (["--tasks", "SciFac"], "did you mean 'SciFact'"),
        (["--methods", "singn", "--tasks", "hpo"], "did you mean 'sign'"),
        (["--settings", "special", "--tasks", "hpo"], "unknown setting 'special'"),
        (["--settings", "general", "--tasks", "hpo"], "the general setting needs training texts"),
        (["--settings", "adapted", "--tasks", "STS12"], "needs a task with a collection"),
        (["--model", "./nowhere", "--tasks", "hpo", "--settings", "adapted"], "teacher model folder not found"),
    ],
)
def test_the_command_line_answers_in_one_line_with_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(cli.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["evaluation", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.strip().count("\n") == 0
    assert not list(tmp_path.iterdir()), "nothing may be written before the input is checked"


def test_a_damaged_rows_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"model": "x"}]')
    with pytest.raises(BSAError, match=r"rows\.json: not a list of result rows"):
        read_rows(tmp_path / "rows.json")
