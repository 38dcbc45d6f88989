"""nDCG@10 on judged collections and Spearman's correlation on rated sentence pairs, from embeddings, as mteb computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval
from scipy import stats

from evaluation.data.folders import RetrievalData, read_pairs, read_retrieval
from evaluation.data.neighbours import nearest
from evaluation.methods.base import Method

RETRIEVAL = ("time", "med", "cranfield", "cisi", "lisa", "scifact")
STS = ("stsbenchmark", "sts12", "sts13", "sts14")
RANKED = 100

Embed = Callable[[list[str]], np.ndarray]
"""Texts to unit-norm embeddings, float32 (n, d)."""


@dataclass(frozen=True)
class Collection:
    """A judged collection: embeddings of queries (q, d) and documents (n, d), their ids, and grades by query and document."""

    queries: np.ndarray
    documents: np.ndarray
    query_ids: list[str]
    document_ids: list[str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def of(cls, judged: RetrievalData, embed: Embed) -> Collection:
        """A collection of texts, embedded."""
        queries, documents = embed(list(judged.queries.values())), embed(judged.documents)
        return cls(queries, documents, list(judged.queries), list(judged.corpus), judged.qrels)

    def score(self, method: Method, codes: Any, estimate: str) -> float:
        """Mean nDCG@10 of float queries against the codes of the documents."""
        return float(np.mean(ndcg(method.scores(self.queries, codes, estimate), self)))


@dataclass(frozen=True)
class Pairs:
    """Rated pairs: embeddings of both sides, (n, d) each, and the ratings (n,)."""

    queries: np.ndarray
    documents: np.ndarray
    ratings: np.ndarray

    def score(self, method: Method, codes: Any, estimate: str) -> float:
        """Spearman's correlation with the ratings: the first sentence a float query, the second a code."""
        return float(stats.spearmanr(method.pair_scores(self.queries, codes, estimate), self.ratings).statistic)


def read_tasks(data: Path, embed: Embed) -> dict[str, Collection | Pairs]:
    """Every task of :data:`RETRIEVAL` and :data:`STS` that is in the folder, by name."""
    found: dict[str, Collection | Pairs] = {}
    for name in RETRIEVAL:
        if (folder := data / f"retrieval_{name}").is_dir():
            found[name] = Collection.of(read_retrieval(folder), embed)
    for name in STS:
        if (folder := data / f"sts_{name}").is_dir():
            rated = read_pairs(folder)
            found[name] = Pairs(embed(rated.sentence1), embed(rated.sentence2), np.array(rated.score))
    return found


def ndcg(scores: np.ndarray, collection: Collection) -> np.ndarray:
    """nDCG@10 of every query, float (q,), from scores (q, n)."""
    ranking = {
        query: {collection.document_ids[place]: float(own[place]) for place in top}
        for query, own, top in zip(collection.query_ids, scores, nearest(scores, min(RANKED, scores.shape[1])), strict=True)
    }
    found = pytrec_eval.RelevanceEvaluator(collection.qrels, {"ndcg_cut.10"}).evaluate(ranking)
    return np.array([found[query]["ndcg_cut_10"] for query in collection.query_ids])
