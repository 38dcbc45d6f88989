"""Encoding into shards: the same bytes from one process, several, Ray, and a run that was killed; damage is named."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

import bsa_st
from bsa_st import BinaryCodes, BSAError, Index, ShardedCodes, encode_to_shards
from bsa_st.cli.main import app
from bsa_st.codes.shards import stream_codes
from bsa_st.encoding.encode import Recipe
from bsa_st.encoding.pool import Job, choose_devices, encode_locally
from tests.smallmodel import WORDS, small_model

COUNT = 2 * 4096 + 700
SHARDS = ["--shard-texts", "4096"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    bsa_st.save(small_model(folder / "encoder"), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def model(model_folder: Path) -> SentenceTransformer:
    return bsa_st.load(model_folder)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    chance = random.Random(3)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(COUNT)]


@pytest.fixture(scope="module")
def text_file(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def one(model: SentenceTransformer, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one process writes."""
    folder = tmp_path_factory.mktemp("one") / "codes"
    encode_to_shards(model, text_file, folder, shard_texts=4096)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for name, raw in content(source).items():
        (target / name).write_bytes(raw)
    return target


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bsa_st", "encode", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=600)


def test_shards_are_the_bytes_of_one_file_and_of_encode(
    model: SentenceTransformer, lines: list[str], one: Path, tmp_path: Path
) -> None:
    expected = bsa_st.encode(model, lines, refine=True)
    sharded = ShardedCodes(one)
    assert [len(part) for part in sharded] == [4096, 4096, 700]
    assert len(sharded) == COUNT
    assert sharded.load() == expected
    sharded.load().save(tmp_path / "merged.codes")
    expected.save(tmp_path / "expected.codes")
    assert (tmp_path / "merged.codes").read_bytes() == (tmp_path / "expected.codes").read_bytes()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'bsa-st[ray]'")
def test_ray_writes_the_same_bytes_and_continues(model_folder: Path, text_file: Path, one: Path, tmp_path: Path) -> None:
    begun = copy(one, tmp_path / "ray")
    manifest = json.loads((begun / "manifest.json").read_text())
    kept = manifest["shards"].pop(1)
    manifest["shards"] = [kept]
    (begun / "manifest.json").write_text(json.dumps({**manifest, "complete": False, "texts": 0}))
    for name in ("shard-000000.codes", "shard-000002.codes"):
        (begun / name).unlink()
    before = (begun / "shard-000001.codes").stat().st_mtime_ns
    result = run(model_folder, text_file, begun, "--engine", "ray", "--processes", 1, *SHARDS)
    assert result.returncode == 0, result.stderr
    assert content(begun) == content(one)
    assert (begun / "shard-000001.codes").stat().st_mtime_ns == before


def test_the_ray_engine_names_what_it_lacks(
    model: SentenceTransformer, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BSAError, match=r"the ray engine needs Ray: pip install 'bsa-st\[ray\]'"):
        encode_to_shards(model, text_file, tmp_path / "codes", engine="ray")


@pytest.mark.slow
def test_a_killed_run_of_two_processes_continues_to_the_bytes_of_one(
    model_folder: Path, text_file: Path, one: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        command(model_folder, text_file, folder, "--processes", 2, *SHARDS), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while not (folder / "shard-000000.codes").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    with pytest.raises(BSAError, match="encoding has not finished"):
        ShardedCodes(folder)
    deadline = time.monotonic() + 60
    while _session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _session(process.pid), "the processes of the pool outlived their parent"
    (folder / ".shard-000001.codes.4194305.abc").write_bytes(b"half a file")
    first = (folder / "shard-000000.codes").stat()
    listed = json.loads((folder / "manifest.json").read_text())["shards"]
    encode_to_shards(bsa_st.load(model_folder), text_file, folder, shard_texts=4096, processes=2)
    assert content(folder) == content(one)
    if listed:
        assert (folder / "shard-000000.codes").stat().st_mtime_ns == first.st_mtime_ns


def _session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[3] == str(leader) and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def test_a_pool_whose_processes_die_says_so(model_folder: Path, lines: list[str]) -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    killed = False

    def endless() -> Iterator[Job]:
        nonlocal killed
        while True:
            yield Job(0, lines[:4096], "")
            children = set(multiprocessing.active_children()) - before
            if children and not killed:  # one of two that has not begun would not be missed
                for child in children:
                    os.kill(child.pid or 0, signal.SIGKILL)
                killed = True

    recipe = Recipe(bsa_st.load(model_folder))
    with pytest.raises(BSAError, match=r"encoding stopped: .*died unexpectedly.* run it again to continue"):
        for _ in encode_locally(recipe, endless(), ["cpu", "cpu"], lambda _: None):
            pass
    assert killed
    assert set(multiprocessing.active_children()) <= before


def test_a_finished_folder_is_left_as_it_is_and_a_damaged_shard_made_again(
    model: SentenceTransformer, text_file: Path, one: Path, tmp_path: Path
) -> None:
    folder = copy(one, tmp_path / "again")
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard*")}
    encode_to_shards(model, text_file, folder, shard_texts=4096)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("shard*")} == times
    raw = bytearray((folder / "shard-000001.codes").read_bytes())
    raw[-5] ^= 1
    (folder / "shard-000001.codes").write_bytes(raw)
    encode_to_shards(model, text_file, folder, shard_texts=4096)
    assert content(folder) == content(one)


