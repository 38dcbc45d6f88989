"""Bad input of the evaluation: one clear message, before any long work."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from bsa_st import BSAError
from evaluation.__main__ import app
from evaluation.comparison.results import read
from evaluation.console import DATA_VARIABLE, run_command
from evaluation.data.folders import read_pairs, read_retrieval
from evaluation.data.neighbours import general_texts

pytestmark = pytest.mark.evaluation

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data or set BSA_ST_DATA"),
        (["--data", "nowhere"], "mix.txt.gz: not found"),
        (["--data", "nowhere", "--methods", "OPK"], "did you mean 'OPQ'"),
        (["--data", "nowhere", "--encoders", "wordlama"], "did you mean 'wordllama'"),
        (["--data", "nowhere", "--budgets", "64,many"], "--budgets must be whole numbers of bytes"),
    ],
)
def test_the_command_line_answers_in_one_line_with_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["evaluation", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(app, "evaluation")
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.strip().count("\n") == 0
    assert not list(tmp_path.iterdir()), "nothing may be written before the input is checked"


def test_general_texts_are_apart_and_a_short_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text_mix").mkdir()
    with gzip.open(tmp_path / "text_mix" / "mix.txt.gz", "wt") as file:
        file.writelines(f"line {number % 600}\n" for number in range(1200))
    parts = general_texts(tmp_path, 0.01)
    assert [len(part) for part in parts] == [10, 200, 300]
    assert len({text for part in parts for text in part}) == 510
    with pytest.raises(BSAError, match=r"600 distinct lines, but 51,000 are needed"):
        general_texts(tmp_path)


def test_a_damaged_results_file_is_named(tmp_path: Path) -> None:
    for content in ("[]", "{"):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(BSAError, match=r"x\.json"):
            read(tmp_path / "x.json")
