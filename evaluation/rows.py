"""The rows of ``evaluation/results/*.json``: one per model, setting, method, scoring and task."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bsa_st import BSAError
from bsa_st.atomic import atomic_file

DIGITS = 5


@dataclass(frozen=True)
class Row:
    """One score.

    Attributes:
        model: The dense encoder.
        setting: ``general`` or ``adapted``; methods that learn nothing have the same rows in both.
        method: Method with its parameters, e.g. ``pq-48``.
        family: Method without them.
        scoring: How codes are compared.
        task: Short name of the task.
        metric: ``ndcg_at_10``, ``spearman`` or another mteb main score.
        score: As mteb computed it.
        ci_low: Lower end of the 95 % bootstrap interval; ``None`` where values per query are not known.
        ci_high: Upper end.
        bytes_per_text: Stored bytes per document, side data included.
        shared_bytes: Bytes that all documents share: codebooks, rotations, decoders.
        queries_per_second: Exhaustive search for 10 results on one thread, after the encoder; ``None`` for other tasks than the largest
            collection, on which all methods are timed in turns.
        seconds_to_fit: Training time of the method.
        tie_rate: Share of queries with tied scores among the first 11, before ties were broken.
        documents: Documents, or pairs.
        queries: Queries, or pairs.
    """

    model: str
    setting: str
    method: str
    family: str
    scoring: str
    task: str
    metric: str
    score: float
    ci_low: float | None
    ci_high: float | None
    bytes_per_text: float
    shared_bytes: int
    queries_per_second: float | None
    seconds_to_fit: float
    tie_rate: float | None
    documents: int
    queries: int

    @property
    def key(self) -> tuple[str, ...]:
        """What tells rows apart."""
        return (self.model, self.setting, self.method, self.scoring, self.task, self.metric)


def rows_path(folder: Path, model: str, setting: str) -> Path:
    """File of the rows of a model and setting."""
    return folder / f"{model}-{setting}.json"


def details_path(folder: Path, model: str, setting: str) -> Path:
    """File of what is no flat row: intervals of means, tests, figures of heads, how it was made."""
    return folder / f"{model}-{setting}.details.json"


def read_rows(path: Path) -> list[Row]:
    """Rows of a file; a file that is none raises :class:`BSAError`."""
    names = {entry.name for entry in fields(Row)}
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(row, dict) and set(row) == names for row in content):
        raise BSAError(f"{path}: not a list of result rows of this version; run the evaluation again")
    return [Row(**row) for row in content]


def merge_rows(path: Path, new: Iterable[Row], known: Collection[str]) -> None:
    """Put rows into a file: a new row replaces the one with the same key, others of the methods in ``known`` stay."""
    rows = {row.key: row for row in (read_rows(path) if path.is_file() else []) if row.method in known}
    rows.update((row.key, row) for row in new)
    write_json(path, [_rounded(asdict(row)) for row in rows.values()])


def read_json(path: Path) -> Any:
    """Content of a JSON file; raises :class:`BSAError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BSAError(f"cannot read {path}: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON; lists of dicts take one line per dict, so that differences between runs can be read."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(item) for item in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BSAError(f"cannot write in {path.parent}: {error.strerror}") from error
    with atomic_file(path) as file:
        file.write(text.encode())


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in row.items()}
