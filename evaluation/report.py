"""``RESULTS.md`` and the plots, from ``results/*.json``; one of the goals is measured in ``dictionaries.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bsa_st import BSAError
from bsa_st.atomic import atomic_file
from evaluation.bars import Measured, bars_table
from evaluation.dictionaries_report import studied_heads
from evaluation.encoders import MINILM
from evaluation.glance import equal_bytes, glance
from evaluation.markdown import interval, markdown_table, percent, rate, score
from evaluation.rows import Row, details_path, read_json, read_rows
from evaluation.seeds import seed_shares, seeds_table
from evaluation.table import Line, mean_tasks, table
from evaluation.training import SETTINGS

RETRIEVAL, SIMILARITY = "ndcg_at_10", "spearman"
TITLES = {RETRIEVAL: "Retrieval, nDCG@10", SIMILARITY: "Sentence similarity, Spearman"}
EXPLAINED = {
    "general": "Trained methods saw general text only, nothing of the tasks.",
    "adapted": "Trained methods saw the general text and the tasks' documents, never a query.",
}
HEADER = """\
Written by `python -m evaluation --report-only` from `results/*.json`; do not edit. `make evaluate DATA=DIR` makes the results of
all-MiniLM-L6-v2 again, `make evaluate-seeds DATA=DIR` those of other seeds and `make evaluate-encoders DATA=DIR` those of the other encoders, where `DIR` holds task folders,
`text_mix/mix.txt.gz` (short training texts) and `retrieval_medquad` (long ones); both continue an interrupted run.
[NOTES.md](NOTES.md) says what was tried, [LEADERBOARD.md](LEADERBOARD.md) how scores get onto mteb's leaderboard. Elsewhere:
[SEARCH.md](SEARCH.md) times the index, [DICTIONARIES.md](DICTIONARIES.md) compares D and k at equal bytes,
[INTERPRETABILITY.md](INTERPRETABILITY.md) measures how well features can be read,
[PAPER.md](PAPER.md) answers what reviewers of the method asked: other objectives, ablations, domains, cost."""
GLANCE = """\
The BSA methods are the ones that `evaluation/budgets.py` recommends for each budget of bytes, whatever they score here. *Strongest other*
is the baseline of the same budget with the best score on these very tasks, a choice in its favour; every baseline of the budget
stands below under *At equal bytes*. *p*: paired randomisation test over queries. RaBitQ's and CSR's own sizes are listed with the nearest budget."""
BARS = """\
For all-MiniLM-L6-v2; *decoded* and *symmetric* compare a code with a code, *decoded* weighting every feature of the document by the
decoded query code, *symmetric* counting shared features. Percentages are of float32's mean over the local retrieval sets (or of
its mean Spearman), and means over the seeds where a head was trained from several. Heads of other D are those of [DICTIONARIES.md](DICTIONARIES.md)."""
NOT_DONE = """\
**Not done:** d=1024. No package with the weights of a 1,024-d encoder was found, and embeddings made wider by a random map are no real
ones. The other encoders ran on fewer methods, as their commands say. all-mpnet-base-v2 (768-d, slow to embed with) also ran on two small collections and one
similarity set only, learnt from 30,000 texts, in 1,000 steps, and not in the adapted setting."""
SEEDS = """\
The recommended heads trained again from other seeds (`make evaluate-seeds`), mean nDCG@10 as above; the tables show the first seed. The interval is over
seeds alone, queries staying the same."""
HOW_TO_READ = """\
How to read the tables. *symmetric*, *cosine*, *idf*: the query is a code too (overlap, cosine of codes, overlap weighted by inverse
document frequency). *decoded*: the query's code is decoded first. PQ, OPQ and int8 always compare decoded vectors in *symmetric*.
*asymmetric*: float query, coded document. *two-stage*: candidates first, then scored again by the float query within the same code.
*rescored*: candidates scored again by float32 vectors, whose bytes are counted. Bytes are measured on the serialised codes, side data of
each document and real-valued strengths (CSR) included; what all documents share (codebook, rotation, decoder) stands apart. Queries per
second: exhaustive search for 10 results over the largest collection of the mean, in a batch of 200, on one thread, after the dense
encoder; all methods in turns in one process, the best of five rounds; library indexes where there are any (faiss), else numpy and scipy.
Ties: share of queries with equal scores among the first 11; BSA breaks them by the decoder's score, sign bits at random with a fixed
seed. Means are plain means over the tasks before the column *mean*; what stands behind it (hpo: synonym to concept in the Human
Phenotype Ontology) does not count in it. One seed, unless said: differences under about .005 are noise, see the intervals and tests."""


def write_report(results: Path) -> Path:
    """Write ``RESULTS.md`` and ``plots/`` beside the results folder; returns the path of the page.

    Raises:
        BSAError: If there are no results, or a file is damaged.
    """
    runs = _runs(results)
    if not runs:
        raise BSAError(f"{results}: no result rows; run the evaluation first")
    parts = ["# Results", HEADER]
    details = {run: _details(results, *run) for run in runs}
    own = {setting: run for (model, setting), run in runs.items() if model == MINILM}
    if len(own) == len(SETTINGS):
        measured = {setting: _measured(results, setting, rows, details[MINILM, setting]) for setting, rows in own.items()}
        measured["general"].figures.update(studied_heads(results.parent / "dictionaries.json"))
        parts += ["## Goals", BARS, bars_table(measured)]
    for (model, setting), rows in runs.items():
        parts += _section(model, setting, rows, details[model, setting], results)
    if len({model for model, _ in runs}) > 1:
        parts.append(NOT_DONE)
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
    return dict(sorted(runs.items(), key=lambda run: (run[0][0] != MINILM, run[0][0], SETTINGS.index(run[0][1]))))


def _details(results: Path, model: str, setting: str) -> dict[str, Any]:
    path = details_path(results, model, setting)
    return dict(read_json(path)) if path.is_file() else {}


def _measured(results: Path, setting: str, rows: list[Row], details: dict[str, Any]) -> Measured:
    shares = [seed_shares(results, MINILM, setting, rows, metric) for metric in TITLES]
    return Measured(table(rows, RETRIEVAL)[1], table(rows, SIMILARITY)[1], dict(details.get("figures", {})), *shares)


def _section(model: str, setting: str, rows: list[Row], details: dict[str, Any], results: Path) -> list[str]:
    parts = [f"## {model}, {setting}", EXPLAINED[setting]]
    tasks, lines = table(rows, RETRIEVAL)
    budgets, width = details.get("budgets", []), details.get("width", 0)
    if budgets:
        inside = ", ".join(mean_tasks(tasks))
        parts += ["### At a glance", f"Mean nDCG@10 over {inside}. {GLANCE}", glance(budgets, lines, width)]
    if lines:
        parts += _plots(model, setting, lines, details, results.parent)
    if budgets:
        parts += ["### At equal bytes", equal_bytes(budgets, lines, width)]
    if seeds := seeds_table(seed_shares(results, model, setting, rows, RETRIEVAL), width):
        parts += ["### Other seeds", SEEDS, seeds]
    others = [metric for metric in dict.fromkeys(row.metric for row in rows) if metric not in TITLES]
    for metric in [*TITLES, *others]:
        tasks, lines = table(rows, metric)
        if lines:
            parts += [f"### {TITLES.get(metric, metric)}", _table(tasks, lines, _intervals(details, metric))]
    if details.get("figures"):
        parts += ["### Heads", _heads(details["figures"])]
    if details:
        versions = ", ".join(f"{name} {version}" for name, version in details["packages"].items())
        parts.append(f"Made by `{details['command']}` with {details['training_texts']:,} general training texts; {versions}.")
    return parts


def _table(tasks: list[str], lines: Sequence[Line], intervals: dict[tuple[str, str], str]) -> str:
    """Columns that no line has a value for are left out."""
    inside = mean_tasks(tasks)
    columns = [
        "bytes",
        *inside,
        "mean",
        "95 % interval",
        "% of float32",
        *tasks[len(inside) :],
        "queries/s",
        "ties",
        "shared KB",
    ]
    cells = [
        [
            f"{line.bytes_per_text:.1f}",
            *(score(line.scores[task]) for task in inside),
            f"**{score(line.mean)}**",
            intervals.get((line.method, line.scoring), "-"),
            percent(line.of_float),
            *(score(line.scores[task]) for task in tasks[len(inside) :]),
            rate(line.queries_per_second),
            "-" if line.tie_rate is None else f"{line.tie_rate:.0%}",
            f"{line.shared_bytes / 1000:.0f}",
        ]
        for line in lines
    ]
    kept = [place for place in range(len(columns)) if any(row[place] != "-" for row in cells)]
    header = ["method", "scoring", *(columns[place] for place in kept)]
    return markdown_table(
        header,
        [[line.method, line.scoring, *(row[place] for place in kept)] for line, row in zip(lines, cells, strict=True)],
    )


def _heads(figures: dict[str, Any]) -> str:
    """What a model card states of a head."""
    header = ["head", "active features, mean", "5th to 95th percentile", "never fired", "on texts", "seconds to train"]
    body = [
        [
            method,
            f"{facts['active_mean']:.1f}",
            f"{facts['active_p5']:.0f} to {facts['active_p95']:.0f}",
            f"{facts['never_fired']:.0f}",
            f"{facts['texts']:,}" if "texts" in facts else "-",
            f"{facts['seconds_to_fit']:.0f}" if "seconds_to_fit" in facts else "-",
        ]
        for method, facts in figures.items()
        if "active_mean" in facts
    ]
    return markdown_table(header, body)


def _plots(model: str, setting: str, lines: Sequence[Line], details: dict[str, Any], folder: Path) -> list[str]:
    from evaluation import plots  # matplotlib is slow to import and needed here alone

    paths: dict[str, Path] = {}

    def path(name: str, short: str) -> Path:
        return paths.setdefault(name, folder / "plots" / f"{model}-{setting}-{short}.png")

    plots.pareto(lines, path("Quality against bytes", "bytes"), f"{model}, {setting}: quality against bytes")
    plots.speed(lines, path("Quality against query time", "time"), f"{model}, {setting}: quality against query time")
    heads = {name: facts for name, facts in details.get("figures", {}).items() if "firing_rates" in facts}
    if heads:
        plots.active_features(heads, path("Active features per text", "active"))
        plots.firing_rates(heads, path("Firing rates", "firing"))
    return [f"![{name}](plots/{place.name})" for name, place in paths.items()]


def _intervals(details: dict[str, Any], metric: str) -> dict[tuple[str, str], str]:
    if metric != RETRIEVAL:
        return {}
    return {
        (entry["method"], entry["scoring"]): interval(entry["ci_low"], entry["ci_high"]) for entry in details.get("means", [])
    }
