"""SEARCH.md and its plot, from search.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation import HERE

OURS = "bsa_st"
PLOTTED = 1_000_000
BUSY = 1.5
"""Load average from which other work slows the measured process, on two threads of one core."""
PLOT = HERE / "plots" / "search.png"
TITLE = """# Search

Written by `python -m evaluation.search` from `results/search.json`; `--only report` writes it again.

Documents: 50,000 real embeddings of all-MiniLM-L6-v2 (general sentences), and copies of random ones with noise of length 0.35, back on the unit sphere; 500 real
queries. Grown documents are closer to each other than real ones of that number, for every contender alike. Our codes: compact heads of 512 and 768
bits (64 and 96 bytes), fitted to 30,000 of these texts, 8 relaxed steps and no greedy moves per document. Every rival is trained on the first 131,072 documents, by the
defaults of its makers.

*found*: share of the float embeddings' own ten nearest documents among the ten found. *ms*: CPU milliseconds per query on one thread, asked one by one and in
batches of 64, the smallest of several rounds, on an idle machine of one core; a star marks a busy one (load average above 1.5, or not kept). *bytes*: what the process has
resident per document, codes, ids, lists and all, after opening and answering (not shown below a million documents, where the libraries' own pages
count for more). *build*: CPU seconds from the documents' codes (ours) or embeddings (others). Indexes of over 130 bytes are no rivals: they show what more bytes buy.
"""


def write_report(results: Path) -> Path:
    """Write SEARCH.md beside the results, and the plot; returns its path."""
    rows = json.loads(results.read_text())["rows"]
    path = results.parent.parent / "SEARCH.md"
    parts = [TITLE]
    for count in sorted({row["documents"] for row in rows}):
        parts.append(_table(count, [row for row in rows if row["documents"] == count]))
        if count == PLOTTED:
            _plot([row for row in rows if row["documents"] == count])
            parts.append(f"![found@10 against milliseconds](plots/{PLOT.name})\n")
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _table(count: int, rows: list[dict[str, Any]]) -> str:
    """One line per contender, its settings from left to right."""
    lines = [
        f"## {count:,} documents\n\n| index | settings | bytes | found | ms | ms in batches | build s |\n|---|---|---|---|---|---|---|"
    ]
    for name in sorted({row["contender"]: None for row in rows}, key=lambda name: not name.startswith(OURS)):
        own = [row for row in rows if row["contender"] == name]
        size = f"{own[0]['bytes']:.0f}" if count >= PLOTTED else ""
        shown = f"**{name}**" if name.startswith(OURS) else name
        figures = [
            (row["setting"], f"{100 * row['found']:.1f}", f"{row['single_ms']:.2f}", f"{row['batch_ms']:.2f}") for row in own
        ]
        settings, *cells = (" / ".join(parts) for parts in zip(*figures, strict=True))
        lines.append(" | ".join([f"| {shown}{_star(own)}", settings, size, *cells, f"{own[0]['build_seconds']:.0f} |"]))
    return "\n".join(lines) + "\n"


def _star(rows: list[dict[str, Any]]) -> str:
    """Marks what was measured on a busy machine."""
    return " *" if rows[0].get("load_average", BUSY + 1) > BUSY else ""


def _plot(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure  # slow to import and needed here alone

    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = sorted((row for row in rows if row["contender"] == name), key=lambda row: row["single_ms"])
        label = f"{name}, {own[-1]['bytes']:.0f} bytes{_star(own)}"
        width = 2.5 if name.startswith(OURS) else 1.2
        axes.plot(
            [row["single_ms"] for row in own], [100 * row["found"] for row in own], marker="o", linewidth=width, label=label
        )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds per query, one thread")
    axes.set_ylabel("found@10, %")
    axes.set_title(f"{PLOTTED:,} documents")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(PLOT, dpi=130, bbox_inches="tight")
