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
from evaluation.search_contenders import TOP_K, Contender, code_contenders, dense_indexes, dense_scans
from evaluation.search_data import QUERIES, Configuration, grow_codes, grow_embeddings, held_out, quality, sample
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
DENSE = "dense"
"""The group of the contenders that search embeddings."""
SLOW = 1.0
"""A contender whose batch takes longer answers batches in the first round only."""
RECALL_QUERIES = 200

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


Result = dict[str, Any]


@app.command()
def bench(
    data: Annotated[Path | None, typer.Option(help="Folder with text_mix and retrieval_medquad.  [default: HPO alone]")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Ready embeddings, .npy, instead of --data.")] = None,
    documents: Annotated[str, typer.Option(help="Sizes of the sets, comma-separated.")] = "100000,1000000",
    configurations: Annotated[
        str,
        typer.Option(help="D-k, comma-separated; D-k-real-steps for another number of real documents and of training steps."),
    ] = "4096-32,4096-64,16384-32,768-135,1536-200",
    collection: Annotated[
        str,
        typer.Option(
            help="Name of another collection than the general texts; its rows stand beside theirs.  [default: HPO without --data and --embeddings]"
        ),
    ] = "",
    real: Annotated[int, typer.Option(help="Documents encoded; larger sets are grown from them.")] = 30_000,
    steps: Annotated[int, typer.Option(help="Training steps of each head.")] = 500,
    train_limit: Annotated[int, typer.Option(help="Short texts drawn from --data.")] = 150_000,
    work: Annotated[Path, typer.Option(help="Folder of trained heads and codes, for resuming.")] = Path("build/search"),
    output: Annotated[Path, typer.Option(help="Results; groups that are in it are not measured again.")] = RESULTS,
    scans_only: Annotated[
        bool, typer.Option("--scans-only", help="Leave out what takes minutes to build: IVF-PQ, HNSW, usearch, bm25s, Seismic.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure everything again.")] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write SEARCH.md and the plots.")] = False,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Only train and encode.")] = False,
) -> None:
    """Measure queries per second, recall and bytes; write search.json, SEARCH.md and plots. An interrupted run goes on where it stopped."""
    if not report_only:
        output.parent.mkdir(parents=True, exist_ok=True)
        source, dense = _embeddings(data, embeddings, train_limit)
        most = len(dense) - QUERIES
        collection = collection or ("" if data or embeddings else "HPO")
        chosen = [_configuration(entry, min(real, most), steps, collection) for entry in configurations.split(",") if entry]
        if not chosen:
            raise BSAError("no configuration given")
        for entry in chosen:
            sample(dense, entry, work)
        if prepare_only:
            return
        result: Result = json.loads(output.read_text()) if output.is_file() and not again else {"rows": []}
        sources = result.get("sources", {}) | {collection: source}
        result |= {"sources": sources, "seconds": SECONDS, "rounds": ROUNDS}

        def save() -> None:
            with atomic_file(output) as file:
                file.write((json.dumps(result, indent=1) + "\n").encode())

        for size in map(int, documents.split(",")):
            measure(dense, chosen, size, work, scans_only, result, save)
    typer.echo(f"Report in {write_report(output)}")


def measure(
    dense: np.ndarray,
    configurations: list[Configuration],
    size: int,
    work: Path,
    scans_only: bool,
    result: Result,
    save: Callable[[], None],
) -> None:
    """All contenders on sets of one size, group by group; groups that ``result`` has are left alone, others are saved when they are done.

    IndexFlatIP and the sign bits run in the same rounds as every group, so that each group has its own times to compare with.
    """
    collection = configurations[0].collection
    missing = [entry for entry in configurations if not _has(result, collection, entry.group, size)]
    if not missing and _has(result, collection, DENSE, size):
        return
    with one_thread():
        LOG.info("building the dense contenders for %d documents", size)
        rows, queries = held_out(dense, max(entry.real for entry in configurations))
        grown = grow_embeddings(rows, size)
        scans = list(dense_scans(grown, queries))
        for configuration in missing:
            data = sample(dense, configuration, work)
            LOG.info("building %s for %d documents", configuration.group, size)
            found = quality(data, dense, configuration.real)
            codes = grow_codes(data.documents, size)
            timed = _timed([*scans, *code_contenders(data, codes, found, scans_only)], size, configuration.group)
            facts = {"real": configuration.real, "steps": configuration.steps}
            _keep(result, collection, configuration.group, size, timed, facts, save)
        if not _has(result, collection, DENSE, size):
            more = [] if scans_only else list(dense_indexes(grown, queries))
            _keep(result, collection, DENSE, size, _timed([*scans, *more], size, DENSE), {}, save)


def _has(result: Result, collection: str, group: str, size: int) -> bool:
    return any(_is(row, collection, group, size) and "earlier" not in row for row in result["rows"])


def _is(row: Result, collection: str, group: str, size: int) -> bool:
    return (row.get("collection", ""), row["group"], row["documents"]) == (collection, group, size)


def _keep(
    result: Result,
    collection: str,
    group: str,
    size: int,
    timed: list[dict[str, Any]],
    facts: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Put rows of a group in the place of earlier ones; those of codes with the times of the scans in the same rounds."""
    result["rows"] = [row for row in result["rows"] if not _is(row, collection, group, size)]
    more = {"collection": collection, **facts} if collection else facts
    if group != DENSE:
        more = {**more, "beside": {row["name"]: row["single_ms"] for row in timed if row["group"] == DENSE}}
    result["rows"] += [row | more for row in timed if row["group"] == group]
    save()


def _timed(contenders: list[Contender], size: int, group: str) -> list[dict[str, Any]]:
    """One row for each contender; those of another group than ``group`` are there for their single queries only."""
    singles: list[list[float]] = [[] for _ in contenders]
    batches: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.run(0, 1)
    for number in range(ROUNDS):
        for place, contender in enumerate(contenders):
            singles[place].append(_seconds(contender.run, 1, number))
            if contender.group == group and (not batches[place] or BATCH * batches[place][-1] < SLOW):
                batches[place].append(_seconds(contender.run, BATCH, number))
        LOG.info("round %d of %d", number + 1, ROUNDS)
    own = [entry for entry in contenders if entry.group == group]
    asked = [entry for entry in own if entry.truth or any(other.truth == entry.name for other in own)]
    answers = {(entry.group, entry.name): entry.run(0, RECALL_QUERIES) for entry in asked}
    rows = []
    for contender, single, batch in zip(contenders, singles, batches, strict=True):
        truth = answers.get((contender.group, contender.truth))
        rows.append(
            {
                "name": contender.name,
                "group": contender.group,
                "documents": size,
                "bytes": contender.bytes if np.isfinite(contender.bytes) else None,
                "single_ms": 1000 * float(np.median(single)),
                "single_ms_range": [1000 * min(single), 1000 * max(single)],
                "batch_ms": 1000 * float(np.median(batch)) if batch else None,
                "recall": None
                if truth is None or contender.group != group
                else recall(answers[contender.group, contender.name], truth),
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


def _configuration(text: str, real: int, steps: int, collection: str) -> Configuration:
    parts = text.split("-")
    if len(parts) not in (2, 4) or not all(part.isdigit() for part in parts):
        raise BSAError(f"a configuration is written D-k or D-k-real-steps, e.g. 4096-64, got {text!r}")
    hidden_dim, k, *own = map(int, parts)
    if own:
        real, steps = own
    return Configuration(hidden_dim, k, real, steps, collection)


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
