"""Clients of Qdrant, Elasticsearch and OpenSearch against servers that answer, fail and die as these do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bsa_st import BSAError
from bsa_st.cli.main import app
from bsa_st.codes.scoring import asymmetric_scores, idf, scores, top_k
from bsa_st.engines import Engine, Layout, Unavailable, connect
from bsa_st.engines.load import load_codes
from tests.engine_server import EngineSample
from tests.engine_stub import Fault, StubServer, stub_server

CLIENTS = {"qdrant": "qdrant_client", "elasticsearch": "elasticsearch", "opensearch": "opensearchpy"}
WRITE = {"qdrant": "PUT .*/points", "elasticsearch": "POST .*_bulk", "opensearch": "POST .*_bulk"}
REST = ["elasticsearch", "opensearch"]


@pytest.fixture(params=list(CLIENTS))
def server(request: pytest.FixtureRequest) -> Iterator[StubServer]:
    pytest.importorskip(CLIENTS[request.param])
    with stub_server(request.param) as stub:
        yield stub


@pytest.fixture
def codes_file(engine_sample: EngineSample, tmp_path: Path) -> Path:
    engine_sample.codes.save(tmp_path / "a.codes")
    return tmp_path / "a.codes"


def opened(server: StubServer, **options: Any) -> Engine:
    return connect(server.flavour, server.url, "papers", **options)


def features_stored(server: StubServer) -> list[list[int]]:
    found = [server.documents[str(name)] for name in range(len(server.documents))]
    if server.flavour == "qdrant":
        return [document["vector"]["bsa_1024"]["indices"] for document in found]
    return [document["features"] for document in found]


def features_of(sample: EngineSample) -> list[list[int]]:
    return [part.tolist() for part in np.split(sample.codes.ids, sample.codes.indptr[1:-1])]


# -- what is asked, and what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("server", REST, indirect=True)
def test_searches_over_rest_score_as_the_index(server: StubServer, engine_sample: EngineSample) -> None:
    codes, queries, dense, decoder, payloads = engine_sample
    weights = idf(codes)
    with opened(server) as engine:
        engine.create(Layout(1024, True))
        engine.create(Layout(1024, True))
        engine.upsert(range(400), codes, payloads, factors=engine_sample.factors(slice(None)))
        overlap = engine.search(queries, 20)
        assert np.array_equal(overlap.scores, top_k(scores(queries, codes), 20).scores)
        rare = engine.search(queries, 20, scoring="idf", weights=weights)
        np.testing.assert_allclose(rare.scores, top_k(scores(queries, codes, weights=weights), 20).scores, atol=1e-4)
        truth = top_k(asymmetric_scores(dense, codes, *decoder), 20)
        for options in ({}, {"probes": 1024, "candidates": 400}):
            floats = engine.search(dense, 20, decoder=decoder, **options)
            np.testing.assert_allclose(floats.scores, truth.scores, atol=1e-5)
            assert np.array_equal(floats.ids, truth.ids)
        assert engine.count({"part": [1, 2], "kind": "odd"}) == 100
        assert engine.count({"first": True}) == 10
        filtered = engine.search(dense, 20, decoder=decoder, filter={"part": 3}, probes=64)
        assert set((filtered.ids % 4).ravel().tolist()) == {3}
        engine.delete([1, 2, 3])
        assert engine.count() == 397
        assert engine.payloads([3, 4]) == {4: payloads[4]}


def test_shards_and_replicas_are_asked_for(server: StubServer) -> None:
    with opened(server, shards=3, replicas=2) as engine:
        engine.create(Layout(1024, True))
    assert server.index is not None
    if server.flavour == "qdrant":
        assert (server.index["shard_number"], server.index["replication_factor"]) == (3, 2)
        datatypes = {name: entry["index"]["datatype"] for name, entry in server.index["sparse_vectors"].items()}
        assert datatypes == {"bsa_1024": "uint8", "bsa_1024_scaled": "float32"}
    else:
        assert server.index["settings"]["index"] == {"number_of_shards": 3, "number_of_replicas": 2}


def test_a_load_arrives_whole_and_once(server: StubServer, engine_sample: EngineSample, codes_file: Path) -> None:
    with opened(server) as engine:
        assert load_codes(engine, codes_file, decoder=engine_sample.decoder, batch_size=64).sent == 400
        assert load_codes(engine, codes_file, decoder=engine_sample.decoder, batch_size=64).sent == 0
    assert features_stored(server) == features_of(engine_sample)
    assert server.writes == 400


# -- failures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_passes_is_tried_again(server: StubServer, engine_sample: EngineSample, codes_file: Path, status: int) -> None:
    server.faults = [Fault(WRITE[server.flavour], status, times=2, after=1, applied=status == 0)]
    with opened(server) as engine:
        assert load_codes(engine, codes_file, decoder=engine_sample.decoder, batch_size=100, wait=0.001).sent == 400
    assert features_stored(server) == features_of(engine_sample)


def test_a_server_that_dies_midway_is_named_and_the_next_load_goes_on(
    server: StubServer, engine_sample: EngineSample, codes_file: Path
) -> None:
    server.faults = [Fault(".*", 0, after=8)]
    with pytest.raises(
        BSAError, match=r"does not answer.*; the first \d+ of 400 documents are loaded, the same command"
    ) as caught:
        load_codes(opened(server), codes_file, decoder=engine_sample.decoder, batch_size=50, attempts=2, wait=0.001)
    assert not isinstance(caught.value, Unavailable)
    assert "\n" not in str(caught.value)
    there = len(server.documents)
    assert 0 < there < 400
    server.faults = []
    done = load_codes(opened(server), codes_file, decoder=engine_sample.decoder, batch_size=50)
    assert (done.found, done.sent) == (there, 400 - there)
    assert features_stored(server) == features_of(engine_sample)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_is_told_at_once(server: StubServer, codes_file: Path, status: int) -> None:
    server.faults = [Fault(".*", status)]
    result = CliRunner().invoke(
        app, ["engine", "load", str(codes_file), "--url", server.url, "--engine", server.flavour, "--api-key", "topsecret"]
    )
    assert isinstance(result.exception, BSAError)
    assert f"refuses access ({status}); check the" in str(result.exception)
    assert "topsecret" not in str(result.exception)
    assert len(server.requests) == 1


@pytest.mark.parametrize("flavour", list(CLIENTS))
def test_a_closed_port_is_told_in_one_line(flavour: str, codes_file: Path) -> None:
    pytest.importorskip(CLIENTS[flavour])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    result = CliRunner().invoke(app, ["engine", "load", str(codes_file), "--url", url, "--engine", flavour, "--retries", "0"])
    assert isinstance(result.exception, BSAError)
    assert f"at {url} does not answer" in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("asked", list(CLIENTS))
def test_another_product_is_recognised(asked: str, codes_file: Path) -> None:
    pytest.importorskip(CLIENTS[asked])
    with stub_server("opensearch" if asked != "opensearch" else "elasticsearch") as stub:
        with pytest.raises(BSAError, match="answers, but"):
            connect(asked, stub.url, "papers")
        assert stub.index is None


@pytest.mark.parametrize(
    ("flavour", "version", "message"),
    [("qdrant", "1.7.4", "Qdrant 1.7.4"), ("elasticsearch", "7.17.0", "Elasticsearch 7.17.0"), ("opensearch", "1.3.0", "OpenSearch 1.3.0")],
)  # fmt: skip
def test_old_servers_are_refused(flavour: str, version: str, message: str) -> None:
    pytest.importorskip(CLIENTS[flavour])
    with (
        stub_server(flavour, version=version) as stub,
        pytest.raises(BSAError, match=f"{message} at .* is too old; bsa_st needs"),
    ):
        connect(flavour, stub.url, "papers")


@pytest.mark.parametrize("server", REST, indirect=True)
def test_documents_that_are_refused_are_told(
    server: StubServer, engine_sample: EngineSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bulk(status: int) -> Any:
        item = {"index": {"status": status, "_id": "0", "error": {"type": "some_exception", "reason": "because"}}}
        return lambda body: {"errors": True, "items": [item, {"index": {"status": 201, "_id": "1"}}]}

    with opened(server) as engine:
        engine.create(Layout(1024, True))
        monkeypatch.setattr(server, "do_bulk", bulk(400))
        with pytest.raises(BSAError, match=r"took 1 of 2 documents.*because") as caught:
            engine.upsert([0, 1], engine_sample.codes[:2], factors=[1, 1])
        assert not isinstance(caught.value, Unavailable)
        monkeypatch.setattr(server, "do_bulk", bulk(429))
        with pytest.raises(Unavailable):
            engine.upsert([0, 1], engine_sample.codes[:2], factors=[1, 1])


def test_collections_of_others_are_left_alone(server: StubServer, codes_file: Path) -> None:
    if server.flavour == "qdrant":
        server.index = {"sparse_vectors": {"text": {}}}
    else:
        server.index = {"mappings": {"properties": {}}}
    with pytest.raises(BSAError, match="papers was not made by bsa_st"):
        load_codes(opened(server), codes_file)
    assert server.writes == 0


@pytest.mark.parametrize(
    "url", ["localhost:9200", "http://a host:1", "http://host:99999", "http://[::1", "ftp://host", "http://"]
)
@pytest.mark.parametrize("engine", list(CLIENTS))
def test_what_is_no_address_is_told(engine: str, url: str) -> None:
    pytest.importorskip(CLIENTS[engine])
    with pytest.raises(BSAError, match="looks like http://host:port"):
        connect(engine, url, "papers")
