"""The whole run: methods on tasks in settings, resumable, written as rows after every method."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bsa_st.cache import encoder_fingerprint, texts_fingerprint
from evaluation.compare import write_details
from evaluation.embeddings import EmbeddingStore
from evaluation.leaderboard import method_meta
from evaluation.methods.base import Method
from evaluation.onetask import run_task
from evaluation.rows import Row, merge_rows, read_json, rows_path, write_json
from evaluation.tasks import EvaluationTask
from evaluation.training import adaptation_texts, training_embeddings
from evaluation.wrapper import CodeMemo, MethodEncoder

FORMAT = 1
"""Changes when results made by an older version of this folder must not be taken up again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done; everything in it is checked already.

    Attributes:
        model: Short name of the encoder.
        store: Its embeddings.
        tasks: Tasks.
        methods: Methods.
        settings: ``general``, ``adapted`` or both.
        general: Texts of the general setting; may be empty if only ``adapted`` is asked for.
        results: Folder of the row files.
        work: Folder of finished pairs and of mteb's own results; an interrupted run continues from it.
        command: How the run was started, for the report.
    """

    model: str
    store: EmbeddingStore
    tasks: Sequence[EvaluationTask]
    methods: Sequence[Method]
    settings: Sequence[str]
    general: list[str]
    results: Path
    work: Path
    command: str


@dataclass(frozen=True)
class Finished:
    """A finished (method, scoring, task): its row, the value of each query, and the method's own figures."""

    row: Row
    values: list[float]
    figures: dict[str, Any]


def run(plan: Plan) -> list[Path]:
    """Do everything that is not finished yet; returns the row files written."""
    written = []
    encoder = encoder_fingerprint(plan.store.encoder)
    for setting in plan.settings:
        finished: list[Finished] = []
        started = time.perf_counter()
        for place, method in enumerate(plan.methods, start=1):
            done = run_method(plan, setting, method, _digest(encoder, _training_key(plan, setting)), _digest(encoder))
            logger.info(
                "%s %d/%d %s: %.0f s so far", setting, place, len(plan.methods), method.name, time.perf_counter() - started
            )
            merge_rows(rows_path(plan.results, plan.model, setting), [item.row for item in done])
            finished += done
        write_details(plan, setting, finished)
        written.append(rows_path(plan.results, plan.model, setting))
    return written


def run_method(plan: Plan, setting: str, method: Method, trained_key: str, untrained_key: str) -> list[Finished]:
    """All tasks and scorings of a method in a setting; fitted only if something is left to do."""
    base = trained_key if method.trained else untrained_key
    folder = plan.work / "pairs" / plan.model / (setting if method.trained else "untrained")
    paths = {
        (task.name, scoring): folder / f"{method.name}-{scoring}-{task.name}-{_pair_key(base, method, task)}.json"
        for task in plan.tasks
        for scoring in method.scorings
    }
    codes: CodeMemo | None = None
    seconds = 0.0
    finished = []
    for task in plan.tasks:
        for scoring in method.scorings:
            path = paths[task.name, scoring]
            if not path.is_file():
                if codes is None:
                    training = training_embeddings(plan.store, setting, plan.general, plan.tasks)
                    began = time.perf_counter()
                    method.fit(training)
                    seconds = time.perf_counter() - began
                    codes = CodeMemo(method)
                write_json(path, asdict(_run_pair(plan, setting, task, codes, scoring, seconds)))
            content = read_json(path)
            row = replace(Row(**content["row"]), setting=setting)
            finished.append(Finished(row, content["values"], content["figures"]))
    return finished


def _run_pair(plan: Plan, setting: str, task: EvaluationTask, codes: CodeMemo, scoring: str, seconds_to_fit: float) -> Finished:
    method = codes.method
    meta = method_meta(plan.store.encoder, method.name, scoring, setting if method.trained else "untrained", plan.model)
    outcome = run_task(task, MethodEncoder(plan.store, codes, scoring, meta), plan.work / "mteb")
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
        queries_per_second=outcome.queries_per_second,
        seconds_to_fit=seconds_to_fit,
        tie_rate=outcome.tie_rate,
        documents=outcome.documents,
        queries=outcome.queries,
    )
    return Finished(row, outcome.values, method.figures)


def _training_key(plan: Plan, setting: str) -> str:
    extra = texts_fingerprint(adaptation_texts(plan.tasks)) if setting == "adapted" else ""
    return texts_fingerprint(plan.general) + extra


def _pair_key(base: str, method: Method, task: EvaluationTask) -> str:
    data = getattr(task.task, "data", None)
    content = json.dumps(asdict(data), sort_keys=True) if data is not None else str(task.task.metadata.dataset)
    return _digest(base, method.name, json.dumps(method.settings(), sort_keys=True, default=str), task.name, content)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join([str(FORMAT), *parts]).encode()).hexdigest()[:12]
