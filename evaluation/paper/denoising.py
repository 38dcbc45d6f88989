"""Does encoding and decoding clean a spoilt embedding? Noise, typos and truncation, beside PCA and PQ, with retrieval."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from evaluation.markdown import markdown_table, score
from evaluation.paper.cells import Cell, Results
from evaluation.paper.corruption import truncated, with_noise, with_typos
from evaluation.paper.figures import picture
from evaluation.paper.inputs import Collection, Inputs
from evaluation.paper.projections import BYTES, HEADS, RANKS, UNREFINED, bytes_per_text, projections
from evaluation.paper.quality import ndcg
from evaluation.paper.statistics import macro_interval

title = "Denoising: does decoding a code clean a spoilt embedding?"

NOISE = (0.25, 0.5, 1.0, 1.5, 3.0)
TYPOS = (0.25, 0.5, 1.0)
KEPT = (0.75, 0.5, 0.25)
RAW = "as it is"

Spoil = Callable[[Inputs, Collection], np.ndarray]
"""Spoilt embeddings of the queries of a collection, float32 (m, d), unit norm."""

CAPTIONS = {
    "clean": "none",
    **{f"noise-{level}": f"noise of length {level}" for level in NOISE},
    **{f"typos-{rate}": f"typos in {rate:.0%} of the words" for rate in TYPOS},
    **{f"kept-{share}": f"first {share:.0%} of the words" for share in KEPT},
    "documents-noise-1.0": "noise of length 1.0 on the documents",
}


def cells(quick: bool) -> list[Cell]:
    """One cell per kind and strength of damage."""
    queries: dict[str, Spoil] = {"clean": lambda _, collection: collection.queries}
    queries |= {f"noise-{level}": partial(_noisy, level=level) for level in (NOISE[1:2] if quick else NOISE)}
    queries |= {f"typos-{rate}": partial(_rewritten, change=partial(with_typos, rate=rate, seed=0)) for rate in TYPOS}
    queries |= {f"kept-{share}": partial(_rewritten, change=partial(truncated, share=share)) for share in KEPT}
    names = ("clean", "noise-0.5", "typos-0.5") if quick else tuple(queries)
    found = [Cell(name, partial(_queries_spoilt, spoil=queries[name])) for name in names]
    return found if quick else [*found, Cell("documents-noise-1.0", partial(_documents_spoilt, level=1.0))]


def render(results: Results, pictures: Path) -> str:
    """Tables of cosine and of nDCG@10, and the plot of the gain."""
    names = {name: result for name, result in results.items() if name != "clean"}
    sizes = next(iter(results.values()))["bytes"]
    figure = _plot(names)
    columns = [*HEADS, UNREFINED, "best PCA", *(f"PQ {size}" for size in BYTES)]
    header = ["damage", RAW, *(f"{column} ({sizes[column]:.0f} B)" if column in sizes else column for column in columns)]
    cosines = [_line(name, result, columns, "cosine") for name, result in results.items()]
    gains = [_line(name, result, columns, "ndcg") for name, result in results.items()]
    return f"""{picture(figure, pictures, "denoising", "Cosine with the clean embedding, before and after")}

{_verdict(names)}

Queries are spoilt; documents are clean float32 embeddings, but for the last row. `BSA k` decodes refined codes of k active features
(one head of 1,024 features, for 200 one of 1,536; general text), `PCA` keeps the best of the ranks {", ".join(map(str, RANKS))} (chosen for each cell afterwards, in its favour),
`PQ n` decodes n bytes. Noise is Gaussian; its length is relative to the embedding's.

Cosine with the clean embedding:

{markdown_table(header, cosines)}

nDCG@10, mean of {", ".join(next(iter(results.values()))["tasks"])}; * marks a difference from `{RAW}` whose 95 % interval leaves out 0:

{markdown_table(header, gains)}"""


def _queries_spoilt(inputs: Inputs, spoil: Spoil) -> dict[str, Any]:
    collections = [inputs.collection(name) for name in inputs.retrieval]
    spoilt = [spoil(inputs, collection) for collection in collections]
    clean = [collection.queries for collection in collections]
    return _compare(inputs, spoilt, clean, lambda place, rows: rows @ collections[place].documents.T)


def _documents_spoilt(inputs: Inputs, level: float) -> dict[str, Any]:
    collections = [inputs.collection(name) for name in inputs.retrieval]
    clean = [collection.documents for collection in collections]
    spoilt = [with_noise(rows, level, seed) for seed, rows in enumerate(clean)]
    return _compare(inputs, spoilt, clean, lambda place, rows: collections[place].queries @ rows.T)


def _compare(
    inputs: Inputs, spoilt: list[np.ndarray], clean: list[np.ndarray], scores: Callable[[int, np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Cosine with the clean embeddings and nDCG@10 of each projection, and how far it differs from doing nothing."""
    collections = [inputs.collection(name) for name in inputs.retrieval]

    def quality(rows: list[np.ndarray]) -> list[np.ndarray]:
        return [
            ndcg(scores(place, one), collection) for place, (one, collection) in enumerate(zip(rows, collections, strict=True))
        ]

    before = quality(spoilt)
    found = {RAW: {"cosine": _cosine(spoilt, clean), "ndcg": _mean(before)}}
    for name, project in projections(inputs).items():
        rows = [project(one) for one in spoilt]
        after = quality(rows)
        low, high = macro_interval([new - old for new, old in zip(after, before, strict=True)])
        found[name] = {
            "cosine": _cosine(rows, clean),
            "ndcg": _mean(after),
            "gain_low": round(low, 5),
            "gain_high": round(high, 5),
        }
    return {"methods": found, "bytes": bytes_per_text(inputs), "tasks": list(inputs.retrieval)}