def test_a_text_that_cannot_be_used_is_named_and_what_is_done_is_kept(
    model_folder: Path, text_file: Path, lines: list[str], one: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps({"text": line}) + "\n" for line in [*lines[:5000], "  ", *lines[5001:]]))
    arguments = ["encode", str(model_folder), str(bad), str(tmp_path / "out"), "--shards", *SHARDS]
    with pytest.raises(BSAError) as refused:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert str(refused.value) == f"{bad}: text 5001 is empty; remove empty texts"
    assert sorted(content(tmp_path / "out")) == ["manifest.json", "shard-000000.codes"]
    arguments[2] = str(text_file)
    continued = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert continued.exit_code == 0
    assert f"{COUNT} texts in {tmp_path / 'out'}" in continued.output
    assert content(tmp_path / "out") == content(one)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"refine": False}, "was begun with refine = True, not False; give the same settings or choose another folder"),
        ({"shard_texts": 8192}, "was begun with shard_texts = 4096, not 8192"),
        ({"texts": "other"}, "was begun with other texts: shard 1 differs; choose another folder"),
        ({"texts": "fewer"}, "was begun with more texts than the 4096 given now"),
        ({"folder": "else"}, "holds something else than sharded codes"),
        ({"folder": "file"}, "cannot write to the folder .*: File exists"),
        ({"model": "other"}, "holds codes of another model"),
        ({"shard_texts": 1000}, "shard_texts must be a multiple of 4096, got 1000"),
        ({"engine": "spark"}, "engine must be one of local, ray, got 'spark'"),
        ({"processes": 0}, "processes must be at least 1, got 0"),
        ({"device": "cuda:0,cpu", "processes": 1}, "cuda:0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"prompt_name": "no"}, "the model has no prompt 'no'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_lost(
    changed: dict[str, object], message: str, model: SentenceTransformer, lines: list[str], one: Path, tmp_path: Path
) -> None:
    folder = copy(one, tmp_path / "codes")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = content(folder)
    other = small_model(tmp_path / "encoder", seed=9) if changed.get("model") else model
    given = {"other": [*lines[:5000], "other", *lines[5001:]], "fewer": lines[:4096], None: lines}[changed.get("texts")]  # type: ignore[index]
    target = tmp_path / str(changed.get("folder", "codes"))
    options = {name: value for name, value in changed.items() if name not in ("texts", "folder", "model")}
    with pytest.raises(BSAError, match=message):
        encode_to_shards(other, given, target, **{"shard_texts": 4096, **options})  # type: ignore[arg-type]
    assert content(folder) == before
    assert (tmp_path / "else" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no manifest", "holds no sharded codes: manifest.json is missing"),
        ("not json", "manifest.json: not a manifest"),
        ("list", "manifest.json: not a manifest of sharded codes"),
        ("newer", "manifest.json: format 99 is newer than this bsa_st reads"),
        ("field", "manifest.json: not a manifest of sharded codes, or damaged"),
        ("entry", "manifest.json: not a manifest of sharded codes, or damaged \\('number'\\)"),
        ("unlisted", "the shards do not count up from 0 to 8892 texts"),
        ("sum", "the shards do not count up from 0 to 5 texts"),
        ("incomplete", "encoding has not finished \\(3 shards so far\\)"),
        ("missing", "shard-000001.codes: missing, cut short or replaced: 0 bytes"),
        ("cut", "shard-000001.codes: missing, cut short or replaced: 100 bytes, the manifest lists"),
        ("flip", "shard-000001.codes: damaged: its bytes are not those that the manifest lists"),
        ("described", "shard-000000.codes: not the codes that the manifest describes"),
    ],
)
def test_damage_is_named_when_it_is_met(damage: str, message: str, one: Path, tmp_path: Path) -> None:
    folder = copy(one, tmp_path / "codes")
    path, shard = folder / "manifest.json", folder / "shard-000001.codes"
    manifest = json.loads(path.read_text())
    if damage == "no manifest":
        path.unlink()
    elif damage == "missing":
        shard.unlink()
    elif damage == "cut":
        os.truncate(shard, 100)
    elif damage == "flip":
        raw = bytearray(shard.read_bytes())
        raw[-1] ^= 1
        shard.write_bytes(raw)
    else:
        changed = {
            "newer": {"format": 99},
            "field": {"hidden_dim": None},
            "entry": {"shards": [{}]},
            "unlisted": {"shards": manifest["shards"][1:]},
            "sum": {"texts": 5},
            "incomplete": {"complete": False},
            "described": {"hidden_dim": 65},
        }
        whole = {"not json": "{", "list": "[]"}.get(damage) or json.dumps({**manifest, **changed[damage]})
        path.write_text(whole)
    with pytest.raises(BSAError, match=message):
        ShardedCodes(folder).load()


