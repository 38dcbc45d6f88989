"""Servers on the loopback interface, standard library only, that answer as Qdrant, Elasticsearch and OpenSearch do, as far as bsa_st asks them.

They keep documents in memory and score searches by interpreting the body. Requests can be made to fail: see :class:`Fault`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """Requests whose ``METHOD /path`` matches fail: the first ``after`` of them succeed, the next ``times`` do not.

    Attributes:
        pattern: Regular expression.
        status: Answer with this status; 0 cuts the connection.
        times: How often.
        after: Requests that still succeed.
        applied: Whether what was asked is done all the same, as when an answer is lost on its way.
    """

    pattern: str
    status: int = 500
    times: int = 10**9
    after: int = 0
    applied: bool = False


@dataclass
class StubServer:
    """Documents by id, and what was asked."""

    flavour: str
    version: str = ""
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: dict[str, Any] | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    writes: int = 0
    url: str = ""

    def answer(self, method: str, path: str, body: str) -> tuple[int, Any]:
        line = f"{method} {path}"
        self.requests.append(line)
        for fault in self.faults:
            if re.search(fault.pattern, line):
                fault.after -= 1
                if fault.after < 0 < fault.times:
                    fault.times -= 1
                    if fault.applied:
                        self.respond(method, path, body)
                    return fault.status, {"status": {"error": "on purpose"}, "error": "on purpose"}
        return self.respond(method, path, body)

    def respond(self, method: str, path: str, body: str) -> tuple[int, Any]:
        path = path.split("?")[0]
        return self._qdrant(method, path, body) if self.flavour == "qdrant" else self._rest(method, path, body)

    # -- Qdrant -----------------------------------------------------------------------------------------------------

    def _qdrant(self, method: str, path: str, body: str) -> tuple[int, Any]:
        if path in ("", "/"):
            return 200, {"title": "qdrant - vector search engine", "version": self.version or "1.15.0"}
        content = json.loads(body) if body else {}
        action = "/".join(path.split("/")[3:])
        result: Any = {"operation_id": 1, "status": "completed"}
        if action == "exists":
            result = {"exists": self.index is not None}
        elif method == "GET" and not action:
            result = self._qdrant_info()
        elif method == "PUT" and not action:
            self.index, result = content, True
        elif method == "PUT" and action == "points":
            self.writes += len(content["points"])
            self.documents |= {str(point["id"]): point for point in content["points"]}
        elif action == "points/count":
            result = {"count": len(self.documents)}
        elif action == "points":
            found = [self.documents[str(name)] for name in content["ids"] if str(name) in self.documents]
            result = [{"id": point["id"], "payload": point["payload"]} for point in found]
        return 200, {"result": result, "status": "ok", "time": 0.0}

    def _qdrant_info(self) -> dict[str, Any]:
        assert self.index is not None
        params = {"sparse_vectors": self.index["sparse_vectors"], "shard_number": 1, "replication_factor": 1}
        config = {
            "params": params,
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "flush_interval_sec": 5},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        }  # fmt: skip
        return {"status": "green", "optimizer_status": "ok", "segments_count": 1, "config": config, "payload_schema": {}}

    # -- Elasticsearch and OpenSearch -------------------------------------------------------------------------------

    def _rest(self, method: str, path: str, body: str) -> tuple[int, Any]:
        if path == "/":
            version = {"number": self.version or ("9.0.0" if self.flavour == "elasticsearch" else "3.0.0")}
            return 200, {"version": version | ({"distribution": "opensearch"} if self.flavour == "opensearch" else {})}
        action = path.split("/")[2] if path.count("/") > 1 else ""
        if method == "PUT" and not action:
            self.index = json.loads(body)
            return 200, {"acknowledged": True}
        if self.index is None:
            return 404, {"error": {"type": "index_not_found_exception", "reason": "no such index"}}
        return 200, getattr(self, action.replace("_", "do_", 1))(body)

    def do_mapping(self, body: str) -> Any:
        assert self.index is not None
        return {"papers": {"mappings": self.index["mappings"]}}

    def do_refresh(self, body: str) -> Any:
        return {}

    def do_bulk(self, body: str) -> Any:
        lines = [json.loads(line) for line in body.splitlines()]
        items = []
        while lines:
            (action, target), *_ = lines.pop(0).items()
            if action == "delete":
                self.documents.pop(target["_id"], None)
            else:
                self.documents[target["_id"]] = lines.pop(0)
                self.writes += 1
            items.append({action: {"status": 200, "_id": target["_id"]}})
        return {"errors": False, "items": items}

    def do_count(self, body: str) -> Any:
        query = json.loads(body)["query"] if body else {"match_all": {}}
        return {"count": sum(score_of(query, document) is not None for document in self.documents.values())}

    def do_mget(self, body: str) -> Any:
        names = [entry["_id"] for entry in json.loads(body)["docs"]]
        return {"docs": [{"_id": name, "found": name in self.documents, "_source": self.documents.get(name)} for name in names]}

    def do_search(self, body: str) -> Any:
        content = json.loads(body)
        found = {name: score_of(content["query"], document) for name, document in self.documents.items()}
        best = sorted(((score, name) for name, score in found.items() if score is not None), reverse=True)
        if "rescore" in content:
            window, query = content["rescore"]["window_size"], content["rescore"]["query"]
            assert (query["query_weight"], query["rescore_query_weight"]) == (0, 1)
            names = [name for _, name in best[:window]]
            best = sorted(((score_of(query["rescore_query"], self.documents[name]), name) for name in names), reverse=True)  # type: ignore[misc]
        return {"hits": {"hits": [{"_id": name, "_score": score} for score, name in best[: content["size"]]]}}


def score_of(query: dict[str, Any], document: dict[str, Any]) -> float | None:
    """Score of a document, None if it does not match."""
    (kind, inner), *_ = query.items()
    active = document["code"].split() if isinstance(document["code"], str) else document["code"]
    if kind == "match_all":
        return 1.0
    if kind == "match_none":
        return None
    if kind == "term":
        return inner["code"]["boost"] if inner["code"]["value"] in active else None
    if kind == "terms":
        (name, values), *_ = inner.items()
        value = document["payload"].get(name.removeprefix("payload."))
        return 0.0 if (json.dumps(value) if isinstance(value, (bool, int)) else value) in values else None
    if kind == "neural_sparse":
        weights = inner["code"]["query_tokens"]
        shared = [weights[token] for token in active if token in weights]
        return float(sum(shared)) if shared else None
    if kind == "script_score":
        if score_of(inner["query"], document) is None:
            return None
        params = inner["script"]["params"]
        total = params["constant"] + sum(params["weights"][feature] for feature in document["features"])
        return float(max(0.0, params["lift"] + total * document["factor"]))
    assert kind == "bool", kind
    if any(score_of(clause, document) is None for clause in inner.get("filter", [])):
        return None
    required = [score_of(clause, document) for clause in inner.get("must", [])]
    optional = [score for clause in inner.get("should", []) if (score := score_of(clause, document)) is not None]
    if None in required or len(optional) < inner.get("minimum_should_match", 0):
        return None
    return float(sum(required) + sum(optional))  # type: ignore[arg-type]


@contextmanager
def stub_server(flavour: str, **options: Any) -> Iterator[StubServer]:
    """A running server: ``qdrant``, ``elasticsearch`` or ``opensearch``."""
    stub = StubServer(flavour, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, content = stub.answer(self.command, self.path, body)
            if status == 0:
                self.close_connection = True
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if flavour == "elasticsearch":
                self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
