"""``python -m evaluation.search``: memory, milliseconds and found@10 of our index and others, each in a process of its own, on one thread.

Times are CPU times, which on one thread are the times that pass on an idle machine; the smallest of three rounds. Memory is what the process has
resident after building or opening and answering, less what it had before.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bsa_st import BSAError
from bsa_st.atomic import atomic_file
from bsa_st.inputs.embeddings import cached_embeddings
from bsa_st.inputs.texts import read_texts
from evaluation.cli import HERE
from evaluation.console import run_command
from evaluation.encoders import MINILM, load_encoder
from evaluation.search.contenders import CONTENDERS, Search
from evaluation.search.data import Data, Head, prepare
from evaluation.search.report import write_report

LOG = logging.getLogger("evaluation.search")
RESULTS = HERE / "search.json"
ROUNDS = 3
SECONDS = 1.0
BATCH = 64

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
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
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write SEARCH.md.")] = False,
) -> None:
    """Measure every contender on every set; write search.json and SEARCH.md. Rows that are there already are replaced one by one."""
    names = list(CONTENDERS) if contenders == "all" else [name.strip() for name in contenders.split(";")]
    if unknown := set(names) - CONTENDERS.keys():
        raise BSAError(f"contenders are {'; '.join(CONTENDERS)}, not {unknown.pop()}")
    rows: list[dict[str, Any]] = json.loads(output.read_text())["rows"] if output.is_file() else []
    for count in [] if report_only else [int(size) for size in documents.split(",")]:
        load(texts, head, count, work)
        for name in names:
            if CONTENDERS[name].most < count:
                continue
            LOG.info("%s, %d documents", name, count)
            command = [
                sys.executable,
                "-m",
                "evaluation.search",
                "one",
                str(texts),
                str(head),
                str(count),
                name,
                "--work",
                str(work),
            ]
            single = {
                variable: "1"
                for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
            }
            done = subprocess.run(command, env={**os.environ, **single}, capture_output=True, text=True, check=False)
            if done.returncode:
                LOG.warning("%s failed: %s", name, done.stderr.strip().splitlines()[-1:])
                continue
            measured = json.loads(done.stdout.splitlines()[-1])
            rows = [row for row in rows if (row["contender"], row["documents"]) != (name, count)] + measured
            with atomic_file(output) as file:
                file.write((json.dumps({"rows": rows}, indent=1) + "\n").encode())
    typer.echo(f"Report in {write_report(output)}")


@app.command(hidden=True)
def one(texts: Path, head: Path, count: int, name: str, work: Work = Path("build/search")) -> None:
    """Measure one contender in this process; prints its rows as JSON."""
    data = load(texts, head, count, work)
    gc.collect()
    before, started = _resident(), sum(os.times()[:4])
    searches = CONTENDERS[name].build(data)
    seconds = sum(os.times()[:4]) - started  # that of processes that have ended, too
    data.codes.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]  # what was read to build from is no part of the index
    rows = []
    for setting, search in searches.items():
        found = np.concatenate([search(data.queries[start : start + BATCH]) for start in range(0, len(data.queries), BATCH)])
        share = np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), data.nearest.tolist(), strict=True)]) / 10
        rows.append(
            {
                "contender": name,
                "setting": setting,
                "documents": count,
                "found": round(float(share), 4),
                "single_ms": round(_milliseconds(search, data, 1), 3),
                "batch_ms": round(_milliseconds(search, data, BATCH), 3),
                "build_seconds": round(seconds, 2),
            }
        )
    gc.collect()
    resident = round((_resident() - before) / count, 1)
    typer.echo(json.dumps([{**row, "bytes": resident} for row in rows]))


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
    """Bytes resident, without those of the documents that were read to build from; what was freed is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


if __name__ == "__main__":
    run_command(app, "evaluation.search")
