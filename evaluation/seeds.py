"""How much a score owes to the seed of its head: the recommended heads trained again from other seeds.

``python -m evaluation --seed 1 --methods float32,...`` leaves its rows in a folder of their own beside the results; the page shows all seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from scipy import stats

from evaluation.budgets import BUDGETS, CODE_SCORINGS, FLOAT_SCORING, OVERLAP, scaled_name
from evaluation.markdown import MISSING, markdown_table, percent
from evaluation.rows import Row, read_rows, rows_path
from evaluation.table import REFERENCE, Line, table

FOLDER = "seeds"
SHOWN = (
    *((name, scoring) for name in BUDGETS.values() for scoring in (FLOAT_SCORING, CODE_SCORINGS[0])),
    *((name, CODE_SCORINGS[1]) for name in OVERLAP.values()),
)
"""Methods by their names for 384-d, and scorings."""
HEADER = ["method", "scoring", "bytes", "% of float32, seed by seed", "mean", "95 % interval of the mean"]


def seed_folder(results: Path, seed: int) -> Path:
    """Where rows of a seed are kept; seed 0 is the one of the tables."""
    return results / FOLDER / str(seed) if seed else results


def seeds_table(results: Path, model: str, setting: str, rows: Sequence[Row], metric: str, width: int) -> str | None:
    """A line per recommended method and scoring with its share of float32's mean from every seed; ``None`` if there is one seed only.

    The interval is Student's, over seeds: queries and training texts stay the same.
    """
    reference = [row for row in rows if row.method == REFERENCE]
    runs = [list(rows), *([*reference, *_rows(folder, model, setting)] for folder in _folders(results))]
    seeds = [table(run, metric)[1] for run in runs]
    body = [line for name, scoring in SHOWN if (line := _line(seeds, scaled_name(name, width), scoring))]
    return markdown_table(HEADER, body) if body else None


def _folders(results: Path) -> list[Path]:
    return sorted((path for path in (results / FOLDER).glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


def _rows(folder: Path, model: str, setting: str) -> list[Row]:
    path = rows_path(folder, model, setting)
    return [row for row in read_rows(path) if row.method != REFERENCE] if path.is_file() else []


def _line(seeds: Sequence[Sequence[Line]], name: str, scoring: str) -> list[str] | None:
    found = [line for lines in seeds for line in lines if (line.method, line.scoring) == (name, scoring)]
    shares = [line.of_float for line in found if line.of_float is not None]
    if len(shares) < 2:
        return None
    low, high = stats.t.interval(0.95, len(shares) - 1, loc=mean(shares), scale=stats.sem(shares))
    between = MISSING if low == high else f"{low:.1%} to {high:.1%}"
    return [
        name,
        scoring,
        f"{found[0].bytes_per_text:.1f}",
        ", ".join(map(percent, shares)),
        f"**{mean(shares):.2%}**",
        between,
    ]
