"""``bsa-st engine load``: going on after an interruption, real servers killed under it, and one line for every failure."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bsa_st import BinaryCodes, BSAError, encode, load, save
from bsa_st.cli.main import app
from bsa_st.codes.file import BLOCK_TEXTS
from bsa_st.codes.scoring import as_decoder, asymmetric_scores, top_k
from bsa_st.codes.shards import stream_codes
from bsa_st.encoding.encode import split_model
from bsa_st.engines import connect
from bsa_st.engines.base import Documents
from bsa_st.engines.load import load_codes
from tests.engine_server import EngineSample, kill_server, running_postgres
from tests.smallmodel import WORDS, small_model

MANY = 40_000


@pytest.fixture
def codes_file(engine_sample: EngineSample, tmp_path: Path) -> Path:
    engine_sample.codes.save(tmp_path / "a.codes")
    return tmp_path / "a.codes"


@pytest.fixture
def url(tmp_path: Path) -> str:
    pytest.importorskip("lancedb")
    return f"lancedb://{tmp_path / 'lance'}"


def many_codes(engine_sample: EngineSample, count: int = MANY) -> BinaryCodes:
    return engine_sample.codes[np.random.default_rng(3).integers(0, 400, count)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bsa_st", "engine", *map(str, arguments)]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["engine", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """The one line that the command fails with."""
    result = CliRunner().invoke(app, ["engine", *map(str, arguments)])
    assert isinstance(result.exception, BSAError), (result.output, result.exception)
    line = str(result.exception)
    assert "\n" not in line
    return line


# -- streaming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 399, 400, 401])
def test_streamed_codes_are_those_of_the_file(engine_sample: EngineSample, codes_file: Path, batch: int) -> None:
    hidden_dim, texts, batches = stream_codes(codes_file, batch)
    parts = list(batches)
    assert (texts, hidden_dim) == (400, 256)
    assert all(len(part) == batch for part in parts[:-1])
    assert BinaryCodes.concatenate(parts) == engine_sample.codes


def test_streaming_takes_no_more_memory_for_more_blocks(tmp_path: Path) -> None:
    peaks = []
    for blocks in (3, 9):
        texts = blocks * BLOCK_TEXTS
        BinaryCodes(np.tile([1, 5, 9, 700], texts), 4 * np.arange(texts + 1), 1024).save(tmp_path / "a.codes")
        tracemalloc.start()
        assert sum(len(codes) for codes in stream_codes(tmp_path / "a.codes", 5000)[2]) == texts
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_damaged_block_is_named_when_it_is_reached(engine_sample: EngineSample, tmp_path: Path) -> None:
    path = tmp_path / "b.codes"
    many_codes(engine_sample, BLOCK_TEXTS + 500).save(path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    *_, batches = stream_codes(path)
    assert len(next(batches)) == 1000
    with pytest.raises(BSAError, match=r"b\.codes: block 1 of 2 is damaged"):
        list(batches)
    path.write_bytes(b"something else")
    with pytest.raises(BSAError, match="not a codes file"):
        stream_codes(path)


# -- loading, in this process -------------------------------------------------------------------------------------------


class Counting:
    """Counts and breaks the batches of an engine."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.fail_after = 10**9
        real = engine._upsert

        def upsert(documents: Documents) -> None:
            if len(self.batches) >= self.fail_after:
                real(Documents(*(part[:3] for part in documents)))  # a part arrives
                raise KeyboardInterrupt
            self.batches.append(int(documents.ids[0]))
            real(documents)

        monkeypatch.setattr(engine, "_upsert", upsert)


