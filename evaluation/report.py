"""``RESULTS.md`` and the plots, from ``evaluation/results/*.json`` alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bsa_st import BSAError
from bsa_st.atomic import atomic_file
from evaluation.rows import Row, details_path, read_json, read_rows
from evaluation.table import Line, best_within, table
from evaluation.training import SETTINGS

METRICS = {"ndcg_at_10": "Retrieval, nDCG@10", "spearman": "Sentence similarity, Spearman"}
BANDS = ((1, 55), (55, 75), (75, 150))
EXPLAINED = {
    "general": "Trained methods saw general text only, nothing of the tasks.",
    "adapted": "Trained methods saw the general text and the tasks' documents, never a query.",
}
HEADER = """\
Written by `python -m evaluation --report-only` from `results/*.json`; do not edit. `python -m evaluation --data DIR` makes the
results again, where `DIR` holds task folders, `text_mix/mix.txt.gz` (short training texts) and `retrieval_medquad` (long ones); it
continues an interrupted run. [LEADERBOARD.md](LEADERBOARD.md) says how scores get onto mteb's leaderboard."""
HOW_TO_READ = """\
How to read the tables. *symmetric*, *cosine*, *idf*: the query is a code too (overlap, cosine of codes, overlap weighted by inverse
document frequency). *decoded*: the query's code is decoded first. PQ, OPQ and int8 always compare decoded vectors in *symmetric*. *asymmetric*: float query, coded document. *two-stage*: candidates first, then scored again by the float
query within the same code. *rescored*: candidates scored again by float32 vectors, whose bytes are counted. Bytes are measured on the
serialised codes, side data of each document included; what all documents share (codebook, rotation, decoder) stands apart. Queries
per second: exhaustive search for 10 results over the largest collection, in a batch, on one thread, after the dense encoder;
library indexes where there are any (faiss), else numpy and scipy. Ties: share of queries with equal scores among the first 11; BSA breaks them by the decoder's score, sign bits at random with
a fixed seed. All means are plain means over tasks; differences under about .005 are noise, see the intervals and tests."""


def write_report(results: Path) -> Path:
    """Write ``RESULTS.md`` and ``plots/`` beside the results folder; returns the path of the page.

    Raises:
        BSAError: If there are no results, or a file is damaged.
    """
    runs = _runs(results)
    if not runs:
        raise BSAError(f"{results}: no result rows; run the evaluation first")
    parts = ["# Results", HEADER]
    for (model, setting), rows in runs.items():
        path = details_path(results, model, setting)
        details = read_json(path) if path.is_file() else {}
        parts += _section(model, setting, rows, details, results.parent)
    page = results.parent / "RESULTS.md"
    with atomic_file(page) as file:
        file.write(("\n\n".join([*parts, HOW_TO_READ]) + "\n").encode())
    return page


def _runs(results: Path) -> dict[tuple[str, str], list[Row]]:
    runs: dict[tuple[str, str], list[Row]] = {}
    for path in sorted(results.glob("*.json")):
        if path.name.endswith(".details.json"):
            continue
        for row in read_rows(path):
            runs.setdefault((row.model, row.setting), []).append(row)
    return dict(sorted(runs.items(), key=lambda run: (run[0][0], SETTINGS.index(run[0][1]))))


def _section(model: str, setting: str, rows: list[Row], details: dict[str, Any], folder: Path) -> list[str]:
    parts = [f"## {model}, {setting}", EXPLAINED[setting]]
    tasks, lines = table(rows, "ndcg_at_10")
    if lines:
        parts += ["### At a glance", _glance(lines), *_plots(model, setting, lines, details, folder)]
    others = [metric for metric in dict.fromkeys(row.metric for row in rows) if metric not in METRICS]
    for metric in [*METRICS, *others]:
        tasks, lines = table(rows, metric)
        if lines:
            parts += [f"### {METRICS.get(metric, metric)}", _table(tasks, lines, _intervals(details, metric))]
    if details.get("tests"):
        parts += ["### Against the baseline nearest in bytes", _tests(details["tests"])]
    if details:
        versions = ", ".join(f"{name} {version}" for name, version in details["packages"].items())
        parts.append(f"Made by `{details['command']}` with {details['training_texts']:,} general training texts; {versions}.")
    return parts


