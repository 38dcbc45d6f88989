"""``python -m evaluation.search``: memory, milliseconds and found@10 of our index and others, each built in a process of its own, and opened and
asked in another, on one thread.

Times are CPU times, which on one thread are the times that pass on an idle machine; the smallest of ten rounds. Memory is what the process has
resident after opening and answering, less what it had before. Whoever is stopped goes on with the cell after the last: built indexes and measured
rows are kept.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import mmap
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import psutil
import typer

from bsa_st import BSAError
from bsa_st.inputs.embeddings import cached_embeddings
from bsa_st.inputs.texts import read_texts
from evaluation import RESULTS_FOLDER
from evaluation.console import new_app, run_command
from evaluation.data.encoders import MINILM, load_encoder
from evaluation.data.neighbours import share_found
from evaluation.jsonfiles import read_json, write_json
from evaluation.search.contenders import CONTENDERS, Search
from evaluation.search.data import Data, Head, prepare
from evaluation.search.report import OURS, write_report

LOG = logging.getLogger("evaluation.search")
RESULTS = RESULTS_FOLDER / "search.json"
ROUNDS = 10
SECONDS = 0.5
BATCH = 64

app = new_app()
Texts = Annotated[Path, typer.Option(help="Texts: the first 1,000 ask, the others are documents.")]
HeadFile = Annotated[Path, typer.Option(help="The decoder, .npz with weight (D, d) and offset (d,).")]
Work = Annotated[Path, typer.Option(help="Folder for grown documents, for resuming.")]


@app.command()
def bench(
    texts: Texts,
    head: HeadFile,
    documents: Annotated[str, typer.Option(help="Sizes of the sets, comma-separated.")] = "100000,1000000,10000000",
    contenders: Annotated[str, typer.Option(help="Separated by semicolons, or all.")] = "all",
    work: Work = Path("build/search"),
    output: Annotated[Path, typer.Option(help="Results.")] = RESULTS,
    only: Annotated[str, typer.Option(help="build, measure or report: no more than that.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Measure once more what has been measured.")] = False,
) -> None:
    """Build and measure every contender on every set that is not measured yet; write search.json and SEARCH.md."""
    names = list(CONTENDERS) if contenders == "all" else [name.strip() for name in contenders.split(";")]
    if unknown := set(names) - CONTENDERS.keys():
        raise BSAError(f"contenders are {'; '.join(CONTENDERS)}, not {unknown.pop()}")
    if only not in ("", "build", "measure", "report"):
        raise BSAError(f"only must be build, measure or report, got {only!r}")
    rows: list[dict[str, Any]] = read_json(output)["rows"] if output.is_file() else []
    cells = [(name, int(size)) for size in documents.split(",") for name in names if int(size) <= CONTENDERS[name].most]
    for name, count in [] if only == "report" else cells:
        arguments = [str(texts), str(head), str(count), name, "--work", str(work)]
        if only != "measure" and not _index_file(work, name, count).with_suffix(".json").is_file():
            LOG.info("building %s, %d documents", name, count)
            _run("build", arguments)
        label = _label(name, np.load(head)["weight"])
        measured = any((row["contender"], row["documents"]) == (label, count) for row in rows)
        if only != "build" and (again or not measured) and _index_file(work, name, count).with_suffix(".json").is_file():
            LOG.info("measuring %s, %d documents", name, count)
            if fresh := _run("measure", arguments):
                rows = [row for row in rows if (row["contender"], row["documents"]) != (label, count)] + json.loads(fresh)
                write_json(output, {"rows": rows})
    typer.echo(f"Report in {write_report(output)}")


@app.command(hidden=True)
def build(texts: Path, head: Path, count: int, name: str, work: Work = Path("build/search")) -> None:
    """Build one contender in this process, and write it and how long that took."""
    data, path = load(texts, head, count, work), _index_file(work, name, count)
    path.parent.mkdir(exist_ok=True)
    started = time.process_time()
    CONTENDERS[name].build(data, path)
    write_json(path.with_suffix(".json"), {"build_seconds": round(time.process_time() - started, 2)})


@app.command(hidden=True)
def measure(texts: Path, head: Path, count: int, name: str, work: Work = Path("build/search")) -> None:
    """Open and measure one contender in this process; prints its rows as JSON."""
    data, path = load(texts, head, count, work), _index_file(work, name, count)
    faiss.omp_set_num_threads(1)
    gc.collect()
    before, started = _resident(), time.perf_counter()
    searches = CONTENDERS[name].open(data, path)
    shared = {
        "contender": _label(name, data.head.weight),
        "documents": count,
        "load_average": round(os.getloadavg()[0], 1),
        "open_seconds": round(time.perf_counter() - started, 2),
        **json.loads(path.with_suffix(".json").read_text()),
    }
    rows: list[dict[str, Any]] = []
    for setting, search in searches.items():
        found = np.concatenate([search(data.queries[start : start + BATCH]) for start in range(0, len(data.queries), BATCH)])
        single, batch = _milliseconds(search, data, 1), _milliseconds(search, data, BATCH)
        times = {"single_ms": round(single, 3), "batch_ms": round(batch, 3)}
        rows.append({**shared, "setting": setting, "found": round(share_found(found, data.nearest), 4), **times})
    data.codes.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]  # what was read to build from is no part of the index
    gc.collect()
    resident = round((_resident() - before) / count, 1)
    typer.echo(json.dumps([{**row, "bytes": resident} for row in rows]))


def _run(command: str, arguments: list[str]) -> str | None:
    """The last line that a command of this module prints in a process of its own with one thread; None where it fails."""
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(variables, "1")}
    started = [sys.executable, "-m", "evaluation.search", command, *arguments]
    done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        LOG.warning("%s failed: %s", command, done.stderr.strip().splitlines()[-1:])
        return None
    return (done.stdout.splitlines() or [""])[-1]


def _label(name: str, weight: np.ndarray) -> str:
    """A contender's name in the results; ours with the bytes of a code."""
    return f"{name}, {len(weight) // 8} bytes" if name.startswith(OURS) else name


def _index_file(work: Path, name: str, count: int) -> Path:
    return work / "built" / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name)}-{count}.index"


def load(texts: Path, head: Path, count: int, work: Path) -> Data:
    """The documents of a set."""
    lines = list(dict.fromkeys(read_texts(texts)))
    encoder = load_encoder(MINILM)
    parts = [
        np.asarray(cached_embeddings(encoder, part, precision="float32"), dtype=np.float32)
        for part in (lines[:1000], lines[1000:21000], lines[21000:51000])
    ]
    arrays = np.load(head)
    return prepare(parts[0], np.concatenate(parts[1:]), Head(arrays["weight"], arrays["offset"]), count, work)


def _milliseconds(search: Search, data: Data, size: int) -> float:
    """CPU milliseconds per query in calls of so many."""
    best = np.inf
    for _ in range(ROUNDS):
        started, asked = time.process_time(), 0
        while time.process_time() - started < SECONDS / ROUNDS or asked < 2 * size:
            place = asked % (len(data.queries) - size + 1)
            search(data.queries[place : place + size])
            asked += size
        best = min(best, (time.process_time() - started) / asked)
    return best * 1000


def _resident() -> int:
    """Bytes resident; what was freed is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    run_command(app, "evaluation.search")
