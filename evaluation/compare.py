"""What is said over all tasks of a run together: means with intervals, and tests at the declared budgets of bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from bsa_st.hardware import hardware_name
from evaluation.budgets import BUDGETS, CODE_SCORINGS, FLOAT_SCORING, SIDES, budget_of, scaled_name
from evaluation.pairs import Finished
from evaluation.prepare import Plan
from evaluation.rows import details_path, read_json, read_rows, rows_path, write_json
from evaluation.statistics import macro_interval, paired_test
from evaluation.table import mean_tasks

METRIC = "ndcg_at_10"
PACKAGES = ("bsa-st", "mteb", "sentence-transformers", "torch", "faiss-cpu", "numpy", "scipy")

Key = tuple[str, str]
"""Method and scoring."""
Tasks = dict[str, Finished]


def write_details(plan: Plan, setting: str, finished: Sequence[Finished]) -> None:
    """Write ``<model>-<setting>.details.json``: means, tests, figures of heads, and how the run was made."""
    retrieval = [item for item in finished if item.row.metric == METRIC and item.values]
    inside = mean_tasks(list(dict.fromkeys(item.row.task for item in retrieval)))
    methods = _by_method(item for item in retrieval if item.row.task in inside)
    path = details_path(plan.request.output, plan.model, setting)
    width = plan.store.encoder.get_embedding_dimension() or 0
    details = {
        "command": plan.request.command,
        "width": width,
        "training_texts": len(plan.general),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": hardware_name(),
        "means": means(methods),
        "budgets": list(at_budgets(methods, width)),
        "figures": {item.row.method: item.figures for item in finished if item.figures},
    }
    if path.is_file():
        there = {row.method for row in read_rows(rows_path(plan.request.output, plan.model, setting))}
        details = with_earlier(details, read_json(path), there)
    write_json(path, details)


def with_earlier(details: dict[str, Any], earlier: dict[str, Any], there: Collection[str]) -> dict[str, Any]:
    """Add what an earlier run found of methods that this one did not measure, as far as they are still ``there``."""
    new = {(entry["method"], entry["scoring"]) for entry in details["means"]}
    compared = {(entry["budget"], entry["side"]) for entry in details["budgets"]}
    kept = [entry for entry in earlier["means"] if entry["method"] in there and (entry["method"], entry["scoring"]) not in new]
    figures = {name: facts for name, facts in earlier["figures"].items() if name in there}
    commands = dict.fromkeys([earlier["command"], details["command"]]) if kept else [details["command"]]
    return {
        **details,
        "command": "; ".join(commands),
        "means": kept + details["means"],
        "budgets": [entry for entry in earlier["budgets"] if (entry["budget"], entry["side"]) not in compared]
        + details["budgets"],
        "figures": {**figures, **details["figures"]},
    }


def means(methods: dict[Key, Tasks]) -> list[dict[str, Any]]:
    """Mean nDCG@10 of every method and scoring over the tasks of the mean, with its bootstrap interval."""
    rows = []
    for (method, scoring), tasks in methods.items():
        interval = macro_interval([np.array(item.values) for item in tasks.values()])
        entry = {"method": method, "scoring": scoring, "tasks": len(tasks), "score": _mean(tasks)}
        rows.append(_rounded({**entry, "ci_low": interval.low, "ci_high": interval.high}))
    return rows


def at_budgets(methods: dict[Key, Tasks], width: int) -> Iterator[dict[str, Any]]:
    """For every budget and kind of query, the recommended BSA method and every baseline of that budget.

    A baseline's ``difference`` is the BSA method's mean minus its own; ``p_value`` is that of a paired randomisation test over queries.
    Nothing is chosen by its score.
    """
    for budget, recommended in BUDGETS.items():
        name = scaled_name(recommended, width)
        for side, scorings in SIDES.items():
            wanted = (FLOAT_SCORING,) if FLOAT_SCORING in scorings else CODE_SCORINGS
            own = next(((name, scoring) for scoring in wanted if (name, scoring) in methods), None)
            if own is None:
                continue
            yield _rounded({"budget": budget, "side": side, "bsa": True, **_entry(own, methods[own])})
            for rival, tasks in methods.items():
                if rival[1] in scorings and _is_baseline(tasks) and budget_of(_bytes(tasks), width) == budget:
                    yield _rounded(
                        {"budget": budget, "side": side, "bsa": False, **_entry(rival, tasks), **_test(methods[own], tasks)}
                    )


def _entry(key: Key, tasks: Tasks) -> dict[str, Any]:
    interval = macro_interval([np.array(item.values) for item in tasks.values()])
    own = {"method": key[0], "scoring": key[1], "bytes": _bytes(tasks), "score": _mean(tasks)}
    return {**own, "ci_low": interval.low, "ci_high": interval.high}


def _test(own: Tasks, rival: Tasks) -> dict[str, float]:
    values, others = ([np.array(side[task].values) for task in sorted(own)] for side in (own, rival))
    return {"difference": _mean(own) - _mean(rival), "p_value": paired_test(values, others)}


def _by_method(finished: Iterable[Finished]) -> dict[Key, Tasks]:
    methods: dict[Key, Tasks] = {}
    for item in finished:
        methods.setdefault((item.row.method, item.row.scoring), {})[item.row.task] = item
    return methods


def _is_baseline(tasks: Tasks) -> bool:
    return next(iter(tasks.values())).row.family != "bsa"


def _bytes(tasks: Tasks) -> float:
    return float(np.mean([item.row.bytes_per_text for item in tasks.values()]))


def _mean(tasks: Tasks) -> float:
    return float(np.mean([item.row.score for item in tasks.values()]))


def _rounded(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in entry.items()}
