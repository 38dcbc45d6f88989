"""``bsa-st engine load``: streaming, going on after an interruption, and real servers killed under it."""

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

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.cli.main import app
from bsa_st.codes.file import BLOCK_TEXTS
from bsa_st.codes.scoring import asymmetric_scores, scores, top_k
from bsa_st.codes.stream import stream_codes
from bsa_st.engines import connect
from bsa_st.engines.documents import Documents
from bsa_st.engines.load import load_codes
from tests.engine_server import EngineSample, kill_server, running_postgres

MANY = 40_000


@pytest.fixture
def codes_file(engine_sample: EngineSample, tmp_path: Path) -> Path:
    engine_sample.codes.save(tmp_path / "a.codes")
    return tmp_path / "a.codes"


def many_codes(engine_sample: EngineSample, count: int = MANY) -> BinaryCodes:
    return engine_sample.codes[np.random.default_rng(3).integers(0, 400, count)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bsa_st.cli.main", "engine", *map(str, arguments)]


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
    stream = stream_codes(codes_file, batch)
    parts = list(stream.batches)
    assert (stream.texts, stream.hidden_dim) == (400, 1024)
    assert all(len(part) == batch for part in parts[:-1])
    assert BinaryCodes.concatenate(parts) == engine_sample.codes


def test_batches_run_over_blocks(engine_sample: EngineSample, tmp_path: Path) -> None:
    codes = many_codes(engine_sample, BLOCK_TEXTS + 500)
    codes.save(tmp_path / "b.codes")
    parts = list(stream_codes(tmp_path / "b.codes", 1000).batches)
    assert [len(part) for part in parts] == [1000] * 66 + [36]
    assert parts[65] == codes[65_000:66_000]


def test_streaming_takes_no_more_memory_for_more_blocks(tmp_path: Path) -> None:
    peaks = []
    for blocks in (3, 9):
        texts = blocks * BLOCK_TEXTS
        BinaryCodes(np.tile([1, 5, 9, 700], texts), 4 * np.arange(texts + 1), 1024).save(tmp_path / "a.codes")
        tracemalloc.start()
        assert sum(len(codes) for codes in stream_codes(tmp_path / "a.codes", 5000).batches) == texts
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_damaged_block_is_named_when_it_is_reached(engine_sample: EngineSample, tmp_path: Path) -> None:
    path = tmp_path / "b.codes"
    many_codes(engine_sample, BLOCK_TEXTS + 500).save(path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    stream = stream_codes(path)
    assert len(next(stream.batches)) == 1000
    with pytest.raises(BSAError, match=r"b\.codes: block 1 of 2 is damaged"):
        list(stream.batches)
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
                real(documents._replace(ids=documents.ids[:3], codes=documents.codes[:3]))  # a part arrives
                raise KeyboardInterrupt
            self.batches.append(documents.ids[0])
            real(documents)

        monkeypatch.setattr(engine, "_upsert", upsert)


def test_a_load_goes_on_where_it_was_interrupted(
    engine_sample: EngineSample, codes_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_edge")
    engine = connect("qdrant-edge", str(tmp_path / "edge"), "papers")
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
    assert engine.count() == 400
    truth = top_k(scores(engine_sample.queries, engine_sample.codes), 10)
    assert np.array_equal(engine.search(engine_sample.queries, 10).scores, truth.scores)
    engine.close()


def test_documents_of_another_file_are_not_overwritten(engine_sample: EngineSample, codes_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    engine = connect("qdrant-edge", str(tmp_path / "edge"), "papers")
    load_codes(engine, codes_file)
    engine_sample.codes[:30].save(tmp_path / "b.codes")
    with pytest.raises(BSAError, match="30 of the ids 0 to 29 are taken by documents of another file"):
        load_codes(engine, tmp_path / "b.codes")
    assert load_codes(engine, tmp_path / "b.codes", first_id=400).sent == 30
    assert engine.count() == 430
    assert load_codes(engine, tmp_path / "b.codes", replace=True).sent == 30
    assert engine.count() == 430
    engine.close()


@pytest.mark.parametrize("name", ["fields.jsonl", "fields.jsonl.gz"])
def test_payloads_travel_with_their_documents(engine_sample: EngineSample, codes_file: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("qdrant_edge")
    lines = "".join(json.dumps(fields) + "\n" for fields in engine_sample.payloads).encode()
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    engine = connect("qdrant-edge", str(tmp_path / "edge"), "papers")
    load_codes(engine, codes_file, payloads=tmp_path / name, batch_size=64)
    assert engine.payloads(range(400)) == dict(enumerate(engine_sample.payloads))
    engine.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n', "fields.jsonl has 1 lines for 400 texts"),
        (b'{"a": 1}\n[2]\n', "fields.jsonl, line 2: not a JSON object"),
        (b'{"a": 1}\n{"a"\n', "fields.jsonl, line 2: "),
        (b"\xff\n", "fields.jsonl, line 1: "),
    ],
)
def test_bad_payloads_are_found_before_anything_is_sent(codes_file: Path, tmp_path: Path, content: bytes, message: str) -> None:
    pytest.importorskip("qdrant_edge")
    (tmp_path / "fields.jsonl").write_bytes(content)
    engine = connect("qdrant-edge", str(tmp_path / "edge"), "papers")
    with pytest.raises(BSAError, match=message):
        load_codes(engine, codes_file, payloads=tmp_path / "fields.jsonl")
    assert engine.layout() is None


def test_float_queries_need_the_model(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    plain = engine_sample.codes
    plain.save(tmp_path / "a.codes")
    engine = connect("qdrant-edge", str(tmp_path / "edge"), "papers")
    with pytest.raises(BSAError, match="need the model that made the codes"):
        load_codes(engine, tmp_path / "a.codes", asymmetric=True)
    load_codes(engine, tmp_path / "a.codes", decoder=engine_sample.decoder, batch_size=100)
    truth = top_k(asymmetric_scores(engine_sample.dense[:1], plain, *engine_sample.decoder), 5)
    found = engine.search(engine_sample.dense[:1], 5, decoder=engine_sample.decoder)
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-5)
    engine.close()


# -- PostgreSQL, really killed ------------------------------------------------------------------------------------------


def rows_there(engine: Any) -> int:
    return engine.count() if engine.layout() is not None else 0


def wait_for(engine: Any, count: int, loader: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while rows_there(engine) < count:
        assert loader.poll() is None, loader.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_whole(url: str, codes: BinaryCodes, queries: BinaryCodes) -> None:
    """Every document once, and the codes are right: each query finds what the index finds."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT id), min(id), max(id), count(DISTINCT source) FROM papers")
        assert found.fetchone() == (len(codes), len(codes), 0, len(codes) - 1, 1)
    with connect("postgres", url, "papers") as engine:
        truth = top_k(scores(queries, codes), 50)
        hits = engine.search(queries, 50)
        assert np.array_equal(hits.scores, truth.scores)
        assert np.array_equal(hits.ids, truth.ids)


def test_a_killed_server_loses_and_doubles_nothing(engine_sample: EngineSample, tmp_path: Path) -> None:
    codes = many_codes(engine_sample)
    codes.save(tmp_path / "many.codes")
    with running_postgres(tmp_path / "data") as server:
        url = server.get_uri()
        load = command(
            "load", tmp_path / "many.codes", "--url", url, "--collection", "papers", "--batch-size", 500, "--retries", 1
        )
        loader = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with connect("postgres", url, "papers") as watching:
            wait_for(watching, 3000, loader)
        kill_server(server.get_pid())
        _, errors = loader.communicate(timeout=120)
        assert loader.returncode == 2, errors
        (line,) = [line for line in errors.splitlines() if line.startswith("bsa-st: ")]
        assert "does not answer" in line
        assert f"of {MANY} documents are loaded, the same command goes on from there" in line
        assert "Traceback" not in errors

        server.ensure_postgres_running()
        done = subprocess.run(load, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        sent, found = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit() and int(word) != MANY)
        assert sent + found == MANY
        assert found >= 3000
        assert sent > 0
        assert_whole(url, codes, engine_sample.queries)


def test_a_server_process_that_crashes_is_waited_for(engine_sample: EngineSample, tmp_path: Path, postgres: str) -> None:
    """PostgreSQL ends all sessions and recovers when one of its processes is killed; the load takes up again by itself."""
    psycopg = pytest.importorskip("psycopg")
    codes = many_codes(engine_sample, 20_000)
    codes.save(tmp_path / "many.codes")
    load = command("load", tmp_path / "many.codes", "--url", postgres, "--collection", "papers", "--batch-size", 500)
    with connect("postgres", postgres, "papers") as watching:
        watching.drop()
        loader = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(watching, 1000, loader)
    with psycopg.connect(postgres) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        (process,) = connection.execute(query).fetchone()
    os.kill(process, signal.SIGKILL)
    output, errors = loader.communicate(timeout=120)
    assert loader.returncode == 0, errors
    assert "does not answer" in errors
    assert "trying again" in errors
    assert "20000 documents in papers" in output
    assert_whole(postgres, codes, engine_sample.queries)


def test_a_killed_loader_is_taken_up_by_the_next(engine_sample: EngineSample, tmp_path: Path, postgres: str) -> None:
    codes = many_codes(engine_sample, 20_000)
    codes.save(tmp_path / "many.codes")
    load = command("load", tmp_path / "many.codes", "--url", postgres, "--collection", "papers", "--batch-size", 500)
    with connect("postgres", postgres, "papers") as watching:
        watching.drop()
        loader = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(watching, 1000, loader)
        loader.kill()
        loader.communicate()
        assert rows_there(watching) % 500 == 0
    done = subprocess.run(load, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_whole(postgres, codes, engine_sample.queries)


# -- PostgreSQL, refusing -----------------------------------------------------------------------------------------------


def test_wrong_users_passwords_databases_and_addresses_are_told_in_one_line(codes_file: Path, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with running_postgres(tmp_path / "data") as server:
        url = server.get_uri()
        assert 'role "nobody" does not exist' in refused("load", codes_file, "--url", url.replace("postgres:@", "nobody:@"))
        assert 'database "nowhere" does not exist' in refused(
            "load", codes_file, "--url", url.replace("/postgres?", "/nowhere?")
        )
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


def test_versions_that_do_not_fit_are_told(
    codes_file: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, engine_sample: EngineSample
) -> None:
    module = pytest.importorskip("bsa_st.engines.postgres")
    psycopg = pytest.importorskip("psycopg")
    with connect("postgres", postgres, "versions") as engine:
        monkeypatch.setattr(module, "OLDEST", (99, 0))
        with pytest.raises(BSAError, match=r"pgvector .* is too old"):
            load_codes(engine, codes_file)
        monkeypatch.undo()
        assert engine.layout() is None
        load_codes(engine, codes_file)
        with psycopg.connect(postgres) as connection:
            connection.execute("""COMMENT ON TABLE versions IS '{"bsa_st_format": 2}'""")
        with pytest.raises(BSAError, match="table versions has format 2, newer than this bsa_st reads"):
            load_codes(engine, codes_file)
        with psycopg.connect(postgres) as connection:
            connection.execute("COMMENT ON TABLE versions IS 'mine'")
        with pytest.raises(BSAError, match="table versions was not made by bsa_st"):
            load_codes(engine, codes_file)
        engine.drop()


def test_bits_in_postgres_score_exactly(codes_file: Path, postgres: str, engine_sample: EngineSample) -> None:
    with connect("postgres", postgres, "bits") as engine:
        load_codes(engine, codes_file, asymmetric=False, form="bit")
        for scoring in ("overlap", "jaccard", "hamming"):
            every = scores(engine_sample.queries, engine_sample.codes, scoring)  # type: ignore[arg-type]
            hits = engine.search(engine_sample.queries, 20, scoring=scoring)
            np.testing.assert_allclose(hits.scores, -np.sort(-every, axis=1)[:, :20], atol=1e-6)
        with pytest.raises(BSAError, match="form bit does not know the scoring idf"):
            engine.search(engine_sample.queries, scoring="idf", weights=np.ones(1024))
        engine.drop()
        with pytest.raises(BSAError, match="form='sparsevec'"):
            load_codes(engine, codes_file, decoder=engine_sample.decoder, form="bit")


# -- the command --------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["engine", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_load_and_search_from_the_command_line(threshold_folder: Path, texts: list[str], tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    from bsa_st import encode, load

    model = load(threshold_folder)
    codes = encode(model, texts[:60], refine=True)
    codes.save(tmp_path / "a.codes")
    rows = [json.dumps({"text": text[:30], "part": place % 3}) for place, text in enumerate(texts[:60])]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    place = ("--url", tmp_path / "edge", "--engine", "qdrant-edge", "--collection", "papers")
    load_it = ("load", tmp_path / "a.codes", *place, "--payload", tmp_path / "a.jsonl", "--model", threshold_folder)
    assert "60 documents in papers: 60 sent, 0 were there" in run(*load_it)
    assert "60 documents in papers: 0 sent, 60 were there" in run(*load_it)
    truth = Index.build(codes, decoder=model)
    truth.model = model
    for scoring in ("asymmetric", "overlap"):
        shown = run("search", threshold_folder, texts[7], *place, "--top-k", 3, "--scoring", scoring).splitlines()
        (expected,) = truth.search(texts[7], 3, scoring=scoring)  # type: ignore[arg-type]
        assert [float(line.split()[0]) for line in shown] == pytest.approx(expected.scores.tolist(), abs=1e-3)
        assert json.loads(shown[0].split(maxsplit=2)[2])["text"] == texts[7][:30]
    shown = run(
        "search", threshold_folder, texts[7], *place, "--filter", "part=2", "--probes", 50, "--candidates", 20
    ).splitlines()
    assert {json.loads(line.split(maxsplit=2)[2])["part"] for line in shown} == {2}


def test_wrong_commands_are_told_in_one_line(codes_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    edge = ("--url", tmp_path / "edge", "--engine", "qdrant-edge")
    assert "say which engine" in refused("load", codes_file, "--url", "http://user:pw@localhost:1")
    assert "engine must be one of" in refused("load", codes_file, "--url", "http://localhost:1", "--engine", "sphinx")
    assert "cannot read codes file" in refused("load", tmp_path / "none.codes", *edge)
    assert "small letters" in refused("load", codes_file, *edge, "--collection", "A B")
    assert "qdrant-edge has no shards" in refused("load", codes_file, *edge, "--shards", 3)
    assert "field=value" in refused("search", tmp_path, "text", *edge, "--filter", "lang")
