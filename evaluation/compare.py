"""What is said over all tasks of a run together: means with intervals, and tests of BSA against the nearest baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from bsa_st.hardware import hardware_name
from evaluation.rows import details_path, read_json, write_json
from evaluation.statistics import macro_interval, paired_test

if TYPE_CHECKING:
    from evaluation.run import Finished, Plan

METRIC = "ndcg_at_10"
PACKAGES = ("bsa-st", "mteb", "sentence-transformers", "torch", "faiss-cpu", "numpy", "scipy")
SIDES = {"symmetric": "code", "cosine": "code", "decoded": "code", "idf": "code", "asymmetric": "float", "two-stage": "float"}
"""Which scorings compete: code queries with code queries, float queries with float queries."""

Key = tuple[str, str]


def write_details(plan: Plan, setting: str, finished: Sequence[Finished]) -> None:
    """Write ``<model>-<setting>.details.json``: means, tests, figures of methods, and how the run was made."""
    retrieval = [item for item in finished if item.row.metric == METRIC and item.values]
    path = details_path(plan.results, plan.model, setting)
    figures = read_json(path)["figures"] if path.is_file() else {}
    figures.update({item.row.method: item.figures for item in finished if item.figures})
    write_json(
        path,
        {
            "command": plan.command,
            "training_texts": len(plan.general),
            "packages": {name: metadata.version(name) for name in PACKAGES},
            "machine": hardware_name(),
            "means": means(retrieval),
            "tests": tests(retrieval),
            "figures": figures,
        },
    )


def means(finished: Iterable[Finished]) -> list[dict[str, Any]]:
    """Mean nDCG@10 over the retrieval tasks of every method and scoring, with its bootstrap interval."""
    rows = []
    for (method, scoring), tasks in _by_method(finished).items():
        interval = macro_interval([np.array(item.values) for item in tasks.values()])
        score = float(np.mean([item.row.score for item in tasks.values()]))
        entry = {"method": method, "scoring": scoring, "tasks": len(tasks), "score": score}
        rows.append(_rounded({**entry, "ci_low": interval.low, "ci_high": interval.high}))
    return rows


def tests(finished: Iterable[Finished]) -> list[dict[str, Any]]:
    """Each BSA method and scoring against the baseline nearest in bytes whose queries are of the same kind.

    Where several baselines are equally near, against the best of them. The test is a paired randomisation test over queries.
    """
    methods = _by_method(finished)
    baselines = [
        key for key, tasks in methods.items() if _family(tasks) not in ("bsa", "float32", "float16") and key[1] in SIDES
    ]
    rows = []
    for key, tasks in methods.items():
        rivals = [
            other for other in baselines if SIDES[other[1]] == SIDES.get(key[1]) and methods[other].keys() == tasks.keys()
        ]
        if _family(tasks) != "bsa" or not rivals:
            continue
        own = _bytes(tasks)
        nearest = min(rivals, key=lambda other: (round(abs(math.log(_bytes(methods[other]) / own)), 2), -_mean(methods[other])))
        rival = methods[nearest]
        values, others = ([np.array(side[task].values) for task in sorted(tasks)] for side in (tasks, rival))
        p = paired_test(values, others)
        entry = {"method": key[0], "scoring": key[1], "bytes": own, "score": _mean(tasks)}
        other = {"baseline": nearest[0], "baseline_scoring": nearest[1], "baseline_bytes": _bytes(rival)}
        rows.append(_rounded({**entry, **other, "difference": _mean(tasks) - _mean(rival), "p_value": p}))
    return rows


def _by_method(finished: Iterable[Finished]) -> dict[Key, dict[str, Finished]]:
    methods: dict[Key, dict[str, Finished]] = {}
    for item in finished:
        methods.setdefault((item.row.method, item.row.scoring), {})[item.row.task] = item
    return methods


def _family(tasks: dict[str, Finished]) -> str:
    return next(iter(tasks.values())).row.family


def _bytes(tasks: dict[str, Finished]) -> float:
    return float(np.mean([item.row.bytes_per_text for item in tasks.values()]))


def _mean(tasks: dict[str, Finished]) -> float:
    return float(np.mean([item.row.score for item in tasks.values()]))


def _rounded(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in entry.items()}
