"""From rows to the lines of a table: one line per method and scoring, one column per task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.rows import Row

REFERENCE = "float32"
APART = ("hpo",)
"""Tasks with a column of their own outside the mean, which stays the one over the local retrieval sets."""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        method: Method name.
        family: Its family.
        scoring: Scoring.
        scores: Task name to score.
        mean: Mean over the tasks of :func:`mean_tasks`.
        of_float: ``mean`` as a share of float32's on the same tasks; ``None`` if float32 was not run on them all.
        bytes_per_text: Mean over the same tasks.
        shared_bytes: Bytes shared by all documents.
        queries_per_second: On the collection that was timed; ``None`` for pairs.
        tie_rate: Mean over the same tasks; ``None`` for pairs.
    """

    method: str
    family: str
    scoring: str
    scores: dict[str, float]
    mean: float
    of_float: float | None
    bytes_per_text: float
    shared_bytes: int
    queries_per_second: float | None
    tie_rate: float | None


def mean_tasks(tasks: Sequence[str]) -> list[str]:
    """Those tasks that count in a mean: all but the ones set apart, unless there are no others."""
    return [task for task in tasks if task not in APART] or list(tasks)


def table(rows: Iterable[Row], metric: str) -> tuple[list[str], list[Line]]:
    """Tasks and lines of one metric; a method that lacks a task that others have is left out, so that means compare.

    Returns:
        The task names, those of the mean first, and the lines in the order of the rows.
    """
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.metric == metric:
            groups.setdefault((row.method, row.scoring), {})[row.task] = row
    tasks = list(dict.fromkeys(task for group in groups.values() for task in group))
    inside = mean_tasks(tasks)
    complete = {key: group for key, group in groups.items() if len(group) == len(tasks)}
    reference = next((group for (method, _), group in complete.items() if method == REFERENCE), None)
    upper = _mean([reference[task].score for task in inside]) if reference else None
    lines = [_line(group, inside, upper) for group in complete.values()]
    return [*inside, *(task for task in tasks if task not in inside)], lines


def _line(group: dict[str, Row], inside: list[str], upper: float | None) -> Line:
    first = next(iter(group.values()))
    counted = [group[task] for task in inside]
    mean = _mean([row.score for row in counted])
    timed = [row for row in group.values() if row.queries_per_second]
    ties = [row.tie_rate for row in counted if row.tie_rate is not None]
    return Line(
        method=first.method,
        family=first.family,
        scoring=first.scoring,
        scores={task: row.score for task, row in group.items()},
        mean=mean,
        of_float=mean / upper if upper else None,
        bytes_per_text=_mean([row.bytes_per_text for row in counted]),
        shared_bytes=first.shared_bytes,
        queries_per_second=max(timed, key=lambda row: row.documents).queries_per_second if timed else None,
        tie_rate=_mean(ties) if ties else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
