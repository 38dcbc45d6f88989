"""Queries per second of all methods on one thread, after the dense encoder, measured in turns in one process."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from evaluation.fitted import Fitter, digest
from evaluation.methods.base import Encoded, Search
from evaluation.rows import read_json, write_json
from evaluation.table import mean_tasks
from evaluation.tasks import EvaluationTask
from evaluation.threads import one_thread

QUERIES = 200
ROUNDS = 5

Key = tuple[str, str]
"""Method and scoring."""


def speed_task(tasks: Sequence[EvaluationTask]) -> EvaluationTask | None:
    """The collection that is searched: the largest of those that count in the mean; none if there is none at hand."""
    collections = {item.name: item for item in tasks if item.corpus and hasattr(item.task, "data")}
    inside = [collections[name] for name in mean_tasks(list(collections))]
    return max(inside, key=lambda item: len(item.corpus), default=None)


def measured_speeds(fitter: Fitter, setting: str, task: EvaluationTask) -> dict[Key, float]:
    """Queries per second of every method and scoring of the plan; kept in the work folder, so that a second run tells the same."""
    methods = fitter.plan.methods
    key = digest(task.name, *(fitter.key(setting, method) for method in methods))
    path = fitter.plan.request.work / "speed" / fitter.plan.model / f"{setting}-{key}.json"
    if not path.is_file():
        store = fitter.plan.store
        documents = store.documents(task.corpus)
        queries = store.evaluation(list(task.task.data.queries.values()))  # type: ignore[attr-defined]
        searchers: dict[Key, Search] = {}
        with one_thread():
            for method in methods:
                fitted = fitter(setting, method).method
                encoded = Encoded(documents, fitted.encode(documents))
                searchers.update({(method.name, scoring): fitted.searcher(encoded, scoring) for scoring in fitted.scorings})
            rates = queries_per_second(searchers, queries)
        write_json(path, [{"method": name, "scoring": scoring, "rate": rate} for (name, scoring), rate in rates.items()])
    return {(entry["method"], entry["scoring"]): entry["rate"] for entry in read_json(path)}


def queries_per_second(searchers: dict[Key, Search], queries: np.ndarray) -> dict[Key, float]:
    """Exhaustive search for the best 10, in one batch of 200 queries: the best of five rounds of all methods, in CPU time.

    On one thread CPU time is the time that passes on an idle machine; unlike that, it does not count what other programs take. What
    a method does to a query between the dense encoder and the result is counted: projecting, coding, scoring, ranking.

    Args:
        searchers: What is measured.
        queries: float32 (n, d); repeated or cut to 200.
    """
    batch = np.ascontiguousarray(np.resize(queries, (QUERIES, queries.shape[1])))
    seconds: dict[Key, float] = {}
    for search in searchers.values():
        search(batch[:10])
    for _ in range(ROUNDS):
        for key, search in searchers.items():
            started = time.process_time()
            search(batch)
            seconds[key] = min(seconds.get(key, np.inf), time.process_time() - started)
    return {key: len(batch) / max(value, 1e-6) for key, value in seconds.items()}
