"""Search over HTTP with the standard library: ``python examples/serve.py MODEL INDEX``, then

    curl 'http://127.0.0.1:8000/search?q=height+below+average&top_k=3'

MODEL is a folder or a name on the Hub, INDEX a file written by ``bsa-st index build MODEL TEXTS INDEX``, which keeps the texts. For a few users on one machine; put a real
server in front of anything that faces the internet.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import bsa_st

MOST_HITS = 100
TIMEOUT_SECONDS = 10
"""A connection that sends nothing for so long is closed, and its thread with it."""


class Searcher:
    """An index that was built from texts, and its model."""

    def __init__(self, model: str, index: Path) -> None:
        self.index = bsa_st.Index.open(index, model=bsa_st.load(model))
        self.lock = threading.Lock()  # tokenizers are not safe to share between threads

    def __call__(self, query: str, top_k: int) -> list[dict[str, object]]:
        """The best texts with their scores."""
        with self.lock:
            (found,) = self.index.search(query, top_k)
        texts = self.index.texts(found.ids)
        return [
            {"id": name, "score": round(score, 4), "text": text}
            for name, score, text in zip(found.ids.tolist(), found.scores.tolist(), texts, strict=True)
        ]


def make_server(searcher: Searcher, port: int) -> ThreadingHTTPServer:
    """A server on the loopback interface; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = TIMEOUT_SECONDS

        def do_GET(self) -> None:
            try:
                address = urlsplit(self.path)
            except ValueError as error:
                return self.answer(400, {"error": f"not an address: {error}"})
            query = parse_qs(address.query)
            top_k = query.get("top_k", ["10"])[0]
            if address.path != "/search":
                return self.answer(404, {"error": "ask for /search?q=..."})
            if not top_k.isascii() or not top_k.isdigit() or len(top_k) > 3 or not 1 <= int(top_k) <= MOST_HITS:
                return self.answer(400, {"error": f"top_k must be a whole number from 1 to {MOST_HITS}"})
            try:
                self.answer(200, {"hits": searcher(query.get("q", [""])[0], int(top_k))})
            except bsa_st.BSAError as error:
                self.answer(400, {"error": str(error)})

        def answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve search over an index of a text file.")
    parser.add_argument("model", help="folder or name on the Hub of a BSA model")
    parser.add_argument("index", type=Path, help="index, built from texts")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 takes a free one (default: 8000)")
    arguments = parser.parse_args()
    try:
        searcher = Searcher(arguments.model, arguments.index)
    except bsa_st.BSAError as error:
        sys.exit(f"serve: {error}")
    server = make_server(searcher, arguments.port)
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}/search?q=...\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
