"""Reading texts, and refusing what cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from bsa_st import BSAError
from bsa_st.inputs.texts import read_texts

TEXTS = ["one", "zwei, très", "三"]


def write(path: Path) -> Path:
    lines = [json.dumps({"text": text}) for text in TEXTS] if ".jsonl" in path.name else TEXTS
    raw = ("\n".join(lines) + "\n").encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": TEXTS}), path)
    else:
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_every_kind_of_file_gives_the_same_texts(name: str, tmp_path: Path) -> None:
    assert read_texts(write(tmp_path / name)) == TEXTS


@pytest.mark.parametrize("source", [TEXTS, tuple(TEXTS), iter(TEXTS), Dataset.from_dict({"text": TEXTS})])
def test_lists_iterables_and_datasets_are_taken(source: Any) -> None:
    assert read_texts(source) == TEXTS


def test_a_string_is_one_text_even_where_a_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt")
    assert read_texts("a.txt") == ["a.txt"]


def test_blank_lines_of_a_file_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("x\n\ny\n  \n")
    assert read_texts(tmp_path / "a.txt") == ["x", "y"]
    assert "2 blank lines left out" in caplog.text


def test_another_column_can_be_named() -> None:
    assert read_texts(Dataset.from_dict({"text": ["x"], "body": ["y"]}), column="body") == ["y"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "a.txt", "a.txt: no text in it"),
        (b"\n \n", "a.txt", "a.txt: no text in it"),
        (b'{"text": "x"}\n{"text": " "}\n', "a.jsonl", "a.jsonl: text 2 is empty"),
        (b"x\n\xff\xfe\n", "a.txt", "a.txt: not UTF-8"),
        (b"not gzip", "a.txt.gz", "a.txt.gz: cannot be read"),
        (gzip.compress(b"x\n" * 9999, mtime=0)[:20], "a.txt.gz", "a.txt.gz: cannot be read"),
        (b'{"text": "x"}\n{"text": ', "a.jsonl", "a.jsonl: line 2 is not JSON"),
        (b'{"title": "x"}\n', "a.jsonl", "a.jsonl: line 1 has no field 'text'"),
        (b'{"text": 3}\n', "a.jsonl", "a.jsonl: item 1 is a int, not a string"),
        (b"x", "a.parquet", "a.parquet: cannot be read as parquet"),
        (b"x", "a.csv", "unknown kind of text file"),
    ],
)
def test_bad_files_are_named(content: bytes, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BSAError, match=message):
        read_texts(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Path("missing.txt"), "text file not found: missing.txt"),
        (" ", "the text: text 1 is empty"),
        (None, "texts must be a str, a list of str, a dataset or a Path to a file, got NoneType"),
        ({"text": "a"}, "texts must be .* got dict"),
        (b"a", "texts must be .* got bytes"),
        (["a", "\ud800"], "the texts: text 2 is not Unicode"),
        ([], "the texts: no text in it"),
        (["a", "  "], "the texts: text 2 is empty"),
        (["a", 7], "the texts: item 2 is a int"),
        (Dataset.from_dict({"body": ["a"]}), "the dataset has no column 'text'; it has body"),
    ],
)
def test_bad_sources_are_named(source: Any, message: str) -> None:
    with pytest.raises(BSAError, match=message):
        read_texts(source)