def test_a_folder_is_known_by_its_manifest(one: Path) -> None:
    assert ShardedCodes(one / "manifest.json").load() == ShardedCodes(one).load()


def test_the_command_line_reads_shards(model_folder: Path, one: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    exported = invoke(app, ["export", str(one), str(tmp_path / "out.npy")], catch_exceptions=False)
    assert exported.exit_code == 0
    assert np.array_equal(np.load(tmp_path / "out.npy"), ShardedCodes(one).load().to_packed())
    built = invoke(app, ["index", "build", str(model_folder), str(one), str(tmp_path / "out.index")], catch_exceptions=False)
    assert built.exit_code == 0
    assert len(Index.open(tmp_path / "out.index")) == COUNT


def test_texts_are_read_as_a_stream(model: SentenceTransformer, tmp_path: Path) -> None:
    def endless() -> Iterator[str]:
        for taken in count():
            if taken > 3 * 4096:
                assert (tmp_path / "codes" / "shard-000001.codes").is_file()
                raise BSAError("stopped")
            yield WORDS[taken % len(WORDS)]

    with pytest.raises(BSAError, match="stopped"):
        encode_to_shards(model, endless(), tmp_path / "codes", shard_texts=4096, refine=False)


def test_devices_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_devices("cpu", None) == ["cpu"]
    assert choose_devices("cpu", 3) == ["cpu"] * 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert choose_devices(None, None) == ["cuda:0"]
    assert choose_devices(None, 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert choose_devices("cuda:0, cuda:1", None) == ["cuda:0", "cuda:1"]
    assert choose_devices("cuda:0,cuda:1", 4) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    with pytest.raises(BSAError, match="2 devices need as many processes, got 1"):
        choose_devices("cuda:0,cuda:1", 1)


@pytest.mark.parametrize("device", ["cuda:7", "meta", "abacus", "cpu,cuda:7"])
def test_devices_that_are_not_there_are_named(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(BSAError, match=f"device '{device.split(',')[-1]}' cannot be used here"):
        choose_devices(device, None)


def test_shards_go_into_an_engine(one: Path) -> None:
    codes = ShardedCodes(one)
    hidden_dim, texts, stream = stream_codes(one, 1000)
    batches = list(stream)
    assert (texts, hidden_dim) == (len(codes), codes.hidden_dim)
    assert {len(batch) for batch in batches[:-1]} == {1000}
    assert BinaryCodes.concatenate(batches) == codes.load()
