"""The command line as a user meets it: real processes for what works, one line and status 2 for what does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from scipy import sparse

from bsa_st import BinaryCodes
from demo.run import packaged_teacher

COMMAND = [sys.executable, "-m", "bsa_st"]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False, env=None, timeout=600
    )


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    packaged_teacher().save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def text_file(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(text.replace("\n", " ") for text in texts[:300]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["attach", "distill", "encode", "explain", "explore", "export", "names", "push", "tags"])
def test_help_shows_every_option_with_its_default(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    options = [block for block in result.stdout.split("\n  --")[1:]]
    assert options
    for block in options:
        assert (
            "default:" in " ".join(block.split())
            or block.startswith(("json", "overwrite", "shards", "sparse"))
            or "--no-" in block
        ), block


def test_distill_encode_export_one_after_the_other(
    teacher_folder: Path, text_file: Path, tmp_path: Path, command: Callable[..., CompletedProcess[str]]
) -> None:
    trained = run(
        "distill", teacher_folder, text_file, "model", "--hidden-dim", 256, "--k", 16, "--steps", 20, "--refit-rounds", 1, "--unroll-trials", 3,
        "--cache-dir", "cache", "--json", "report.json", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "reconstruction cosine" in trained.stdout
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["hidden_dim"] == 256

    encoded = command("encode", "model", text_file, "out.codes", cwd=tmp_path)
    assert encoded.returncode == 0, encoded.stderr
    codes = BinaryCodes.load(tmp_path / "out.codes")
    size = (tmp_path / "out.codes").stat().st_size
    assert f"300 texts in out.codes: {size} bytes, {size / 300:.1f} per text" in encoded.stdout

    for name in ("codes.npz", "codes.npy", "codes.jsonl"):
        assert command("export", "out.codes", name, cwd=tmp_path).returncode == 0
    assert sparse.load_npz(tmp_path / "codes.npz").indices.tolist() == codes.ids.tolist()
    assert np.array_equal(np.load(tmp_path / "codes.npy"), codes.to_packed())
    lists = [json.loads(line) for line in (tmp_path / "codes.jsonl").read_text().splitlines()]
    assert lists[7] == codes[7].ids.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("distill", "./nowhere", "t.txt", "m"), "teacher model folder not found: ./nowhere"),
        (("distill", "TEACHER", "missing.txt", "m"), "text file not found: missing.txt"),
        (("distill", "TEACHER", "latin.txt", "m"), "latin.txt: not UTF-8"),
        (("distill", "TEACHER", "empty.txt", "m"), "empty.txt: no text in it"),
        (("distill", "TEACHER", "t.txt", "m", "--k", "99", "--hidden-dim", "64"), "k must lie between 1 and hidden_dim = 64"),
        (("distill", "TEACHER", "t.txt", "m", "--selection", "best"), "selection must be one of threshold, topk"),
        (("encode", "./nowhere", "t.txt", "o"), "model folder not found: ./nowhere"),
        (("encode", "TEACHER", "t.txt", "o"), "the folder holds no BSA model"),
        (("push", "TEACHER", "org/x"), "holds no BSA model"),
        (("export", "t.txt", "o.npz"), "not a codes file"),
        (("export", "missing.codes", "o.npz"), "cannot read codes file missing.codes"),
        (
            ("encode", "TEACHER", "t.txt", "t.txt"),
            "t.txt exists and is not a file of this kind; give --overwrite to replace it",
        ),
        (("index", "build", "TEACHER", "t.txt", "t.txt"), "t.txt exists and is not a file of this kind"),
        (("export", "t.codes", "t.npy"), "t.npy exists and is there already; give --overwrite"),
        (("encode", "TEACHER", "t.txt", "/dev/full"), "cannot write /dev/full: it is a device or a pipe"),
        (("encode", "TEACHER", "t.txt", "link"), "cannot write link: it is a link"),
        (("encode", "TEACHER", "t.txt", "no/o.codes"), "cannot write no/o.codes: there is no folder no"),
        (("distill", "TEACHER", "t.txt", "m", "--json", "t.txt"), "t.txt exists and is not a file of this kind"),
        (("distill",), "Missing argument"),
    ],
)
def test_user_errors_are_one_clear_message_with_status_2(
    arguments: tuple[str, ...], message: str, teacher_folder: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "t.npy").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("t.npy")
    (tmp_path / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in refusal([str(teacher_folder) if item == "TEACHER" else item for item in arguments], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "t.npy").read_bytes() == b"mine"
    assert (tmp_path / "t.txt").read_text() == "one\ntwo\n"


def test_a_small_demo_prints_its_table_and_leaves_what_it_made(
    tmp_path: Path, command: Callable[..., CompletedProcess[str]]
) -> None:
    demo = [sys.executable, "-m", "demo", "new/made", "--concepts", "300", "--cache-dir", "cache"]
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(demo, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=600, env=path)
    assert result.returncode == 0, result.stderr
    first, *_ = result.stdout.splitlines()
    assert re.match(r"Embedding [\d,]+ texts takes about \d+ s here", first)
    report = json.loads((tmp_path / "new" / "made" / "demo.json").read_text())
    rows = {row["method"]: row for row in report["rows"]}
    assert list(rows) == ["float32", "ubinary", "PQ, 64 bytes", "bsa, flag-free", "bsa, refined"]
    assert [row["code_bytes"] for row in report["rows"]] == [1536, 48, 64, 64, 64]
    assert rows["float32"]["found_at_10"] == 1
    assert rows["bsa, refined"]["found_at_10"] > rows["bsa, flag-free"]["found_at_10"] > rows["ubinary"]["found_at_10"] > 0.5
    assert rows["float32"]["ndcg_at_10"] > 0.5
    for row in report["rows"]:
        assert row["disk_bytes"] >= row["code_bytes"]
        assert f"{row['ndcg_at_10']:.3f}" in result.stdout
    assert len(report["examples"]) == 3
    assert all(hit["reason"] for example in report["examples"] for hit in example["found"])
    assert str(Path("new/made") / "names.html") in result.stdout
    assert (tmp_path / "new" / "made" / "names.html").is_file()
    place = ("new/made/model", "new/made/concepts.index")
    found = command("search", *place, "a short person", "--top-k", 2, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "stature" in found.stdout
    kept = command("search", *place, "abnormality", "--with-tags", "kidney", "--facets", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    *hits, counts = kept.stdout.splitlines()
    assert re.match(rf"tags: kidney {len(hits)}\b", counts)
    why = run("explain", "new/made/model", "Short stature", "Height below average", cwd=tmp_path)
    assert why.returncode == 0, why.stderr
