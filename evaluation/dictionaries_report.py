"""``DICTIONARIES.md`` and its plot, from ``dictionaries.json`` alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

HEADER = """# How large a dictionary?

Written by `python -m evaluation.dictionaries --report-only` from `dictionaries.json`; do not edit. `python -m evaluation.dictionaries
--data DIR` makes the results again. Encoder: {model}. {training:,} general texts to learn from, 1,000 other general texts as queries
on 20,000 more. The figures are the share of float32's ten nearest documents that are found: development data, no test set.
Documents are refined; `overlap` counts features shared with a plain query, `decoded` and `asymmetric` are as in RESULTS.md, with {factor} as
each document's factor.
`never fires` is on {firing:,} training texts, without reviving any feature. CPU seconds (all threads) and peak memory of the process
that trains; encoding is the head alone, refinement included, in CPU time.

![Recall against bytes](plots/dictionaries.png)

| method | D | k | bytes | overlap | decoded | asymmetric | never fires | CPU s to train | peak GB | CPU ms/text |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def write_report(results: Path) -> Path:
    """Write the page and the plot beside the results file; the path of the page."""
    content = json.loads(results.read_text())
    rows = sorted(content["rows"], key=lambda row: (row["bytes_per_text"] // 8, row.get("hidden_dim", 0), row["method"]))
    firing = max((row.get("firing_texts", 0) for row in rows), default=0)
    page = HEADER.format(model=content["model"], training=content["training_texts"], firing=firing, factor=content["factor"])
    page += "".join(_line(row) for row in rows)
    target = results.with_name("DICTIONARIES.md")
    target.write_text(page, encoding="utf-8")
    _plot(rows, results.parent / "plots" / "dictionaries.png")
    return target


def studied_heads(results: Path) -> dict[str, dict[str, Any]]:
    """Width, texts and features that never fired of every head of the study, by the head's name; none without results."""
    rows = json.loads(results.read_text())["rows"] if results.is_file() else []
    return {
        f"{row['method']} (study)": {
            **{name: row[name] for name in ("hidden_dim", "never_fired")},
            "texts": row["firing_texts"],
        }
        for row in rows
        if "never_fired" in row
    }


def _line(row: dict[str, Any]) -> str:
    def cell(name: str, pattern: str = "{}") -> str:
        return pattern.format(row[name]) if name in row else "-"

    cells = [
        row["method"].removesuffix("-refined"),
        cell("hidden_dim", "{:,}"),
        cell("k"),
        cell("bytes_per_text", "{:.1f}"),
        *(cell(scoring, "{:.1f}") for scoring in ("symmetric", "decoded", "asymmetric")),
        cell("never_fired"),
        cell("cpu_seconds_to_fit", "{:.0f}"),
        cell("peak_gigabytes", "{:.1f}"),
        cell("milliseconds_to_encode", "{:.2f}"),
    ]
    return f"| {' | '.join(cells)} |\n"


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7.0, 4.5), layout="constrained")
    widths = sorted({row["hidden_dim"] for row in rows if "hidden_dim" in row})
    colours = plt.get_cmap("viridis")
    for place, width in enumerate(widths):
        for selection, marker in (("topk", "o"), ("threshold", "^")):
            mine = [row for row in rows if row.get("hidden_dim") == width and row["selection"] == selection]
            mine.sort(key=lambda row: row["bytes_per_text"])
            label = f"D = {width:,}" if selection == "topk" else None
            colour = colours(place / max(1, len(widths) - 1))
            x, y = [row["bytes_per_text"] for row in mine], [row["asymmetric"] for row in mine]
            axes.plot(x, y, marker=marker, color=colour, label=label, linewidth=1)
    for row in rows:
        if "hidden_dim" not in row:
            axes.plot(row["bytes_per_text"], row["asymmetric"], "x", color="tab:red")
            axes.annotate(row["method"], (row["bytes_per_text"], row["asymmetric"]), fontsize=7, color="tab:red")
    axes.set_xlabel("stored bytes per text")
    axes.set_ylabel("found of float32's ten nearest, %, float query")
    axes.legend(fontsize=7, title="circles topk, triangles threshold", title_fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)
