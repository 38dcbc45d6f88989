"""What a billion texts would take: ``python -m evaluation.scale --embeddings FILE.npy``.

Measures the rates that a plan is made of: the encoder in one process and in a pool of two, head and refinement, training steps, building and searching
indexes of growing size; takes those of a million documents from ``search.json``; and searches one collection cut into shards. Times are CPU seconds,
since the machine may be shared. Writes ``scale.json`` and, from it, ``SCALE.md``.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bsa_st import BinaryCodes, DistillSettings, Index, encode_embeddings
from bsa_st.atomic import atomic_file
from bsa_st.demo.hpo import load_concepts
from bsa_st.demo.run import packaged_teacher
from bsa_st.hardware import hardware_name
from bsa_st.index.sharded import ShardedIndex
from bsa_st.module import BinarySparsityAlignment
from bsa_st.training import train_head
from evaluation.console import run_command
from evaluation.embeddings import unit_rows
from evaluation.jsonfiles import read_json
from evaluation.scale_report import PLAN, write_report
from evaluation.search_data import grow_codes

RESULTS = Path(__file__).parent / "scale.json"
SEARCH = Path(__file__).parent / "search.json"
HEADS = ((768, 135), (1536, 200), (4096, 64))
STEPS, BATCH, TRAINING = 40, 512, 10_000
REAL, QUERIES, TOP_K = 5000, 100, 10
ENCODED = 2048
SIZES = (50_000, 200_000)
SHARDS = (1, 2, 4, 8)
SCORINGS = ("overlap", "cosine", "jaccard", "idf", "asymmetric", "two-stage", "decoded")


def measure_encoder(teacher: SentenceTransformer, texts: list[str]) -> list[dict[str, Any]]:
    """The encoder alone, in this process and in pools, one thread each."""
    tokens = int(sum(map(len, teacher.tokenizer(texts, truncation=True, max_length=teacher.max_seq_length)["input_ids"])))
    rows = []
    for processes in (1, 2):
        os.environ["OMP_NUM_THREADS"] = "1"
        pool = teacher.start_multi_process_pool(["cpu"] * processes)
        for _ in range(3):
            teacher.encode(texts[:64], pool=pool, chunk_size=16)
        workers = [psutil.Process(process.pid) for process in pool["processes"]]
        started, used = time.perf_counter(), _cpu_seconds(workers)
        teacher.encode(texts, pool=pool, chunk_size=len(texts) // 8)
        wall, cpu = time.perf_counter() - started, _cpu_seconds(workers) - used
        teacher.stop_multi_process_pool(pool)
        rows.append({"processes": processes, "texts": len(texts), "tokens": tokens, "wall_seconds": wall, "cpu_seconds": cpu})
        rows[-1]["load_average"] = os.getloadavg()[0]
    return rows


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


class StepTimer(TrainerCallback):
    """CPU seconds from the end of the first step to the end of the last, scaled to all steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.ends.append(time.process_time())

    @property
    def seconds(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1) * len(self.ends)


def measure_head(
    embeddings: np.ndarray, hidden_dim: int, k: int
) -> tuple[dict[str, Any], BinarySparsityAlignment, BinaryCodes]:
    """Training steps, and head with refinement, of one size; returns the head and the codes of ``REAL`` documents too."""
    settings = DistillSettings(
        hidden_dim=hidden_dim, k=k, selection="topk", steps=STEPS, batch_size=BATCH, refit_rounds=0, eval_steps=STEPS + 1
    )
    timer = StepTimer()
    options = {"eval_strategy": "no", "logging_strategy": "no"}
    head = train_head(embeddings[:TRAINING], settings, callbacks=[timer], training_args=options, show_progress_bar=False)
    rows = unit_rows(np.asarray(embeddings[TRAINING : TRAINING + REAL], dtype=np.float32))
    encode_embeddings(head, rows[:64], refine=True)
    started = time.process_time()
    codes = encode_embeddings(head, rows, refine=True)
    refined = time.process_time() - started
    row = {"hidden_dim": hidden_dim, "k": k, "steps": STEPS, "batch": BATCH, "training_cpu_seconds": timer.seconds}
    return {**row, "texts": REAL, "refine_cpu_seconds": refined, "bytes_per_text": codes.nbytes / len(codes)}, head, codes


def measure_index(codes: BinaryCodes, queries: np.ndarray, decoder: Any, documents: int) -> dict[str, Any]:
    """Building an index of so many documents, and its queries."""
    grown = grow_codes(codes, documents)
    started = time.process_time()
    index = Index.build(grown, decoder=decoder).prepare()
    seconds = time.process_time() - started
    plain = codes[:QUERIES]
    return {
        "documents": documents,
        "build_cpu_seconds": seconds,
        "memory_bytes": index.stats().memory_bytes,
        "overlap_ms": _milliseconds(index, plain, "overlap"),
        "two_stage_ms": _milliseconds(index, queries, "two-stage"),
    }


