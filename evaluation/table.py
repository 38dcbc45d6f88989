"""From rows to the lines of a table: one line per method and scoring, one column per task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.rows import Row

REFERENCE = "float32"


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        method: Method name.
        family: Its family.
        scoring: Scoring.
        scores: Task name to score.
        mean: Mean over the tasks.
        of_float: ``mean`` as a share of float32's on the same tasks; ``None`` if float32 was not run on them all.
        bytes_per_text: Mean over the tasks.
        shared_bytes: Bytes shared by all documents.
        queries_per_second: On the task with the most documents; ``None`` for pairs.
        tie_rate: Mean over the tasks; ``None`` for pairs.
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


def table(rows: Iterable[Row], metric: str) -> tuple[list[str], list[Line]]:
    """Tasks and lines of one metric; a method that lacks a task that others have is left out, so that means compare.

    Returns:
        The task names in order, and the lines in the order of the rows.
    """
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.metric == metric:
            groups.setdefault((row.method, row.scoring), {})[row.task] = row
    tasks = list(dict.fromkeys(task for group in groups.values() for task in group))
    complete = {key: group for key, group in groups.items() if len(group) == len(tasks)}
    reference = next((group for (method, _), group in complete.items() if method == REFERENCE), None)
    upper = _mean([row.score for row in reference.values()]) if reference else None
    return tasks, [_line(group, tasks, upper) for group in complete.values()]


def best_within(lines: Sequence[Line], low: float, high: float, *, bsa: bool) -> Line | None:
    """The best line whose bytes lie in a range, among BSA's or among the others."""
    inside = [line for line in lines if low <= line.bytes_per_text <= high and (line.family == "bsa") == bsa]
    return max(inside, key=lambda line: line.mean, default=None)


def _line(group: dict[str, Row], tasks: list[str], upper: float | None) -> Line:
    first = next(iter(group.values()))
    largest = max(group.values(), key=lambda row: row.documents)
    mean = _mean([row.score for row in group.values()])
    ties = [row.tie_rate for row in group.values() if row.tie_rate is not None]
    return Line(
        method=first.method,
        family=first.family,
        scoring=first.scoring,
        scores={task: group[task].score for task in tasks},
        mean=mean,
        of_float=mean / upper if upper else None,
        bytes_per_text=_mean([row.bytes_per_text for row in group.values()]),
        shared_bytes=first.shared_bytes,
        queries_per_second=largest.queries_per_second,
        tie_rate=_mean(ties) if ties else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