def test_a_load_goes_on_where_it_was_interrupted(
    engine_sample: EngineSample, codes_file: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect(url)
    watched = Counting(engine, monkeypatch)
    watched.fail_after = 4
    with pytest.raises(KeyboardInterrupt):
        load_codes(engine, codes_file, batch_size=50)
    engine.close()
    watched.fail_after = 10**9
    done = load_codes(engine, codes_file, batch_size=50)
    assert (done.documents, done.sent, done.found) == (400, 200, 200)
    assert watched.batches == list(range(0, 400, 50))
    assert load_codes(engine, codes_file, batch_size=80).sent == 0
    engine.delete([0, 399])
    assert load_codes(engine, codes_file, batch_size=100).sent == 200
    assert_whole(url, "bsa", engine_sample.codes)


def test_other_documents_are_not_overwritten(engine_sample: EngineSample, codes_file: Path, tmp_path: Path, url: str) -> None:
    engine = connect(url)
    load_codes(engine, codes_file)
    engine_sample.codes[100:130].save(tmp_path / "b.codes")
    with pytest.raises(BSAError, match="30 of the ids 0 to 29 are taken by other documents"):
        load_codes(engine, tmp_path / "b.codes")
    assert load_codes(engine, tmp_path / "b.codes", first_id=400).sent == 30
    assert engine.count() == 430
    assert load_codes(engine, tmp_path / "b.codes", replace=True).sent == 30
    assert engine.count() == 430
    (tmp_path / "fields.jsonl").write_text('{"a": 1}\n' * 30)
    with pytest.raises(BSAError, match="taken by other documents"):  # the same bits, other fields
        load_codes(engine, tmp_path / "b.codes", payloads=tmp_path / "fields.jsonl")


@pytest.mark.parametrize("name", ["fields.jsonl", "fields.jsonl.gz", "texts.txt"])
def test_payloads_travel_with_their_documents(
    engine_sample: EngineSample, codes_file: Path, tmp_path: Path, url: str, name: str
) -> None:
    only_texts = [{"text": fields["text"]} for fields in engine_sample.payloads]
    lines = "".join(json.dumps(fields) + "\n" for fields in engine_sample.payloads).encode()
    if name == "texts.txt":
        lines = "".join(fields["text"] + "\n" for fields in engine_sample.payloads).encode()
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    engine = connect(url)
    load_codes(engine, codes_file, payloads=tmp_path / name, batch_size=64)
    assert engine.payloads(range(400)) == (only_texts if name == "texts.txt" else engine_sample.payloads)
    assert load_codes(engine, codes_file, payloads=tmp_path / name).sent == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n', "fields.jsonl has 1 lines for 400 texts"),
        (b'{"a": 1}\n[2]\n', "fields.jsonl, line 2: not a JSON object"),
        (b'{"a": 1}\n{"a"\n', "fields.jsonl, line 2: "),
        (b'{"tags": [1]}\n', "fields.jsonl, line 1: tags must be a list of strings"),
        (b"\xff\n", "fields.jsonl: not UTF-8"),
        (None, "payload file not found"),
    ],
)
def test_bad_payloads_are_found_before_anything_is_sent(
    codes_file: Path, tmp_path: Path, url: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "fields.jsonl").write_bytes(content)
    engine = connect(url)
    with pytest.raises(BSAError, match=message):
        load_codes(engine, codes_file, payloads=tmp_path / "fields.jsonl")
    assert engine.hidden_dim() is None


def test_sparse_codes_go_in_as_bits_and_wide_ones_are_refused(tmp_path: Path, url: str) -> None:
    sparse = BinaryCodes(np.tile([1, 5, 700], 50), 3 * np.arange(51), 768)
    sparse.save(tmp_path / "sparse.codes")
    engine = connect(url)
    assert load_codes(engine, tmp_path / "sparse.codes").sent == 50
    assert np.array_equal(engine.fetch([7])[0].bits[0], sparse.to_packed()[7])
    BinaryCodes([5000], [0, 1], 16_384).save(tmp_path / "wide.codes")
    assert "at most 1024 bits, these have 16384" in refused("load", tmp_path / "wide.codes", "--url", url, "--collection", "b")
    BinaryCodes([5], [0, 1], 512).save(tmp_path / "other.codes")
    assert "bsa holds codes of 768 bits, not of 512" in refused("load", tmp_path / "other.codes", "--url", url)