def _noisy(_: Inputs, collection: Collection, level: float) -> np.ndarray:
    return with_noise(collection.queries, level, seed=len(collection.queries))


def _rewritten(inputs: Inputs, collection: Collection, change: Callable[[str], str]) -> np.ndarray:
    texts = collection.task.task.data.queries.values()  # type: ignore[attr-defined]
    return inputs.store.evaluation([change(text) for text in texts])


def _cosine(rows: list[np.ndarray], clean: list[np.ndarray]) -> float:
    return round(float(np.mean([(left * right).sum(axis=1).mean() for left, right in zip(rows, clean, strict=True)])), 5)


def _mean(values: list[np.ndarray]) -> float:
    return round(float(np.mean([one.mean() for one in values])), 5)


def _named(result: dict[str, Any], column: str, figure: str) -> tuple[str, dict[str, float]]:
    """A projection and what it gave; the best rank for ``best PCA``."""
    methods = result["methods"]
    ranks = [f"PCA {rank}" for rank in RANKS]
    name = max(ranks, key=lambda rank: methods[rank][figure]) if column == "best PCA" else column
    return name, methods[name]


def _line(name: str, result: dict[str, Any], columns: list[str], figure: str) -> list[str]:
    cells = [CAPTIONS[name], score(result["methods"][RAW][figure])]
    for column in columns:
        chosen, found = _named(result, column, figure)
        sure = figure == "ndcg" and (found["gain_low"] > 0 or found["gain_high"] < 0)
        rank = f" ({chosen.removeprefix('PCA ')})" if column == "best PCA" else ""
        cells.append(score(found[figure]) + "*" * sure + rank)
    return cells


def _verdict(results: Results) -> str:
    """What the figures say, in numbers."""
    groups = {"noise": ("noise", "documents"), "typos and truncation": ("typos", "kept")}
    counts = {
        label: [_counts(result) for name, result in results.items() if name.startswith(starts)]
        for label, starts in groups.items()
    }
    every = [one for group in counts.values() for one in group]
    gained = sum(one["better"] for one in every)
    sentences = [
        f"**{'It does' if gained == len(every) else 'In some cells' if gained else 'It does not'}**, as far as retrieval tells."
    ]
    for label, group in counts.items():
        if group:
            total = {name: sum(one[name] for one in group) for name in group[0]}
            sentences.append(
                f"Of {len(group)} cells with {label}, decoding (the best of the codes) brought embeddings closer to the clean ones in {total['closer']}, and "
                f"closer than the best PCA in {total['above']}; nDCG@10 rose beyond doubt with any of the codes in {total['better']} and fell beyond doubt with all "
                f"of them in {total['worse']}. At equal bytes, BSA 64 came closer than PQ 48 in {total['closer_than_pq']} and ranked better in {total['better_than_pq']}."
            )
    return "\n".join(sentences)


def _counts(result: dict[str, Any]) -> dict[str, bool]:
    methods = result["methods"]
    cosine = max(methods[name]["cosine"] for name in HEADS)
    same = methods["BSA 64"], methods["PQ 48"]
    return {
        "closer": cosine > methods[RAW]["cosine"],
        "better": any(methods[name]["gain_low"] > 0 for name in HEADS),
        "worse": all(methods[name]["gain_high"] < 0 for name in HEADS),
        "above": cosine > _named(result, "best PCA", "cosine")[1]["cosine"],
        "closer_than_pq": same[0]["cosine"] > same[1]["cosine"],
        "better_than_pq": same[0]["ndcg"] > same[1]["ndcg"],
    }


def _plot(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    series = {RAW: "k", **{name: f"C{place}" for place, name in enumerate(HEADS)}, "best PCA": "C4", "PQ 48": "C5"}
    places = np.arange(len(results))
    for column, colour in series.items():
        values = [_named(result, column, "cosine")[1]["cosine"] for result in results.values()]
        axes.plot(
            places, values, "_" if column == RAW else "o", color=colour, label=column, markersize=14 if column == RAW else 5
        )
    axes.set_xticks(places, [CAPTIONS[name] for name in results], rotation=30, ha="right", fontsize=7)
    axes.set_ylabel("cosine with the clean embedding")
    axes.legend(fontsize=7)
    return figure
