"""How large a dictionary? D and k at equal bytes, judged on development texts only: ``python -m evaluation.dictionaries --data DIR``.

General texts are split once: heads learn from one part; from the other come queries and documents, and a method is judged by how
many of float32's ten nearest documents it finds (recall@10). This needs no relevance labels, has little noise with a thousand
queries, and leaves every test set untouched. Each head is trained in a process of its own, whose peak memory is measured. Finished
heads are kept: an interrupted run continues. Writes ``dictionaries.json`` and, from it, ``DICTIONARIES.md`` with a plot.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tqdm.auto import tqdm

from bsa_st import BSAError, DistillSettings
from bsa_st.atomic import atomic_file
from bsa_st.module import BinarySparsityAlignment
from bsa_st.monitor import code_statistics
from bsa_st.settings import Selection
from evaluation.console import run_command
from evaluation.dictionaries_report import write_report
from evaluation.embeddings import EmbeddingStore, unit_rows
from evaluation.encoders import load_encoder
from evaluation.methods import choose_methods
from evaluation.methods.base import Encoded, Method, best
from evaluation.methods.bsa import BSA, Variant
from evaluation.rows import write_json
from evaluation.training import general_texts

RESULTS = Path(__file__).parent / "dictionaries.json"
QUERIES, DOCUMENTS, FIRING_TEXTS = 1000, 20_000, 100_000
REFERENCES = ("sign-centered", "pq-48", "opq-48", "pq-64", "opq-64", "rabitq")
FACTOR = "one divided by the decoded length"
"""What the score of a float query is multiplied by for each document; results of an earlier version say another one."""
SCORINGS = ("symmetric", "decoded", "asymmetric")
HEADS: tuple[tuple[Selection, int, int], ...] = (
    *(("topk", hidden_dim, 64) for hidden_dim in (512, 768, 1024, 4096, 8192, 16_384)),
    ("threshold", 1024, 64),
)
"""Selection, D and bytes per text, scale byte included, of the heads that are compared."""


def k_for_bytes(hidden_dim: int, budget: float) -> int:
    """The largest k whose codes, with their scale byte, fit into so many bytes per text."""
    k = 1
    while k < hidden_dim // 2 and rice_bytes(hidden_dim, k + 1) + 1 <= budget:
        k += 1
    return k


def rice_bytes(hidden_dim: int, k: int) -> float:
    """Expected bytes of k ids drawn at random, as :mod:`bsa_st.codes.file` writes them: gaps are geometric."""
    stays = 1 - k / hidden_dim
    return min(k * (rice + 1 + stays**2**rice / (1 - stays**2**rice)) for rice in range(16)) / 8


def recalls(method: Method, queries: np.ndarray, documents: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of float32's ten nearest documents that a fitted method finds, in percent, by scoring."""
    left, right = Encoded(queries, method.encode(queries)), Encoded(documents, method.encode(documents))
    found = {}
    for scoring in [name for name in method.scorings if name in SCORINGS]:
        hits = best(method.broken_ties(left, right, scoring))
        shared = [len(np.intersect1d(mine, true)) for mine, true in zip(hits, truth, strict=True)]
        found[scoring] = round(100 * float(np.mean(shared)) / truth.shape[1], 2)
    return {"bytes_per_text": round(method.stored_bytes(right, "asymmetric"), 2), **found}


def measure(method: Method, rows: Path) -> dict[str, Any]:
    """Fit one method on the training rows in ``rows`` and measure it on the others."""
    with np.load(rows) as parts:
        training, queries, documents = parts["training"], parts["queries"], parts["documents"]
    truth = best(queries @ documents.T)
    started = time.process_time()
    method.fit(training)
    seconds = time.process_time() - started
    facts: dict[str, Any] = {"method": method.name, "cpu_seconds_to_fit": round(seconds, 1)}
    if isinstance(method, BSA):
        head: BinarySparsityAlignment = method.head
        facts |= {"hidden_dim": head.hidden_dim, "k": head.k, "selection": head.selection}
        facts["never_fired"] = code_statistics(head, training[:FIRING_TEXTS])["never_fired"]
        facts["firing_texts"] = min(FIRING_TEXTS, len(training))
        started = time.process_time()
        method.encode(queries)
        facts["milliseconds_to_encode"] = round((time.process_time() - started) / len(queries) * 1000, 3)
    facts |= recalls(method, queries, documents, truth)
    facts["peak_gigabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return facts


def split(embeddings: np.ndarray, rows: Path, training_texts: int) -> None:
    """Write the three parts of the embeddings, float (n, d), to ``rows``."""
    order = np.random.default_rng(7).permutation(len(embeddings))
    if len(order) < 2 * (QUERIES + DOCUMENTS):
        raise BSAError(f"the study needs at least {2 * (QUERIES + DOCUMENTS)} texts, got {len(order)}")
    parts = np.split(order, [QUERIES, QUERIES + DOCUMENTS, QUERIES + DOCUMENTS + training_texts])[:3]
    queries, documents, training = (unit_rows(embeddings[np.sort(part)]) for part in parts)
    rows.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(rows) as file:
        np.savez(file, queries=queries, documents=documents, training=training.astype(np.float16))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def study(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the general texts: text_mix and retrieval_medquad.  [default: none]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 600,
    training_texts: Annotated[int, typer.Option(help="Texts that heads learn from.")] = 120_000,
    model: Annotated[str, typer.Option(help="Encoder, as in python -m evaluation.")] = "all-MiniLM-L6-v2",
    work: Annotated[Path, typer.Option(help="Folder of finished heads.")] = Path("build/dictionaries"),
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    output: Annotated[Path, typer.Option(help="Results file.")] = RESULTS,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write the page from the results.")] = False,
) -> None:
    """Compare dictionary sizes at equal bytes by the share of float32's neighbours they find."""
    if not report_only:
        store = EmbeddingStore(load_encoder(model), cache_dir)
        rows = work / f"{model}-{training_texts}.npz"
        if not rows.is_file():
            split(store.training(general_texts(data, [], 150_000)), rows, training_texts)
        methods = choose_methods(list(REFERENCES), steps)
        for selection, hidden_dim, budget in HEADS:
            recipe = DistillSettings(hidden_dim=hidden_dim, k=k_for_bytes(hidden_dim, budget), selection=selection, steps=steps)
            methods.append(BSA(Variant(recipe, {"refine": True}, label="refined")))
        results = [_kept(method, rows, work) for method in tqdm(methods, desc="Dictionaries", unit="head")]
        write_json(output, {"model": model, "training_texts": training_texts, "factor": FACTOR, "rows": results})
    typer.echo(f"Report in {write_report(output)}")


def _kept(method: Method, rows: Path, work: Path) -> dict[str, Any]:
    """The facts of one method, measured in a process of its own unless an earlier run has done so."""
    recipe = {**asdict(method.variant), "factor": FACTOR} if isinstance(method, BSA) else {}
    path = work / f"{rows.stem}-{method.name}.json"
    if path.is_file() and (kept := json.loads(path.read_text()))["recipe"] == json.loads(json.dumps(recipe)):
        return dict(kept["facts"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        facts = pool.apply(measure, (method, rows))
    with atomic_file(path) as file:
        file.write(json.dumps({"recipe": recipe, "facts": facts}).encode())
    return facts


if __name__ == "__main__":
    run_command(app, "evaluation.dictionaries")
