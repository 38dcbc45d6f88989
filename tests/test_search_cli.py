"""``bsa-st index`` and ``bsa-st search`` as a user meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.cli.main import app


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_build_search_add_delete_stats(threshold_folder: Path, texts: list[str], tmp_path: Path) -> None:
    source, more, index = tmp_path / "texts.txt", tmp_path / "more.txt", tmp_path / "a.index"
    source.write_text("\n".join(text.replace("\n", " ") for text in texts[:150]), encoding="utf-8")
    more.write_text("A wholly new entry about purple elephants\n", encoding="utf-8")
    assert "150 documents in" in run("index", "build", threshold_folder, source, index)
    shown = run("search", threshold_folder, index, texts[7], "--top-k", 3).splitlines()
    assert len(shown) == 3
    assert shown[0].split()[1] == "7"
    assert " ".join(texts[7].split())[:40] in shown[0]
    assert "ids 150 to 150; 151 in" in run("index", "add", threshold_folder, more, index)
    assert "purple elephants" in run("search", threshold_folder, index, "purple elephants", "--top-k", 1)
    assert "1 documents deleted; 150 in" in run("index", "delete", index, 150)
    assert "wholly new entry" not in run(
        "search", threshold_folder, index, "purple elephants", "violet", "--scoring", "decoded"
    )
    figures = run("index", "stats", index)
    assert "packed bytes" in figures
    assert "per document" in figures
    assert len(Index.open(index)) == 150


def test_codes_can_be_indexed_and_found_without_snippets(threshold_folder: Path, texts: list[str], tmp_path: Path) -> None:
    source, codes, index = tmp_path / "texts.txt", tmp_path / "a.codes", tmp_path / "a.index"
    source.write_text("\n".join(text.replace("\n", " ") for text in texts[:50]), encoding="utf-8")
    run("encode", threshold_folder, source, codes)
    run("index", "build", threshold_folder, codes, index)
    assert run("search", threshold_folder, index, texts[3], "--top-k", 1).split()[1:] == ["3"]


def test_tags_filter_and_count_hits(threshold_folder: Path, texts: list[str], tmp_path: Path) -> None:
    source, tags, index = tmp_path / "texts.txt", tmp_path / "tags.jsonl", tmp_path / "a.index"
    source.write_text("\n".join(" ".join(text.split()) for text in texts[:9]), encoding="utf-8")
    tags.write_text("".join(f'{{"text": "", "tags": ["all", "{"even" if row % 2 == 0 else "odd"}"]}}\n' for row in range(9)))
    run("index", "build", threshold_folder, source, index, "--tags", tags)
    shown = run("search", threshold_folder, index, texts[7], "--without-tags", "odd", "--with-tags", "all", "--facets")
    assert sorted(int(line.split()[1]) for line in shown.splitlines()[:-1]) == [0, 2, 4, 6, 8]
    assert shown.splitlines()[-1] == "tags: all 5, even 5"
    run("index", "add", threshold_folder, source, index, "--tags", tags)
    assert "even 10" in run("search", threshold_folder, index, texts[7], "--with-tags", "even", "--facets")
    for wrong, message in (
        ("[1]", "tags.jsonl: line 1 has no field 'tags'"),
        ('{"tags": []}', "need 9 lists of tags, got 1"),
    ):
        tags.write_text(wrong)
        with pytest.raises(BSAError, match=message):
            run("index", "add", threshold_folder, source, index, "--tags", tags)


@pytest.mark.parametrize("scoring", ["asymmetric", "decoded"])
def test_hits_are_explained_by_parts_that_add_up(
    named_folder: Path, named_texts: list[str], tmp_path: Path, scoring: str
) -> None:
    source, index = tmp_path / "texts.txt", tmp_path / "a.index"
    source.write_text("\n".join(text.replace("\n", " ") for text in named_texts[:30]), encoding="utf-8")
    run("index", "build", named_folder, source, index)
    shown = run("search", named_folder, index, named_texts[3], "--top-k", 2, "--scoring", scoring, "--explain").splitlines()
    assert len(shown) == 4
    assert shown[0].split()[1] == "3"
    for hit, line in (shown[:2], shown[2:]):
        parts = [float(piece.split("(")[0].split()[-1]) for piece in line.split("; ")]
        assert sum(parts) == pytest.approx(float(hit.split()[0]), abs=0.0006 * len(parts))
        assert "everything else" in line
    with pytest.raises(BSAError, match="scoring must be one of float, asymmetric, decoded, got 'overlap'"):
        run("search", named_folder, index, named_texts[3], "--scoring", "overlap", "--explain")


def test_an_unknown_scoring_is_told(threshold_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="scoring must be one of asymmetric, decoded, overlap, cosine, got 'jaccard'"):
        run("search", threshold_folder, tmp_path / "a.index", "text", "--scoring", "jaccard")


def test_errors_are_one_line_with_status_2(threshold_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.index").write_bytes(b"rubbish and more of it")
    result = subprocess.run(
        [sys.executable, "-m", "bsa_st", "index", "stats", str(tmp_path / "bad.index")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "bad.index" in result.stderr
    with pytest.raises(BSAError, match="index not found"):
        run("index", "delete", tmp_path / "none.index", 1)
    Index.build(_codes()).save(tmp_path / "a.index")
    with pytest.raises(BSAError, match="id 5 is not in the index"):
        run("index", "delete", tmp_path / "a.index", 5)


def _codes() -> BinaryCodes:
    return BinaryCodes([0, 1], [0, 1, 2], 1024)