# -- really killed ------------------------------------------------------------------------------------------------------


def wait_for(engine: Any, count: int, loader: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while engine.hidden_dim() is None or engine.count() < count:
        assert loader.poll() is None, loader.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_whole(url: str, collection: str, codes: BinaryCodes) -> None:
    """Every document once, and with its own bits."""
    with connect(url, collection) as engine:
        assert engine.count() == len(codes)
        found, _ = engine.fetch(range(len(codes)))
        order = np.argsort(found.ids)
        assert np.array_equal(found.ids[order], np.arange(len(codes)))
        assert np.array_equal(found.bits[order], codes.to_packed())


def test_a_killed_server_loses_and_doubles_nothing(engine_sample: EngineSample, tmp_path: Path) -> None:
    codes = many_codes(engine_sample)
    codes.save(tmp_path / "many.codes")
    with running_postgres(tmp_path / "data") as server:
        url = server.get_uri()
        place = ("--url", url, "--collection", "papers", "--no-index")
        load_it = command("load", tmp_path / "many.codes", *place, "--batch-size", 500, "--retries", 1)
        loader = subprocess.Popen(load_it, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with connect(url, "papers") as watching:
            wait_for(watching, 3000, loader)
        kill_server(server.get_pid())
        _, errors = loader.communicate(timeout=120)
        assert loader.returncode == 2, errors
        (line,) = [line for line in errors.splitlines() if line.startswith("bsa-st: ")]
        assert "does not answer" in line
        assert f"of {MANY} documents are loaded, the same command goes on from there" in line
        assert "Traceback" not in errors

        server.ensure_postgres_running()
        done = subprocess.run(load_it, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        sent, found = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit() and int(word) != MANY)
        assert sent + found == MANY
        assert found >= 3000
        assert sent > 0
        assert_whole(url, "papers", codes)


def test_a_server_process_that_crashes_is_waited_for(engine_sample: EngineSample, tmp_path: Path, postgres: str) -> None:
    """PostgreSQL ends all sessions and recovers when one of its processes is killed; the load takes up again by itself."""
    psycopg = pytest.importorskip("psycopg")
    codes = many_codes(engine_sample, 20_000)
    codes.save(tmp_path / "many.codes")
    load_it = command("load", tmp_path / "many.codes", "--url", postgres, "--collection", "crash", "--batch-size", 500)
    with connect(postgres, "crash") as watching:
        loader = subprocess.Popen(load_it, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(watching, 1000, loader)
    with psycopg.connect(postgres) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        (process,) = connection.execute(query).fetchone()
    os.kill(process, signal.SIGKILL)
    output, errors = loader.communicate(timeout=120)
    assert loader.returncode == 0, errors
    assert "does not answer" in errors
    assert "Retrying" in errors
    assert "20000 documents in crash" in output
    assert_whole(postgres, "crash", codes)


@pytest.mark.parametrize("engine", ["lancedb", "duckdb", "qdrant-edge"])
def test_a_killed_loader_is_taken_up_by_the_next(engine_sample: EngineSample, tmp_path: Path, engine: str) -> None:
    pytest.importorskip(engine.replace("-", "_"))
    codes, url = many_codes(engine_sample, 20_000), f"{engine}://{tmp_path / 'store'}"
    codes.save(tmp_path / "many.codes")
    load_it = command("load", tmp_path / "many.codes", "--url", url, "--batch-size", 500)
    loader = subprocess.Popen(load_it, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0)
    assert loader.stderr is not None
    seen = ""
    while "| 500/20000" not in seen and "00/20000" not in seen:  # the bar says that some are there
        seen += loader.stderr.read(1)
    time.sleep(0.2)
    loader.kill()
    loader.communicate()
    done = subprocess.run(load_it, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split(" sent, ")[1].split()[0]) > 0
    assert_whole(url, "bsa", codes)


# -- refused ------------------------------------------------------------------------------------------------------------


def test_wrong_users_passwords_databases_and_addresses_are_told_in_one_line(codes_file: Path, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with running_postgres(tmp_path / "data") as server:
        url = server.get_uri()
        assert 'role "nobody" does not exist' in refused("load", codes_file, "--url", url.replace("postgres:@", "nobody:@"))
        nowhere = refused("load", codes_file, "--url", url.replace("/postgres?", "/nowhere?"))
        assert 'database "nowhere" does not exist' in nowhere
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
            rules = tmp_path / "data" / "pg_hba.conf"
            rules.write_text("local all guest scram-sha-256\n" + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")
        line = refused("load", codes_file, "--url", url.replace("postgres:@", "guest:wrong@"))
        assert "password authentication failed" in line
        assert "wrong@" not in line
        line = refused("load", codes_file, "--url", url.replace("postgres:@", "guest:right@"))
        assert "permission denied" in line
    line = refused("load", codes_file, "--url", url, "--retries", 0)
    assert "does not answer" in line
    assert "the first 0 of 400 documents are loaded" in line


def test_an_old_pgvector_is_told(codes_file: Path, postgres: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE old")
    url = postgres.replace("/postgres?", "/old?")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    line = refused("load", codes_file, "--url", url)
    assert "pgvector 0.7.4" in line
    assert "is too old; bsa_st needs 0.8 or newer" in line
    with connect(url, "bsa") as engine:
        assert engine.hidden_dim() is None


def test_wrong_commands_are_told_in_one_line(codes_file: Path, tmp_path: Path, url: str) -> None:
    assert "an engine's address begins with" in refused("load", codes_file, "--url", "http://user:pw@localhost:1")
    assert "cannot read codes file" in refused("load", tmp_path / "none.codes", "--url", url)
    assert "small letters" in refused("load", codes_file, "--url", url, "--collection", "A B")
    assert "lancedb has no option 'shards'" in refused("load", codes_file, "--url", url, "--shards", 3)
    assert "field=value" in refused("search", tmp_path, "text", "--url", url, "--filter", "lang")
    assert "there is no collection bsa" in refused("search", tmp_path, "text", "--url", url)


def test_load_and_search_from_the_command_line(tmp_path: Path, url: str) -> None:
    save(small_model(tmp_path / "encoder"), tmp_path / "model")
    model = load(tmp_path / "model")
    texts = [f"{first} {second}" for first in WORDS for second in WORDS][:60]
    codes = encode(model, texts, refine=True)
    codes.save(tmp_path / "a.codes")
    rows = [
        json.dumps({"text": text, "part": place % 3, "tags": ["even"] * (place % 2 == 0)}) for place, text in enumerate(texts)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    load_it = ("load", tmp_path / "a.codes", "--url", url, "--payload", tmp_path / "a.jsonl")
    assert "60 documents in bsa: 60 sent, 0 were there" in run(*load_it)
    assert "60 documents in bsa: 0 sent, 60 were there" in run(*load_it)
    shown = run("search", tmp_path / "model", texts[7], "--url", url, "--top-k", 3).splitlines()
    decoder = as_decoder(model, codes.hidden_dim)
    assert decoder is not None
    every = asymmetric_scores(_dense(model, texts[7]), codes, *decoder)
    assert [float(line.split()[0]) for line in shown] == pytest.approx(top_k(every, 3).scores[0].tolist(), abs=1e-3)
    options = ("--filter", "part=2", "--filter", "tags=even", "--candidates", 20)
    shown = run("search", tmp_path / "model", texts[7], "--url", url, *options).splitlines()
    fields = [json.loads(line.split(maxsplit=2)[2]) for line in shown]
    assert len(fields) == 10
    assert {(one["part"], *one["tags"]) for one in fields} == {(2, "even")}


def _dense(model: Any, text: str) -> np.ndarray:
    encoder, _ = split_model(model)
    return np.asarray(encoder.encode([text], show_progress_bar=False), dtype=np.float32)
