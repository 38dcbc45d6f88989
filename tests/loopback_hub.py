"""A Hub on the loopback interface, standard library only: enough of its routes for real pushes and downloads.

It keeps repositories in memory, checks tokens of private ones, records every request, and can fail on purpose: a :class:`Fault` makes
the next requests that match it end in an error status or a connection cut in the middle of the body.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopbacktoken0123456789"

Files = dict[str, bytes]


@dataclass
class Repository:
    """Files of every commit, and which commit each branch, tag or pull request points to."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, ref: str, message: str) -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[sha], self.messages[sha], self.refs[ref] = files, message, sha
        return sha

    def find(self, revision: str) -> str | None:
        """Commit of a branch, tag, pull request or commit hash."""
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Fault:
    """Requests whose line matches ``pattern`` fail ``times`` times.

    Attributes:
        pattern: Regular expression for ``METHOD /path``.
        status: Answer with this status; 0 cuts the connection after ``cut_after`` bytes of the body instead.
        times: How often.
        cut_after: Bytes of the body that still arrive.
    """

    pattern: str
    status: int = 500
    times: int = 10**9
    cut_after: int = 0


class LoopbackHub(ThreadingHTTPServer):
    """The server; ``repositories``, ``faults`` and ``requests`` may be read and changed by tests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, pattern: str) -> list[dict[str, str]]:
        """Headers of the requests whose line matches."""
        return [headers for line, headers in self.requests if re.search(pattern, line)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are meant."""


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """A running server, on a free port."""
    server = LoopbackHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(length)
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        line = f"{self.command} {path}"
        with self.server.lock:
            self.server.requests.append((line, dict(self.headers)))
            fault = next((f for f in self.server.faults if f.times > 0 and re.search(f.pattern, line)), None)
            if fault is not None:
                fault.times -= 1
        if fault is not None and fault.status:
            return self._json({"error": "failing on purpose"}, fault.status)
        self.cut_after = fault.cut_after if fault is not None else None
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path == "/api/whoami-v2":
            return self._json({"name": "tester", "type": "user"}, 200 if self._logged_in() else 401)
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|preupload|commit|branch)/(.+))?", path)
        if match is not None:
            return self._api(match[1], match[2] or "revision", match[3] or "main", query, body)
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+|refs/pr/\d+)/(.+)", path)
        if match is not None:
            return self._file(match[1], match[2], match[3])
        self._json({"error": f"no such route: {line}"}, 404)

    def _api(self, name: str, route: str, revision: str, query: dict[str, list[str]], body: bytes) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        if route in ("preupload", "commit", "branch") and not self._logged_in():
            return self._json({"error": "Unauthorized"}, 401)
        if route == "branch":
            wanted = json.loads(body or b"{}").get("startingPoint", "main")
            if revision in repository.refs:
                return self._json({"error": "Reference already exists"}, 409)
            repository.refs[revision] = repository.refs[wanted]
            return self._json({})
        if route == "tree":
            revision = max((r for r in [*repository.refs, *repository.commits] if revision.startswith(r)), key=len, default="")
        commit = repository.find(revision)
        if commit is None:
            return self._missing("RevisionNotFound", f"Revision not found: {revision}")
        files = repository.commits[commit]
        if route == "revision":
            self._json({"id": name, "modelId": name, "sha": commit, "private": repository.private, "tags": [],
                        "siblings": [{"rfilename": path} for path in files]})  # fmt: skip
        elif route == "tree":
            self._json([{"type": "file", "path": path, "size": len(data), "oid": _blob(data)} for path, data in files.items()])
        elif route == "preupload":
            known = {path: _blob(data) for path, data in files.items()}
            self._json({"files": [{"path": item["path"], "uploadMode": "regular", "shouldIgnore": False,
                                   "oid": known.get(item["path"])} for item in json.loads(body)["files"]]})  # fmt: skip
        else:
            self._commit(name, repository, revision, "create_pr" in query, body)

    def _commit(self, name: str, repository: Repository, revision: str, pull_request: bool, body: bytes) -> None:
        files = dict(repository.commits[repository.refs[revision]])
        message = ""
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        sha = repository.commit(files, f"refs/pr/{number}" if pull_request else revision, message)
        answer = {"commitUrl": f"{self.server.endpoint}/{name}/commit/{sha}", "commitOid": sha, "success": True}
        if pull_request:
            answer["pullRequestUrl"] = f"{self.server.endpoint}/{name}/discussions/{number}"
        self._json(answer)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self._logged_in():
            return self._json({"error": "Invalid username or password."}, 401)
        known = name in self.server.repositories
        if not known:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.server.repositories[name] = Repository(private)
            self.server.repositories[name].commit({".gitattributes": b""}, "main", "initial commit")
        self._json({"url": f"{self.server.endpoint}/{name}", "name": name, "id": name}, 409 if known else 200)

    def _validate(self, content: str) -> None:
        """A small part of the Hub's check: front matter that ends, plain strings and lists where they belong."""
        match = re.match(r"---\n(.*?)\n---\n", content, flags=re.DOTALL)
        errors = [] if match else [{"message": "no front matter"}]
        for key, value in re.findall(r"^([\w-]+):(.*)$", match[1] if match else "", flags=re.MULTILINE):
            if key in ("license", "library_name", "pipeline_tag") and not re.fullmatch(r" [\w.-]+", value):
                errors.append({"message": f'"{key}" must be a string'})
            if key in ("tags", "datasets", "metrics", "model-index") and value.strip():
                errors.append({"message": f'"{key}" must be an array'})
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.find(revision)
        if commit is None:
            return self._missing("RevisionNotFound", f"Revision not found: {revision}")
        data = repository.commits[commit].get(path)
        if data is None:
            return self._missing("EntryNotFound", f"Entry not found: {path}", {"X-Repo-Commit": commit})
        start, status, headers = 0, 200, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranged is not None:
            start, status = int(ranged[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(data[start:], status, headers)

    def _repository(self, name: str) -> Repository | None:
        """The repository; like the Hub, a private one does not exist for strangers."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self._logged_in()):
            self._missing("RepoNotFound", "Repository not found", status=404 if self._logged_in() else 401)
            return None
        return repository

    def _logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _missing(self, code: str, message: str, headers: dict[str, str] | None = None, status: int = 404) -> None:
        self._json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = getattr(self, "cut_after", None)
        self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data


def _blob(data: bytes) -> str:
    """Git's hash of a file's content, which the Hub gives as its ETag."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
