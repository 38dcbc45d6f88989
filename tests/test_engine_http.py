"""Elasticsearch and OpenSearch: bodies as their documentation has them, and a client that tells every failure in one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from bsa_st import BSAError
from bsa_st.codes.scoring import top_k
from bsa_st.engines import Unavailable, connect
from bsa_st.engines.base import Documents
from bsa_st.engines.elasticsearch import bulk_lines
from bsa_st.engines.load import retrying
from tests.engine_server import EngineSample
from tests.test_engines import truth

FLAVOURS = ["elasticsearch", "opensearch"]


class Stub:
    """A server on the loopback interface that keeps documents and answers as both do, as far as bsa_st asks."""

    def __init__(self, flavour: str) -> None:
        self.flavour, self.version = flavour, "9.1.0" if flavour == "elasticsearch" else "3.1.0"
        self.documents: dict[str, dict[str, Any]] = {}
        self.index: dict[str, Any] | None = None
        self.failing: list[int] = []
        self.url = ""

    def answer(self, method: str, path: str, body: str) -> tuple[int, Any]:
        if self.failing:
            return self.failing.pop(0), {"error": {"type": "on_purpose"}}
        if path == "/":
            extra = {"distribution": "opensearch"} if self.flavour == "opensearch" else {}
            return 200, {"version": {"number": self.version, **extra}}
        action = path.split("?")[0].split("/")[2:]
        if method == "PUT":
            self.index = json.loads(body)
            return 200, {}
        if self.index is None:
            return 404, {"error": "index_not_found_exception"}
        if method == "DELETE":
            self.index, self.documents = None, {}
            return 200, {}
        return 200, getattr(self, action[0][1:])(body)

    def mapping(self, _: str) -> Any:
        return {"papers": {"mappings": self.index["mappings"]}} if self.index else {}

    def refresh(self, _: str) -> Any:
        return {}

    def bulk(self, body: str) -> Any:
        items, lines = [], [json.loads(line) for line in body.splitlines()]
        while lines:
            ((action, target),) = lines.pop(0).items()
            there = target["_id"] in self.documents
            if action == "index":
                self.documents[target["_id"]] = lines.pop(0)
            else:
                self.documents.pop(target["_id"], None)
            items.append({action: {"status": 200 if there or action == "index" else 404}})
        return {"items": items}

    def matching(self, clauses: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        groups = [set(clause["terms"]["tags"]) for clause in clauses]
        return {name: one for name, one in self.documents.items() if all(group & set(one["tags"]) for group in groups)}

    def count(self, body: str) -> Any:
        return {"count": len(self.matching(json.loads(body)["query"]["bool"]["filter"] if body else []))}

    def mget(self, body: str) -> Any:
        names = [one["_id"] for one in json.loads(body)["docs"]]
        return {"docs": [{"_id": name, "found": name in self.documents, "_source": self.documents.get(name)} for name in names]}

    def search(self, body: str) -> Any:
        content = json.loads(body)
        if self.flavour == "elasticsearch":
            knn = content["knn"]
            allowed, asked, name = self.matching(knn.get("filter", [])), bytes.fromhex(knn["query_vector"]), "hex"
        else:
            knn = content["query"]["knn"]["bits"]
            allowed = self.matching(knn.get("filter", {"bool": {"filter": []}})["bool"]["filter"])
            asked, name = np.array(knn["vector"], np.int8).tobytes(), "bytes"

        def distance(document: dict[str, Any]) -> int:
            stored = bytes.fromhex(document["bits"]) if name == "hex" else np.array(document["bits"], np.int8).tobytes()
            return sum((left ^ right).bit_count() for left, right in zip(stored, asked, strict=True))

        best = sorted(allowed, key=lambda one: distance(allowed[one]))[: content["size"]]
        return {"hits": {"hits": [{"_id": one, "_source": {"code": allowed[one]["code"]}} for one in best]}}


@pytest.fixture(params=FLAVOURS)
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    made = Stub(request.param)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, content = made.answer(self.command, self.path, body)
            if status == 0:
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"{request.param}://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


def test_the_whole_way_against_a_stub(stub: Stub, engine_sample: EngineSample) -> None:
    codes, payloads = engine_sample.codes, engine_sample.payloads
    with connect(stub.url, "papers", shards=3, replicas=1) as engine:
        assert engine.hidden_dim() is None
        engine.create(256)
        assert stub.index is not None
        assert {"number_of_shards": 3, "number_of_replicas": 1}.items() <= stub.index["settings"]["index"].items()
        engine.upsert(range(400), codes, payloads)
        engine.upsert(range(50), codes[:50], payloads[:50])
        assert engine.count() == 400
        assert engine.count({"tags": "seizure", "part": [0, 1]}) == 67
        rows = [place for place in range(400) if place % 3 == 0]
        rankings = engine.search(
            engine_sample.dense, 10, model=engine_sample.decoder, candidates=400, filter={"tags": "seizure"}
        )
        for ranking, ids in zip(rankings, top_k(truth(engine_sample, rows), 10).ids, strict=True):
            assert np.array_equal(ranking.ids, ids)
        assert engine.payloads([3, 999]) == [payloads[3], {}]
        engine.delete([3, 999])
        assert engine.count() == 399
        with pytest.raises(BSAError, match="holds codes of 256 bits, not of 512"):
            engine.create(512)
        engine.drop()
        assert engine.hidden_dim() is None


def test_mappings_are_those_of_the_documentation(stub: Stub) -> None:
    with connect(stub.url, "papers") as engine:
        body = engine.index_body(512)
    bits = body["mappings"]["properties"].pop("bits")
    if stub.flavour == "elasticsearch":
        assert bits == {
            "type": "dense_vector", "element_type": "bit", "dims": 512, "index": True, "similarity": "l2_norm", "index_options": {"type": "hnsw"}
        }  # fmt: skip
        assert body["settings"] == {"index": {}}
    else:
        method = {"name": "hnsw", "engine": "faiss"}
        assert bits == {
            "type": "knn_vector",
            "dimension": 512,
            "data_type": "binary",
            "space_type": "hamming",
            "method": method,
        }
        assert body["settings"] == {"index": {"knn": True}}
    assert body["mappings"]["properties"]["tags"] == {"type": "keyword"}
    assert body["mappings"]["properties"]["payload"] == {"type": "object", "enabled": False}


def test_queries_are_those_of_the_documentation(stub: Stub) -> None:
    bits = np.array([255, 1], np.uint8)
    with connect(stub.url, "papers") as engine:
        body = engine.search_body(bits, 50, [["en", "de"]])
    clauses = [{"terms": {"tags": ["en", "de"]}}]
    if stub.flavour == "elasticsearch":
        assert body["knn"] == {"field": "bits", "query_vector": "ff01", "k": 50, "num_candidates": 100, "filter": clauses}
    else:
        assert body["query"] == {"knn": {"bits": {"vector": [-1, 1], "k": 50, "filter": {"bool": {"filter": clauses}}}}}
    assert body["size"] == 50


def test_bulk_lines_are_pairs_of_action_and_document() -> None:
    documents = Documents(np.array([7]), np.array([[255, 1]], np.uint8), [["a"]], [{"text": "b"}])
    assert list(bulk_lines(documents, lambda bits: bits.tolist())) == [
        {"index": {"_id": "7"}},
        {"bits": [255, 1], "code": "ff01", "tags": ["a"], "payload": {"text": "b"}},
    ]


@pytest.mark.parametrize("status", [429, 503, 0])
def test_what_may_pass_is_tried_again(stub: Stub, engine_sample: EngineSample, status: int) -> None:
    engine = connect(stub.url, "papers")
    engine.create(256)
    stub.failing = [status] * 2
    retrying(3, wait=0.01)(engine.upsert, range(10), engine_sample.codes[:10])
    assert engine.count() == 10
    stub.failing = [status] * 3
    with pytest.raises(Unavailable, match=r"does not answer|answers (429|503)"):
        retrying(3, wait=0.01)(engine.upsert, range(10), engine_sample.codes[:10])


def break_off(stub: Stub) -> None:
    stub.url = f"{stub.flavour}://user:secret@127.0.0.1:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stub: setattr(stub, "failing", [401]), r"refuses access \(401\); check the user, the password"),
        (lambda stub: setattr(stub, "version", "1.9.0"), "1.9.0 at .* is too old; bsa_st needs"),
        (lambda stub: setattr(stub, "flavour", "other"), "answers, but is not"),
        (lambda stub: setattr(stub, "answer", lambda *_: (200, b"<html>")), "answers, but not as"),
        (break_off, r"user:\*\*\*@127.0.0.1:1 does not answer"),
    ],
)
def test_servers_that_do_not_fit_are_told_in_one_line(stub: Stub, change: Callable[[Stub], None], message: str) -> None:
    change(stub)
    url = stub.url if stub.flavour != "other" else stub.url.replace("opensearch", "elasticsearch")
    if stub.flavour == "other":  # what calls itself neither
        stub.answer = lambda *_: (200, {"version": {"number": "9.9.9", "distribution": "other"}})  # type: ignore[method-assign]
    with pytest.raises(BSAError, match=message):
        connect(url, "papers")


@pytest.mark.parametrize("stub", ["elasticsearch"], indirect=True)
def test_qdrant_servers_that_do_not_fit_are_told_in_one_line(stub: Stub) -> None:
    pytest.importorskip("qdrant_client")
    with pytest.raises(Unavailable, match=r"Qdrant at qdrant://127.0.0.1:1 does not answer"):
        connect("qdrant://127.0.0.1:1", "papers")
    stub.answer = lambda *_: (200, {"title": "qdrant - vector search engine", "version": "1.9.7"})  # type: ignore[method-assign]
    with pytest.raises(BSAError, match=r"1\.9\.7 .*is too old; bsa_st needs 1\.11 or newer"):
        connect(stub.url.replace("elasticsearch", "qdrant"), "papers")