def _glance(lines: Sequence[Line]) -> str:
    header = [
        "bytes per text",
        "best BSA",
        "mean",
        "% of float32",
        "smaller by",
        "queries/s",
        "best other",
        "mean",
        "% of float32",
        "queries/s",
    ]
    reference = next((line for line in lines if line.method == "float32"), None)
    body = []
    for low, high in BANDS:
        own, other = (best_within(lines, low, high, bsa=bsa) for bsa in (True, False))
        if own is None and other is None:
            continue
        ratio = f"{reference.bytes_per_text / own.bytes_per_text:.0f}x" if reference and own else "-"
        body.append([f"{low} to {high}", *_brief(own), ratio, _rate(own), *_brief(other), _rate(other)])
    if reference:
        body.append([f"{reference.bytes_per_text:.0f}", "-", "-", "-", "-", "-", *_brief(reference), _rate(reference)])
    return _markdown(header, body)


def _brief(line: Line | None) -> list[str]:
    return ["-", "-", "-"] if line is None else [f"{line.method} {line.scoring}", _score(line.mean), _percent(line)]


def _table(tasks: list[str], lines: Sequence[Line], intervals: dict[tuple[str, str], str]) -> str:
    header = ["method", "scoring", "bytes", *tasks, "mean", "95 % interval", "% of float32", "queries/s", "ties", "shared KB"]
    body = [
        [
            line.method,
            line.scoring,
            f"{line.bytes_per_text:.1f}",
            *(_score(line.scores[task]) for task in tasks),
            f"**{_score(line.mean)}**",
            intervals.get((line.method, line.scoring), "-"),
            _percent(line),
            _rate(line),
            "-" if line.tie_rate is None else f"{line.tie_rate:.0%}",
            f"{line.shared_bytes / 1000:.0f}",
        ]
        for line in lines
    ]
    return _markdown(header, body)


def _tests(tests: Sequence[dict[str, Any]]) -> str:
    header = ["BSA", "scoring", "bytes", "mean", "baseline", "scoring", "bytes", "difference", "p"]
    body = [
        [
            test["method"],
            test["scoring"],
            f"{test['bytes']:.1f}",
            _score(test["score"]),
            test["baseline"],
            test["baseline_scoring"],
            f"{test['baseline_bytes']:.1f}",
            f"{test['difference']:+.4f}",
            f"{test['p_value']:.4f}",
        ]
        for test in tests
    ]
    return _markdown(header, body)


def _plots(model: str, setting: str, lines: Sequence[Line], details: dict[str, Any], folder: Path) -> list[str]:
    from evaluation import plots  # matplotlib is slow to import and needed here alone

    drawn = {"Quality against bytes": "bytes", "Quality against query time": "time"}
    paths = {name: folder / "plots" / f"{model}-{setting}-{short}.png" for name, short in drawn.items()}
    plots.pareto(lines, paths["Quality against bytes"], f"{model}, {setting}: quality against bytes")
    plots.speed(lines, paths["Quality against query time"], f"{model}, {setting}: quality against query time")
    heads = {name: facts for name, facts in details.get("figures", {}).items() if "firing_rates" in facts}
    if heads:
        for name, short, draw in (
            ("Active features per text", "active", plots.active_features),
            ("Firing rates", "firing", plots.firing_rates),
        ):
            paths[name] = folder / "plots" / f"{model}-{setting}-{short}.png"
            draw(heads, paths[name])
    return [f"![{name}](plots/{path.name})" for name, path in paths.items()]


def _intervals(details: dict[str, Any], metric: str) -> dict[tuple[str, str], str]:
    if metric != "ndcg_at_10":
        return {}
    return {
        (entry["method"], entry["scoring"]): f"{_score(entry['ci_low'])} to {_score(entry['ci_high'])}"
        for entry in details.get("means", [])
    }


def _score(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"


def _percent(line: Line) -> str:
    return "-" if line.of_float is None else f"{line.of_float:.1%}"


def _rate(line: Line | None) -> str:
    return "-" if line is None or line.queries_per_second is None else f"{line.queries_per_second:,.0f}"


def _markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
