"""The whole run: methods on tasks in settings, in one or several processes, resumable; then speed, rows and details."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from evaluation.compare import write_details
from evaluation.console import set_up_console
from evaluation.fitted import Fitter
from evaluation.methods import all_methods
from evaluation.methods.bsa import BSA
from evaluation.pairs import Finished, missing_pairs, read_pairs, run_method
from evaluation.prepare import Plan, Request, prepare
from evaluation.rows import merge_rows, rows_path
from evaluation.speed import measured_speeds, speed_task
from evaluation.tasks import task_texts

logger = logging.getLogger("evaluation")

Job = tuple[str, str]
"""A setting and the name of a method."""

_worker: Fitter | None = None


def run(plan: Plan) -> list[Path]:
    """Do everything that is not finished yet; returns the row files written."""
    fitter = Fitter(plan)
    left = [
        (setting, method.name)
        for setting in plan.request.settings
        for method in reversed(plan.methods)  # the slow ones come last in the tables and first here
        if (method.trained or setting == plan.request.settings[0]) and missing_pairs(fitter, setting, method)
    ]
    if plan.request.workers > 1 and len(left) > 1:
        _fill_cache(plan)
        _in_processes(plan.request, _budgets_apart(plan, left))
    else:
        started = time.perf_counter()
        for place, job in enumerate(left, start=1):
            _run_job(fitter, job)
            _log(place, len(left), job, started)
    return [_write(fitter, setting) for setting in plan.request.settings]


def _budgets_apart(plan: Plan, jobs: Sequence[Job]) -> list[Job]:
    """The first budget of every trained head, then all others: those find the head trained instead of training it at the same time."""
    variants = {method.name: method.variant for method in plan.methods if isinstance(method, BSA)}
    firsts: dict[object, Job] = {}
    for setting, name in jobs:
        firsts.setdefault((setting, variants[name].settings if name in variants else name), (setting, name))
    return [*firsts.values(), *(job for job in jobs if job not in firsts.values())]


def _fill_cache(plan: Plan) -> None:
    """Encode everything before several processes want it at the same time."""
    if plan.general:
        plan.store.training(plan.general)
    for task in plan.tasks:
        for texts in task_texts(task):
            (plan.store.documents if texts == task.corpus else plan.store.evaluation)(texts)


def _in_processes(request: Request, jobs: Sequence[Job]) -> None:
    """Several processes, which make the same plan and leave their results in the work folder."""
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(request.workers, mp_context=context, initializer=_start_worker, initargs=(request,)) as executor:
        futures = {executor.submit(_in_worker, job): job for job in jobs}
        try:
            for place, future in enumerate(as_completed(futures), start=1):
                future.result()
                _log(place, len(jobs), futures[future], started)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(request: Request) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up_console()
    _worker = Fitter(prepare(request))


def _in_worker(job: Job) -> None:
    assert _worker is not None, "the initializer makes it"
    _run_job(_worker, job)


def _end_with_parent() -> None:
    """Do not go on with a method for hours when the run was killed; what is written is written atomically."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by the run"
    parent.join()
    os._exit(1)


def _run_job(fitter: Fitter, job: Job) -> None:
    setting, name = job
    run_method(fitter, setting, next(method for method in fitter.plan.methods if method.name == name))


def _log(place: int, total: int, job: Job, started: float) -> None:
    logger.info("%d/%d %s, %s: %.0f s so far", place, total, job[1], job[0], time.perf_counter() - started)


def _write(fitter: Fitter, setting: str) -> Path:
    """Rows and details of a setting, once everything in it is finished."""
    plan = fitter.plan
    finished = [item for method in plan.methods for item in read_pairs(fitter, setting, method)]
    task = speed_task(plan.tasks)
    speeds = measured_speeds(fitter, setting, task) if task else {}
    finished = [_with_speed(item, speeds, task.name if task else "") for item in finished]
    path = rows_path(plan.request.output, plan.model, setting)
    known = all_methods(width=plan.store.encoder.get_embedding_dimension() or 0)
    merge_rows(path, [item.row for item in finished], known)
    write_details(plan, setting, finished)
    return path


def _with_speed(item: Finished, speeds: dict[tuple[str, str], float], task: str) -> Finished:
    if item.row.task != task:
        return item
    return replace(item, row=replace(item.row, queries_per_second=speeds[item.row.method, item.row.scoring]))
