"""One method with one scoring on one task: ``mteb.evaluate``, and what the mean score hides: the value of every query."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import mteb
import numpy as np
import pytrec_eval

from evaluation.statistics import Interval, mean_interval, spearman_interval
from evaluation.tasks import EvaluationTask
from evaluation.wrapper import MethodEncoder


class Outcome(NamedTuple):
    """What one run gave.

    Attributes:
        score: mteb's score in the task's metric.
        interval: 95 % bootstrap interval; ``None`` for other kinds of task than retrieval and STS.
        values: nDCG@10 of every query, in the order of the query ids; empty for other tasks.
        bytes_per_text: Stored bytes per document.
        tie_rate: ``None`` unless it is a retrieval task.
        documents: Number of documents or pairs.
        queries: Number of queries or pairs.
    """

    score: float
    interval: Interval | None
    values: list[float]
    bytes_per_text: float
    tie_rate: float | None
    documents: int
    queries: int


def run_task(item: EvaluationTask, model: MethodEncoder, mteb_folder: Path) -> Outcome:
    """Evaluate with mteb, save its result under ``mteb_folder``, and measure bytes, ties and uncertainty."""
    if not item.task.data_loaded:
        item.task.load_data()  # mteb throws away what it has loaded itself, and the judgements are needed below
    with tempfile.TemporaryDirectory() as scratch:
        result = mteb.evaluate(
            model,
            item.task,
            cache=mteb.ResultCache(mteb_folder),
            overwrite_strategy="always",
            prediction_folder=scratch,
            co2_tracker=False,
            show_progress_bar=False,
            encode_kwargs={"show_progress_bar": False, "batch_size": 1024},
        )
        predictions = _read_predictions(Path(scratch) / item.task.prediction_file_name)
    scores = [subset[item.metric] for split in result[0].scores.values() for subset in split]
    values: list[float] = []
    interval = None
    if item.metric == "ndcg_at_10" and predictions:
        values = ndcg_per_query(item.task, predictions)
        interval = mean_interval(np.array(values))
    elif item.metric == "spearman" and predictions:
        interval = _spearman(item.task, predictions)
    assert model.last is not None, "mteb scores every task through the wrapper's similarity"
    queries, documents = model.last
    retrieval = item.metric == "ndcg_at_10"
    return Outcome(
        score=float(np.mean(scores)),
        interval=interval,
        values=[round(value, 5) for value in values],
        bytes_per_text=model.codes.method.stored_bytes(documents, model.scoring),
        tie_rate=float(np.mean(model.tie_rates)) if retrieval and model.tie_rates else None,
        documents=len(documents.dense),
        queries=len(queries.dense),
    )


def ndcg_per_query(task: Any, predictions: dict[str, Any]) -> list[float]:
    """nDCG@10 of every query from mteb's saved rankings, with the evaluator that mteb uses."""
    values: list[float] = []
    for subset, splits in predictions.items():
        for split, ranking in splits.items():
            qrels = task.dataset[subset][split]["relevant_docs"]
            found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(ranking)
            values += [found[query]["ndcg_cut_10"] for query in sorted(found)]
    return values


def _spearman(task: Any, predictions: dict[str, Any]) -> Interval | None:
    parts = [(subset, split, found) for subset, splits in predictions.items() for split, found in splits.items()]
    if len(parts) != 1:
        return None
    subset, split, found = parts[0]
    data = task.dataset[split] if split in task.dataset else task.dataset[subset][split]
    return spearman_interval(np.array(found["similarity_scores"]), np.array(data["score"]))


def _read_predictions(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    content.pop("mteb_model_meta", None)
    return content
