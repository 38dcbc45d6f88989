"""SEARCH.md and its plots, from the rows of search.json only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from evaluation.search_bars import bars

Row = dict[str, Any]


def write_report(results: Path) -> Path:
    """Write SEARCH.md beside ``results``, and plots in ``plots``; returns the path of SEARCH.md."""
    content = json.loads(results.read_text())
    rows: list[Row] = content["rows"]
    sizes = sorted({row["documents"] for row in rows})
    lines = [
        "# Search: the index beside others",
        "",
        "Written by `python -m evaluation.bench_search` from `search.json`; `--report-only` writes it again.",
        "",
        f"One process, one thread, {content['rounds']} interleaved rounds; milliseconds per query are the median over the rounds, in CPU "
        "time. Compare them within a table only: the machine was shared. Documents: "
        f"{_sources(content['sources'])}; the table of configurations tells how many of them were encoded, refined, by heads trained for how many steps. "
        "Sets larger than that are grown from the real ones: codes by copying a random document and replacing 15 % of its active features by "
        "those of another, "
        "embeddings by adding noise of length 0.3. Recall@10 is against the exact answer to the same question: it tells "
        "what an approximation loses, not how good the score is; for that see RESULTS.md.",
        "",
        _left_out(rows),
        "",
        *_earlier(rows),
        *_configurations(rows),
        "",
    ]
    for size in sizes:
        own = [row for row in rows if row["documents"] == size]
        lines += [f"## {size:,} documents", "", *_table(own), ""]
        lines += [f"![Bytes and milliseconds](plots/search_{size}.png)", ""]
        _plot([row for row in own if "collection" not in row] or own, results.parent / "plots" / f"search_{size}.png", size)
    lines += _bars(rows)
    lines += ["## Which (D, k) to take", "", *_choice([row for row in rows if row["documents"] == sizes[-1]]), ""]
    path = results.parent / "SEARCH.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _sources(sources: dict[str, str]) -> str:
    return "; ".join(f"{name}: {text}" if name else text for name, text in sorted(sources.items()))


def _label(row: Row) -> str:
    """``D=4096 k=32``, with the name of the collection where it is another one than the general texts."""
    return f"{row['collection']}, {row['group']}" if "collection" in row else str(row["group"])


def _bars(rows: list[Row]) -> list[str]:
    measured = bars([row for row in rows if "collection" not in row])
    if not measured:
        return []
    earlier = any("earlier" in row for row in rows)
    note = ["Bars of a configuration marked * above are those of the earlier version.", ""] if earlier else []
    lines = ["## Bars, at 1,000,000 documents", "", *note, "| bar | measured | met |", "|---|---|---|"]
    return [*lines, *(f"| {bar.name} | {bar.measured} | {'yes' if bar.met else '**no**'} |" for bar in measured), ""]


def _earlier(rows: list[Row]) -> list[str]:
    if not any("earlier" in row for row in rows):
        return []
    return ["Rows marked * were measured with an earlier version of the index, in a run of their own.", ""]


def _configurations(rows: list[Row]) -> list[str]:
    seen = {_label(row): (row["real"], row["steps"]) for row in rows if "real" in row}
    lines = [f"| {group} | {real:,} | {steps} |" for group, (real, steps) in seen.items()]
    return ["| configuration | real documents | training steps |", "|---|---:|---:|", *lines]


def _left_out(rows: list[Row]) -> str:
    slow = {"HNSW", "IVF", "usearch", "Seismic", "bm25s"}
    missing = sorted(word for word in slow if not any(word in row["name"] for row in rows))
    if missing:
        return f"Not measured in this run: {', '.join(missing)}."
    return "Graph indexes, Seismic and bm25s were built for the general texts and up to 100,000 documents only."


def _table(rows: list[Row]) -> list[str]:
    lines = [
        "| codes | contender | bytes in memory | bytes on disk | ms, single | ms, batch of 64 | queries/s, single | recall@10 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        known = "" if row["recall"] is None else f"{row['recall']:.3f}"
        size = "" if row["bytes"] is None else f"{row['bytes']:.0f}"
        disk = f"{row['disk']:.0f}" if "disk" in row else ""
        batch = "" if row["batch_ms"] is None else f"{row['batch_ms']:.2f}"
        speed = f"{row['single_ms']:.2f} | {batch} | {1000 / row['single_ms']:.0f}"
        mark = " *" if "earlier" in row else ""
        lines.append(f"| {_label(row)} | {row['name']}{mark} | {size} | {disk} | {speed} | {known} |")
    return lines


def _choice(rows: list[Row]) -> list[str]:
    """One line per configuration: bytes, and the time of the exact symmetric and of the default two-stage search."""
    lines = [
        f"At {rows[0]['documents']:,} documents. Bytes are those of the index file per document, decoder included; the first figure "
        "is the share of the floats' own best ten, among the real documents, that exhaustive asymmetric scores find.",
        "",
        "| D, k | recall of the floats' best ten | bytes on disk | bytes in memory | overlap, ms | two-stage, ms (recall of exhaustive) | "
        "exhaustive, ms (batch) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    groups = dict.fromkeys(_label(row) for row in rows if "disk" in row)
    for group in sorted(groups, key=lambda name: _of(rows, name, "bsa_st overlap")["disk"]):
        count, staged = _of(rows, group, "bsa_st overlap"), _cheapest(rows, group)
        everything = _of(rows, group, "bsa_st asymmetric")
        mark = " *" if "earlier" in count else ""
        lines.append(
            f"| {group}{mark} | {_quality(count)} | {count['disk']:.0f} | {count['bytes']:.0f} | {count['single_ms']:.2f} | {staged['single_ms']:.2f} "
            f"({staged['recall']:.3f}, {staged['name'].removeprefix('bsa_st two-stage ')}) | {everything['batch_ms']:.1f} |"
        )
    return lines


def _quality(row: Row) -> str:
    return f"{row['quality']:.3f}" if "quality" in row else ""


def _cheapest(rows: list[Row], group: str) -> Row:
    """The fastest two-stage setting with a recall of 0.99, or the one with the best recall."""
    staged = [row for row in rows if _label(row) == group and "two-stage" in row["name"]]
    good = [row for row in staged if row["recall"] >= 0.99]
    return min(good, key=lambda row: row["single_ms"]) if good else max(staged, key=lambda row: row["recall"])


def _of(rows: list[Row], group: str, name: str) -> Row:
    return next(row for row in rows if _label(row) == group and row["name"] == name)


def _plot(rows: list[Row], path: Path, size: int) -> None:
    figure, axes = plt.subplots(figsize=(7.0, 4.5))
    groups = list(dict.fromkeys(_label(row) for row in rows))
    for number, group in enumerate(groups):
        own = [row for row in rows if _label(row) == group and row["bytes"]]
        for mine, marker in ((True, "o"), (False, "x")):
            part = [row for row in own if row["name"].startswith("bsa_st") == mine]
            x = [float(row.get("disk") or row["bytes"]) for row in part]
            axes.scatter(
                x,
                [row["single_ms"] for row in part],
                color=f"C{number}",
                marker=marker,
                s=26,
                label=group if mine != group.endswith("dense") else None,
            )
        for row in own:
            if row["name"] in ("bsa_st overlap", "bsa_st asymmetric") or not row["name"].startswith("bsa_st"):
                name = row["name"].removeprefix("bsa_st ").removeprefix("faiss ")
                axes.annotate(
                    name,
                    (row.get("disk", row["bytes"]), row["single_ms"]),
                    fontsize=5,
                    xytext=(4, 2),
                    textcoords="offset points",
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(
        xlabel="bytes per document (bsa_st: index file; others: memory)",
        ylabel="milliseconds per query, one thread",
        title=f"{size:,} documents",
    )
    axes.legend(fontsize=6, title="o bsa_st, x others", title_fontsize=6)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
