"""One method on all tasks, with all its scorings; finished pairs are kept, so that an interrupted run continues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.fitted import Fitted, Fitter, digest
from evaluation.leaderboard import method_meta
from evaluation.methods.base import Method
from evaluation.onetask import run_task
from evaluation.rows import Row, read_json, write_json
from evaluation.tasks import EvaluationTask
from evaluation.wrapper import CodeMemo, MethodEncoder


@dataclass(frozen=True)
class Finished:
    """A finished (method, scoring, task): its row without the speed, the value of each query, and the method's own figures."""

    row: Row
    values: list[float]
    figures: dict[str, Any]


def missing_pairs(fitter: Fitter, setting: str, method: Method) -> list[tuple[EvaluationTask, str, Path]]:
    """Tasks and scorings that are not finished, with the file that each goes to."""
    return [pair for pair in _pairs(fitter, setting, method) if not pair[2].is_file()]


def run_method(fitter: Fitter, setting: str, method: Method) -> None:
    """Finish all tasks and scorings of a method in a setting; fitted only if something is left to do."""
    missing = missing_pairs(fitter, setting, method)
    if not missing:
        return
    fitted = fitter(setting, method)
    codes = CodeMemo(fitted.method)
    for task, scoring, path in missing:
        write_json(path, asdict(_run_pair(fitter, setting, task, fitted, codes, scoring)))


def read_pairs(fitter: Fitter, setting: str, method: Method) -> list[Finished]:
    """All finished pairs of a method."""
    contents = [read_json(path) for _, _, path in _pairs(fitter, setting, method)]
    return [
        Finished(Row(**content["row"] | {"setting": setting}), content["values"], content["figures"]) for content in contents
    ]


def _pairs(fitter: Fitter, setting: str, method: Method) -> Iterator[tuple[EvaluationTask, str, Path]]:
    key, folder = fitter.key(setting, method), fitter.folder("pairs", setting, method)
    for task in fitter.plan.tasks:
        name = digest(key, task.name, _content(task))
        for scoring in method.scorings:
            yield task, scoring, folder / f"{method.name}-{scoring}-{task.name}-{name}.json"


def _content(task: EvaluationTask) -> str:
    data = getattr(task.task, "data", None)
    return json.dumps(asdict(data), sort_keys=True) if data is not None else str(task.task.metadata.dataset)


def _run_pair(fitter: Fitter, setting: str, task: EvaluationTask, fitted: Fitted, codes: CodeMemo, scoring: str) -> Finished:
    plan, method = fitter.plan, fitted.method
    meta = method_meta(plan.store.encoder, method.name, scoring, setting if method.trained else "untrained", plan.model)
    outcome = run_task(task, MethodEncoder(plan.store, codes, scoring, meta), plan.request.work / "mteb")
    row = Row(
        model=plan.model,
        setting=setting,
        method=method.name,
        family=method.family,
        scoring=scoring,
        task=task.name,
        metric=task.metric,
        score=outcome.score,
        ci_low=outcome.interval.low if outcome.interval else None,
        ci_high=outcome.interval.high if outcome.interval else None,
        bytes_per_text=outcome.bytes_per_text,
        shared_bytes=method.shared_bytes,
        queries_per_second=None,
        seconds_to_fit=fitted.seconds,
        tie_rate=outcome.tie_rate,
        documents=outcome.documents,
        queries=outcome.queries,
    )
    return Finished(row, outcome.values, method.figures)
