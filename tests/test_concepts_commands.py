"""``bsa-st names``, ``tags``, ``explain`` and ``explore`` as a user meets them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest


@pytest.fixture(scope="module")
def place(nameless_folder: Path, named_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    shutil.copytree(nameless_folder, folder / "model")
    (folder / "texts.txt").write_text("\n".join(" ".join(text.split()) for text in named_texts[:200]) + "\n", encoding="utf-8")
    lines = [
        {"name": "kidney disease", "others": ["renal disease"]},
        {"name": "hearing loss"},
        {"name": "seizure", "others": []},
    ]
    (folder / "names.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def test_names_tags_explain_and_explore_one_after_the_other(place: Path, command: Callable[..., CompletedProcess[str]]) -> None:
    before = command("explain", "model", "Short stature", "Small hands", cwd=place)
    assert before.returncode == 2
    assert "bsa-st names MODEL TEXTS" in before.stderr

    made = command("names", "model", "texts.txt", "--hidden-dim", 60, "--cache-dir", "cache", cwd=place)
    assert made.returncode == 0, made.stderr
    count = int(made.stdout.split()[0])
    assert 5 < count <= 60  # words that the encoder reads well enough
    assert (place / "model" / "bsa" / "names.json").is_file()

    tagged = command("tags", "model", "texts.txt", "--output", "tags.jsonl", cwd=place)
    assert tagged.returncode == 0, tagged.stderr
    lines = [json.loads(line) for line in (place / "tags.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 200
    assert all(len(line["tags"]) == len(line["strengths"]) <= 12 for line in lines)

    why = command("explain", "model", "Short stature", "Small hands", "--json", "why.json", cwd=place)
    assert why.returncode == 0, why.stderr
    assert "everything else" in why.stdout
    result = json.loads((place / "why.json").read_text())
    assert sum(part["value"] for part in result["parts"]) + result["rest"] == pytest.approx(result["score"], abs=1e-6)

    page = command("explore", "model", "texts.txt", "--page", "page.html", "--cache-dir", "cache", cwd=place)
    assert page.returncode == 0, page.stderr
    assert f"{count} names in 200 texts" in page.stdout
    assert (place / "page.html").stat().st_size < 3_000_000

    given = command("names", "model", "texts.txt", "--names", "names.jsonl", "--k", 1, "--cache-dir", "cache", cwd=place)
    assert given.returncode == 0, given.stderr
    assert "3 names" in given.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "./nowhere", "a", "b"), "model folder not found: ./nowhere"),
        (("explain", "model", "a"), "Missing argument"),
        (("tags", "model", "texts.txt"), "no named features yet"),
        (("explore", "model", "texts.txt"), "no named features yet"),
        (("explore", "model", "texts.txt", "--page", "no/page.html"), "there is no folder no"),
        (("names", "nowhere", "texts.txt"), "nowhere is no folder of a BSA model"),
        (("names", "model", "missing.txt"), "text file not found: missing.txt"),
        (("names", "model", "texts.txt", "--names", "bad.jsonl"), "bad.jsonl: line 1 has no field 'name'"),
        (("names", "model", "texts.txt", "--names", "one.txt"), "at least two names that the encoder tells apart; of 1"),
    ],
)
def test_user_errors_are_one_clear_message_with_status_2(
    arguments: tuple[str, ...], message: str, nameless_folder: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    shutil.copytree(nameless_folder, tmp_path / "model")
    (tmp_path / "texts.txt").write_text("a kidney\na bone\n")
    (tmp_path / "bad.jsonl").write_text('{"others": []}\n')
    (tmp_path / "one.txt").write_text("kidney\n")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    more = ("--cache-dir", str(tmp_path.parent / "cache")) if arguments[0] == "names" else ()
    assert message in refusal([*arguments, *more], tmp_path)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
