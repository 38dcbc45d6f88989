"""The examples run as their users run them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from tests.smallmodel import WORDS, small_model

SERVE = Path(__file__).parent.parent / "examples" / "serve.py"
PLAIN_SEARCH = SERVE.with_name("plain_search.py")
TEXTS = [f"{first} {second}" for first in WORDS[:6] for second in WORDS[6:12]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, texts and their index."""
    folder = tmp_path_factory.mktemp("served")
    model = small_model(tmp_path_factory.mktemp("encoder"))
    bsa_st.save(model, folder / "model")
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    bsa_st.Index.build(model, TEXTS).save(folder / "texts.index")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    command = [sys.executable, str(SERVE), "model", "texts.index", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removesuffix("/search?q=...")
        finally:
            process.terminate()


def ask(address: str, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urlopen(address + path, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_the_server_finds_what_search_finds(address: str, folder: Path) -> None:
    queries = ["short seizure", "hearing", "tall cleft lip", "heart", "left hand"]
    model = bsa_st.load(folder / "model")
    hits = bsa_st.search(model, queries, bsa_st.encode(model, TEXTS, refine=True), top_k=3)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda query: ask(address, f"/search?q={quote(query)}&top_k=3"), queries))
    for place, (status, answer) in enumerate(answers):
        assert status == 200
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(hits.scores[place].tolist(), abs=1e-3)  # type: ignore[attr-defined,index]
        assert all(hit["text"] == TEXTS[hit["id"]] for hit in answer["hits"])  # type: ignore[attr-defined,index]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/", 404, "ask for /search"),
        ("/search", 400, "is empty"),
        ("/search?q=%20", 400, "is empty"),
        ("/search?q=x&top_k=0", 400, "top_k must be"),
        ("/search?q=x&top_k=" + "9" * 5000, 400, "top_k must be"),
        ("/search?q=x&top_k=three", 400, "top_k must be"),
    ],
)
def test_bad_requests_are_answered(address: str, path: str, status: int, message: str) -> None:
    assert ask(address, path)[0] == status
    assert message in str(ask(address, path)[1]["error"])


def test_plain_search_needs_neither_bsa_st_nor_more_than_the_packed_codes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    program = f"""
import runpy, sys
sys.modules["bsa_st"] = None
sys.argv = ["plain_search.py", {str(folder / "model")!r}, "texts.txt", "short seizure", "deaf"]
runpy.run_path({str(PLAIN_SEARCH)!r}, run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    model = SentenceTransformer(str(folder / "model"))
    scores = model.encode_query(["short seizure", "deaf"]) @ model.encode_document(TEXTS).T
    shown = [float(line.split()[0]) for line in result.stdout.splitlines() if line.startswith("  ")]
    assert shown == pytest.approx(np.sort(scores, axis=1)[:, :-4:-1].ravel().tolist(), abs=1e-3)
    assert np.load(tmp_path / "texts.npy").nbytes == len(TEXTS) * 64 // 8


def test_a_request_that_is_no_address_is_answered_and_a_silent_connection_is_closed(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as broken,
        socket.create_connection((host, int(port)), timeout=60) as silent,
    ):
        broken.sendall(b"GET http://[/search HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 400 " in broken.recv(1000)
        assert silent.recv(1) == b""  # the server hangs up


def test_a_search_by_names_filters_and_counts(named_folder: Path, named_texts: list[str], tmp_path: Path) -> None:
    texts = [" ".join(text.split()) for text in named_texts[:60]]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    tags = bsa_st.tags(bsa_st.load(named_folder), texts)
    name = next(own[0][0] for own in tags if own)
    command = [
        sys.executable,
        str(SERVE.with_name("named_search.py")),
        str(named_folder),
        "texts.txt",
        texts[0],
        "--with",
        name,
    ]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = sum(name in dict(own) for own in tags)
    assert len(shown) == min(10, wanted) + 1
    assert f"{name} {min(10, wanted)}" in shown[-1]
