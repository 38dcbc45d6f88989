"""Section: what a head fitted to general sentences finds in other domains, and what one fitted to the collection itself finds."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from evaluation.comparison.cells import Cell, fit
from evaluation.comparison.results import interval
from evaluation.data.folders import read_classes, read_retrieval
from evaluation.data.inputs import Inputs
from evaluation.data.labelled import Collection
from evaluation.data.neighbours import found_counts, nearest, shares
from evaluation.data.tasks import HPO, hpo_collection
from evaluation.markdown import markdown_table
from evaluation.methods.base import Method
from evaluation.study.heads import in_percent
from evaluation.study.runner import Cells, Results

title = "Domains"

INTENTS = "banking77"
DOMAINS = {
    "news": ("time",),
    "biomedical": (HPO, "med"),
    "scientific abstracts": ("scifact", "cranfield", "cisi"),
    "library abstracts": ("lisa",),
    "short intents": (INTENTS,),
}
GENERAL = {"centred sign bits": 0, "OPQ": 64, "compact": 64}
"""Methods fitted to general sentences, and their bytes; as in the main comparison, whose fits are used."""
OWN, OWN_BYTES, OWN_LEAST = "compact, own documents", 64, 5_000
"""The last one is fitted to the documents that it stores, where there are so many."""


def cells() -> Cells:
    """A cell per collection."""
    return {name: partial(measure, name) for names in DOMAINS.values() for name in names}


def read(name: str, inputs: Inputs) -> Collection:
    """A collection by name, the intents without judgements; raises :class:`BSAError` where it is not in the data folder."""
    if name == INTENTS:
        folder = inputs.data / f"cls_{INTENTS}"
        queries, documents = (inputs.embed(read_classes(folder, split)[0]) for split in ("test", "train"))
        return Collection(queries, documents, [], [], {})
    judged = hpo_collection() if name == HPO else read_retrieval(inputs.data / f"retrieval_{name}")
    return Collection.of(judged, inputs.embed)


def measure(name: str, inputs: Inputs) -> dict[str, Any]:
    """Every method on one collection."""
    texts = read(name, inputs)
    truth = nearest(texts.queries @ texts.documents.T)
    methods = {}
    for method_name, n_bytes in GENERAL.items():
        method, _ = fit(Cell(method_name, n_bytes, 0), inputs)
        methods[method_name] = scored(method, texts, truth)
    if len(texts.documents) >= OWN_LEAST:
        own = Cell("compact", OWN_BYTES, 0).new()
        own.fit(texts.documents)
        own.softening = own.choose_softening(texts.documents)
        methods[OWN] = scored(own, texts, truth)
    return {
        "queries": len(texts.queries),
        "documents": len(texts.documents),
        "ndcg": texts.score(Cell("float32", 0, 0).new(), texts.documents, "dot") if texts.qrels else None,
        "methods": methods,
    }


def scored(method: Method, texts: Collection, truth: np.ndarray) -> dict[str, Any]:
    """found@10 of a fitted method, query by query, its nDCG@10 where there are judgements, and its bytes."""
    codes = method.encode(texts.documents)
    return {
        "stored": round(method.stored_bytes(codes), 1),
        "counts": found_counts(method.scores(texts.queries, codes, "softened"), truth),
        "ndcg": round(texts.score(method, codes, "softened"), 5) if texts.qrels else None,
    }


def render(results: Results) -> str:
    """found@10 by collection and method, and nDCG@10 as shares of float32's."""
    names = [*GENERAL, OWN]
    sizes = {name: [one["methods"][name]["stored"] for one in results.values() if name in one["methods"]] for name in names}
    header = ["domain", "collection", "queries, documents"]
    header += [f"{name}, {np.mean(size):.0f} B" if (size := sizes[name]) else name for name in names]
    body = []
    for domain, collections in DOMAINS.items():
        for collection in collections:
            if collection in results:
                one = results[collection]
                row = [domain, collection, f"{one['queries']:,}, {one['documents']:,}"]
                body.append(row + [_figures(one, name) for name in names])
    return (
        "found@10 and, where there are judgements, nDCG@10 in per cent of float32's. All but the last method learn from the 30,000 general sentences of the main comparison;"
        f" the last is fitted to the documents that it stores (at least {OWN_LEAST:,}). Float queries; compact codes are refined.\n\n{markdown_table(header, body)}"
    )


def _figures(one: dict[str, Any], name: str) -> str:
    if name not in one["methods"]:
        return "-"
    found = one["methods"][name]
    text = in_percent(interval(shares(found["counts"])[None]))
    return text if found["ndcg"] is None else f"{text}; {100 * found['ndcg'] / one['ndcg']:.0f}"
