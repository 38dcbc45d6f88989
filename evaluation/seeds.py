"""How much a score owes to the seed of its head: the recommended heads trained again from other seeds.

``python -m evaluation --seed 1 --methods bsa-topk-768-126-elastic`` leaves its rows in a folder of their own beside the results; the page
shows all seeds, and goals are judged by their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from scipy import stats

from evaluation.budgets import BUDGETS, CODE_SCORINGS, FLOAT_SCORING, OVERLAP, scaled_name
from evaluation.markdown import MISSING, markdown_table, percent
from evaluation.rows import Row, read_rows, rows_path
from evaluation.table import REFERENCE, table

FOLDER = "seeds"
SHOWN = (
    *((name, scoring) for name in BUDGETS.values() for scoring in (FLOAT_SCORING, CODE_SCORINGS[0])),
    *((name, CODE_SCORINGS[1]) for name in OVERLAP.values()),
)
"""Methods by their names for 384-d, and scorings."""
HEADER = ["method", "scoring", "% of float32, seed by seed", "mean", "95 % interval of the mean"]

Shares = dict[tuple[str, str], list[float]]
"""Shares of float32's mean by method and scoring, the seed of the tables first; only where there are several seeds."""


def seed_folder(results: Path, seed: int) -> Path:
    """Where rows of a seed are kept; seed 0 is the one of the tables."""
    return results / FOLDER / str(seed) if seed else results


def seed_shares(results: Path, model: str, setting: str, rows: Sequence[Row], metric: str) -> Shares:
    """What every seed of a head keeps of float32's mean.

    Args:
        results: Folder of the rows.
        model: Short name of the encoder.
        setting: ``general`` or ``adapted``.
        rows: Rows of the tables; they hold float32.
        metric: Which of their metrics.
    """
    reference = [row for row in rows if row.method == REFERENCE]
    folders = [path for path in (results / FOLDER).glob("*") if path.name.isdigit()]
    paths = [rows_path(path, model, setting) for path in sorted(folders, key=lambda path: int(path.name))]
    others = [[row for row in read_rows(path) if row.method != REFERENCE] for path in paths if path.is_file()]
    found: Shares = {}
    for run in (rows, *([*reference, *other] for other in others)):
        for line in table(run, metric)[1]:
            if line.of_float is not None:
                found.setdefault((line.method, line.scoring), []).append(line.of_float)
    return {key: shares for key, shares in found.items() if len(shares) > 1}


def seeds_table(shares: Shares, width: int) -> str | None:
    """The recommended methods with the share that every seed keeps; ``None`` if there is one seed only.

    The interval is Student's, over seeds: queries and training texts stay the same.
    """
    names = [(scaled_name(name, width), scoring) for name, scoring in SHOWN]
    body = [[*name, *_figures(shares[name])] for name in names if name in shares]
    return markdown_table(HEADER, body) if body else None


def _figures(shares: Sequence[float]) -> list[str]:
    low, high = stats.t.interval(0.95, len(shares) - 1, loc=mean(shares), scale=stats.sem(shares))
    between = f"{low:.1%} to {high:.1%}" if low < high else MISSING
    return [", ".join(map(percent, shares)), f"**{percent(mean(shares))}**", between]
