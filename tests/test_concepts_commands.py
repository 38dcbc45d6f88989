"""``bsa-st explain`` and ``bsa-st explore`` as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMAND = [sys.executable, "-m", "bsa_st.cli.main"]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False, timeout=600)


@pytest.fixture(scope="module")
def place(threshold_folder: Path, texts: list[str], embeddings: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    shutil.copytree(threshold_folder, folder / "model")
    (folder / "texts.txt").write_text("\n".join(" ".join(text.split()) for text in texts[:800]) + "\n", encoding="utf-8")
    np.save(folder / "texts.npy", embeddings[:800])
    return folder


def test_explore_then_explain_from_the_shell(place: Path) -> None:
    before = run("explain", "model", "Short stature", "Small hands", cwd=place)
    assert before.returncode == 0, before.stderr
    assert "bsa-st explore MODEL TEXTS" in before.stdout

    made = run("explore", "model", "texts.txt", "--page", "page.html", "--embeddings", "texts.npy", cwd=place)
    assert made.returncode == 0, made.stderr
    assert "1024 features from 800 texts" in made.stdout
    assert "Page in page.html" in made.stdout
    assert (place / "model" / "bsa" / "features.json").is_file()
    assert (place / "page.html").stat().st_size < 5_000_000

    again = run("explore", "model", "--page", "again.html", cwd=place)
    assert again.returncode == 0, again.stderr
    assert (place / "again.html").read_bytes() == (place / "page.html").read_bytes()

    after = run("explain", "model", "Short stature", "Small hands", "--scoring", "idf", "--json", "why.json", cwd=place)
    assert after.returncode == 0, after.stderr
    assert "AUC" in after.stdout
    result = json.loads((place / "why.json").read_text())
    parts = [part["value"] for kind in ("shared", "only_a", "only_b") for part in result[kind]]
    assert sum(parts) + result["constant"] == pytest.approx(result["score"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "./nowhere", "a", "b"), "model folder not found: ./nowhere"),
        (("explain", "model", "a", " "), "text 2 is empty"),
        (
            ("explain", "model", "a", "b", "--scoring", "magic"),
            "scoring must be one of overlap, cosine, idf, decoded, asymmetric",
        ),
        (("explain", "model", "a"), "Missing argument"),
        (("explore", "plain"), "plain carries no labels yet; name a file of texts"),
        (("explore", "plain", "missing.txt"), "text file not found: missing.txt"),
        (("explore", "plain", "empty.txt"), "empty.txt: no text in it"),
        (("explore", "plain", "hole.txt"), "hole.txt: text 2 is empty"),
        (("explore", "plain", "texts.txt", "--page", "no/page.html"), "there is no folder no"),
        (("explore", "plain", "texts.txt", "--embeddings", "texts.txt"), "texts.txt: embeddings come from an .npy file"),
        (("explore", "plain", "hole.txt", "--embeddings", "texts.npy"), "text 2 is empty"),
    ],
)
def test_user_errors_are_one_clear_message_with_status_2(
    arguments: tuple[str, ...], message: str, threshold_folder: Path, place: Path, tmp_path: Path
) -> None:
    for name in ("model", "plain"):
        shutil.copytree(threshold_folder, tmp_path / name)
    for name in ("texts.txt", "texts.npy"):
        shutil.copy(place / name, tmp_path / name)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "hole.txt").write_text("one\n\nthree\n")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