def _milliseconds(index: Index, queries: Any, scoring: Any) -> float:
    index.search(queries[:1], TOP_K, scoring=scoring)
    started = time.process_time()
    for row in range(len(queries)):
        index.search(queries[row : row + 1], TOP_K, scoring=scoring)
    return (time.process_time() - started) / len(queries) * 1000


def simulate_shards(codes: BinaryCodes, queries: np.ndarray, decoder: Any, documents: int) -> list[dict[str, Any]]:
    """One collection dealt out to S indexes: which share of the queries gets the hits and scores of one index, and what they cost."""
    grown = grow_codes(codes, documents)
    whole = Index.build(grown, decoder=decoder)
    plain = codes[:QUERIES]
    rows, expected = [], {}
    for count in SHARDS:
        places = [np.arange(number, documents, count) for number in range(count)]
        sharded = ShardedIndex([Index.build(grown[part], ids=part, decoder=decoder) for part in places])
        row: dict[str, Any] = {
            "shards": count,
            "documents": documents,
            "queries": QUERIES,
            "top_k": TOP_K,
            "same": {},
            "same_ids": {},
        }
        for scoring in SCORINGS:
            asked: Any = queries if scoring in ("asymmetric", "two-stage") else plain
            if scoring not in expected:
                expected[scoring] = whole.search(asked, TOP_K, scoring=scoring)  # type: ignore[arg-type]
            found = sharded.search(asked, TOP_K, scoring=scoring)  # type: ignore[arg-type]
            ids = found.ids == expected[scoring].ids
            same = (ids & (found.scores == expected[scoring].scores)).all(axis=1)
            row["same"][scoring], row["same_ids"][scoring] = float(same.mean()), float(ids.mean())
        times = [_milliseconds(shard, queries, "two-stage") for shard in sharded.shards]
        rows.append({**row, "two_stage_ms_slowest": max(times), "two_stage_ms_sum": sum(times)})
    return rows


def million(search: Path) -> list[dict[str, Any]]:
    """Per configuration, what ``search.json`` has measured at a million documents grown from general texts."""
    rows = json.loads(search.read_text())["rows"]
    rows = [row for row in rows if row["documents"] == 1_000_000 and "collection" not in row]
    found = []
    for group in dict.fromkeys(row["group"] for row in rows if "disk" in row):
        own = {row["name"]: row for row in rows if row["group"] == group}
        overlap, staged = own["bsa_st overlap"], own["bsa_st two-stage T=128 C=3000"]
        figures = {
            "disk_bytes": overlap["disk"],
            "memory_bytes": overlap["bytes"],
            "build_per_second": overlap["build_docs_per_second"],
        }
        found.append({"group": group, **figures, "overlap_ms": overlap["single_ms"], "two_stage_ms": staged["single_ms"]})
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def scale(
    embeddings: Annotated[
        Path | None, typer.Option(help="Real embeddings of the packaged encoder, .npy.  [default: none]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Results file.")] = RESULTS,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Measure nothing: take search.json as it is now, and write the page.")
    ] = False,
) -> None:
    """Measure rates, simulate shards, and plan for a billion texts."""
    if not report_only:
        if embeddings is None:
            raise typer.BadParameter("needed to measure", param_hint="--embeddings")
        torch.set_num_threads(1)
        dense = np.load(embeddings, mmap_mode="r")
        dense = np.asarray(dense[np.sort(np.random.default_rng(0).permutation(len(dense))[: TRAINING + REAL + QUERIES])])
        queries = unit_rows(np.asarray(dense[-QUERIES:], dtype=np.float32))
        result: dict[str, Any] = {
            "hardware": hardware_name(),
            "plan": PLAN,
            "heads": [],
            "indexes": [],
            "million": million(SEARCH),
        }
        for size in HEADS:
            typer.echo(f"head D={size[0]} k={size[1]}")
            row, head, codes = measure_head(dense, *size)
            result["heads"].append(row)
            if size == HEADS[0]:
                decoder = (head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy())
                result["indexes"] = [measure_index(codes, queries, decoder, documents) for documents in SIZES]
                result["shards"] = simulate_shards(codes, queries, decoder, SIZES[0])
        typer.echo("encoder")
        texts = [concept.document for concept in load_concepts()][:ENCODED]
        result["encoder"] = measure_encoder(packaged_teacher(), texts)
    else:
        result = {**read_json(output), "million": million(SEARCH)}
    with atomic_file(output) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    typer.echo(f"Report in {write_report(output)}")


if __name__ == "__main__":
    run_command(app, "evaluation.scale")
