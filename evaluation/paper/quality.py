"""Quality of a fitted method on one task, with mteb's evaluator: the value of every query, its mean and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytrec_eval
from scipy import stats

from evaluation.embeddings import EmbeddingStore
from evaluation.paper.inputs import Collection, Inputs
from evaluation.paper.methods.base import Encoded, Method, best
from evaluation.paper.statistics import mean_interval, spearman_interval
from evaluation.tasks import EvaluationTask, task_texts

RANKED = 100


def retrieval(method: Method, collection: Collection, scoring: str) -> dict[str, Any]:
    """nDCG@10 of a fitted method: ``score``, its interval ``low`` and ``high``, ``bytes`` per document, ``queries``."""
    queries = Encoded(collection.queries, method.encode(collection.queries))
    documents = Encoded(collection.documents, method.encode(collection.documents))
    values = ndcg(method.broken_ties(queries, documents, scoring), collection)
    low, high = mean_interval(values)
    size = method.stored_bytes(documents, scoring)
    figures = {"score": float(values.mean()), "low": low, "high": high, "bytes": size}
    return {name: round(value, 5) for name, value in figures.items()} | {"queries": len(values)}


def ndcg(scores: np.ndarray, collection: Collection) -> np.ndarray:
    """nDCG@10 of every query, float (m,), from scores of queries against documents, float (m, n)."""
    data: Any = collection.task.task
    documents, queries = list(data.data.corpus), list(data.data.queries)
    top = best(scores, RANKED)
    ranking = {query: {documents[place]: float(scores[row, place]) for place in top[row]} for row, query in enumerate(queries)}
    found = pytrec_eval.RelevanceEvaluator(data.data.qrels, {"ndcg_cut.10"}).evaluate(ranking)
    return np.array([found[query]["ndcg_cut_10"] for query in sorted(found)])


def similarity(method: Method, task: EvaluationTask, store: EmbeddingStore, scoring: str) -> dict[str, Any]:
    """Spearman's correlation of a fitted method's scores with human ratings of pairs; keys as in :func:`retrieval`."""
    left, right = (Encoded(dense, method.encode(dense)) for dense in map(store.evaluation, task_texts(task)))
    ratings = np.array(task.task.data.score)  # type: ignore[attr-defined]
    predicted = method.pairs(left, right, scoring)
    low, high = spearman_interval(predicted, ratings)
    score = float(stats.spearmanr(predicted, ratings).statistic)
    figures = {"score": score, "low": low, "high": high, "bytes": method.stored_bytes(right, scoring)}
    return {name: round(value, 5) for name, value in figures.items()} | {"queries": len(ratings)}


def mean_retrieval(method: Method, inputs: Inputs, scoring: str) -> dict[str, Any]:
    """:func:`retrieval` on all of ``inputs.retrieval``: mean ``score`` and ``bytes``, and each task's score by name in ``tasks``."""
    found = {name: retrieval(method, inputs.collection(name), scoring) for name in inputs.retrieval}
    means = {figure: round(float(np.mean([one[figure] for one in found.values()])), 5) for figure in ("score", "bytes")}
    return means | {"tasks": {name: one["score"] for name, one in found.items()}}
