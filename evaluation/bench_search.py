"""``python -m evaluation.bench_search``: the index beside faiss, usearch, Seismic and bm25s, in one process, in interleaved rounds.

Every contender answers the same queries on one thread; in every round each is timed once on single queries and once on a batch. Times are CPU
times, which on one thread are the times that pass on an idle machine. Larger sets are grown from real codes, see
:mod:`evaluation.search_data`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bsa_st import BSAError
from bsa_st.atomic import atomic_file
from bsa_st.distill import ready_embeddings
from evaluation.cli import HERE
from evaluation.console import run_command
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, load_encoder
from evaluation.search_contenders import TOP_K, Contender, code_contenders, dense_contenders
from evaluation.search_data import QUERIES, grow_codes, grow_embeddings, quality, sample
from evaluation.search_report import write_report
from evaluation.tasks import hpo_task
from evaluation.threads import one_thread
from evaluation.training import adaptation_texts, general_texts

LOG = logging.getLogger("evaluation.bench_search")
RESULTS = HERE / "search.json"
BATCH = 64
ROUNDS = 3
SECONDS = 0.2
"""CPU time that a contender may take per round and kind of call; slow ones answer fewer queries."""
RECALL_QUERIES = 100

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bench(
    data: Annotated[Path | None, typer.Option(help="Folder with text_mix and retrieval_medquad.  [default: HPO alone]")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Ready embeddings, .npy, instead of --data.")] = None,
    documents: Annotated[str, typer.Option(help="Sizes of the sets, comma-separated.")] = "100000,1000000",
    configurations: Annotated[str, typer.Option(help="D-k, comma-separated.")] = "4096-32,4096-64,16384-32,768-135,1536-200",
    real: Annotated[int, typer.Option(help="Documents encoded; larger sets are grown from them.")] = 30_000,
    steps: Annotated[int, typer.Option(help="Training steps of each head.")] = 500,
    train_limit: Annotated[int, typer.Option(help="Short texts drawn from --data.")] = 150_000,
    work: Annotated[Path, typer.Option(help="Folder of trained heads and codes, for resuming.")] = Path("build/search"),
    output: Annotated[Path, typer.Option(help="Results.")] = RESULTS,
    scans_only: Annotated[
        bool, typer.Option("--scans-only", help="Leave out what takes minutes to build: IVF-PQ, HNSW, usearch, bm25s, Seismic.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write SEARCH.md and the plots.")] = False,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Only train and encode.")] = False,
) -> None:
    """Measure queries per second, recall and bytes; write search.json, SEARCH.md and plots."""
    if not report_only:
        output.parent.mkdir(parents=True, exist_ok=True)
        source, dense = _embeddings(data, embeddings, train_limit)
        pairs = [_pair(entry) for entry in configurations.split(",") if entry]
        for pair in pairs:
            sample(dense, *pair, steps, real, work)
        if prepare_only:
            return
        result = json.loads(output.read_text()) if output.is_file() else {"rows": []}
        result |= {
            "source": source,
            "real": min(real, len(dense) - QUERIES),
            "steps": steps,
            "seconds": SECONDS,
            "rounds": ROUNDS,
        }
        for size in map(int, documents.split(",")):
            rows = measure(dense, pairs, size, steps, real, work, scans_only)
            result["rows"] = [row for row in result["rows"] if row["documents"] != size] + rows
            with atomic_file(output) as file:
                file.write((json.dumps(result, indent=1) + "\n").encode())
    typer.echo(f"Report in {write_report(output)}")


def measure(
    dense: np.ndarray, pairs: list[tuple[int, int]], size: int, steps: int, real: int, work: Path, scans_only: bool
) -> list[dict[str, Any]]:
    """All contenders on sets of one size: one row each."""
    with one_thread():
        contenders: list[Contender] = []
        queries = None
        order = np.random.default_rng(0).permutation(len(dense))
        rows = dense[np.sort(order[QUERIES : QUERIES + real])]
        for pair in pairs:
            data = sample(dense, *pair, steps, real, work)
            queries = data.dense
            LOG.info("building %s for %d documents", pair, size)
            found = quality(data, rows)
            contenders += code_contenders(data, grow_codes(data.documents, size), found, scans_only)
        if queries is None:
            raise BSAError("no configuration given")
        LOG.info("building the dense contenders for %d documents", size)
        contenders += dense_contenders(grow_embeddings(rows, size), queries, scans_only)
        return _timed(contenders, size)


def _timed(contenders: list[Contender], size: int) -> list[dict[str, Any]]:
    singles: list[list[float]] = [[] for _ in contenders]
    batches: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.run(0, 1)
        contender.run(0, BATCH)
    for number in range(ROUNDS):
        for place, contender in enumerate(contenders):
            singles[place].append(_seconds(contender.run, 1, number))
            batches[place].append(_seconds(contender.run, BATCH, number))
        LOG.info("round %d of %d", number + 1, ROUNDS)
    answers = {(entry.group, entry.name): entry.run(0, RECALL_QUERIES) for entry in contenders}
    rows = []
    for contender, single, batch in zip(contenders, singles, batches, strict=True):
        truth = answers.get((contender.group, contender.truth))
        mine = answers[contender.group, contender.name]
        rows.append(
            {
                "name": contender.name,
                "group": contender.group,
                "documents": size,
                "bytes": contender.bytes if np.isfinite(contender.bytes) else None,
                "single_ms": 1000 * float(np.median(single)),
                "single_ms_range": [1000 * min(single), 1000 * max(single)],
                "batch_ms": 1000 * float(np.median(batch)),
                "recall": None if truth is None else recall(mine, truth),
                **contender.facts,
            }
        )
    return rows


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true best ten that were found."""
    return float(np.mean([len(set(a) & set(b)) / TOP_K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def _seconds(run: Callable[[int, int], np.ndarray], batch: int, number: int) -> float:
    """CPU seconds per query over some calls; other queries in every round."""
    calls, started = 0, time.process_time()
    while True:
        first = ((number * 37 + calls) * batch) % (QUERIES - batch)
        run(first, first + batch)
        calls += 1
        passed = time.process_time() - started
        if passed > SECONDS:
            return passed / calls / batch


def _pair(text: str) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise BSAError(f"a configuration is written D-k, e.g. 4096-64, got {text!r}")
    return int(parts[0]), int(parts[1])


def _embeddings(data: Path | None, path: Path | None, limit: int) -> tuple[str, np.ndarray]:
    if path is not None:
        found = ready_embeddings(path)
        if found is None:
            raise BSAError(f"{path}: no embeddings")
        return f"{len(found)} ready embeddings of width {found.shape[1]}", found
    texts = general_texts(data, [], limit) if data is not None else adaptation_texts([hpo_task(None)])
    store = EmbeddingStore(load_encoder(MINILM))
    return f"{len(texts)} texts, {MINILM}", store.training(texts)


if __name__ == "__main__":
    run_command(app, "evaluation.bench_search")
