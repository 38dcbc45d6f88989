"""ENGINES.md and SCALE.md, from engines.json only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation import HERE, RESULTS_FOLDER
from evaluation.comparison.results import read
from evaluation.data.encoders import MINILM
from evaluation.jsonfiles import read_json
from evaluation.markdown import MISSING, records_table

Row = dict[str, Any]

NAMES = {"lancedb": "LanceDB", "postgresql": "PostgreSQL, pgvector", "qdrant-edge": "Qdrant (Edge)", "duckdb": "DuckDB"}
INDEXES = {"lancedb": "IVF_FLAT", "postgresql": "HNSW", "qdrant-edge": "HNSW"}
BILLION = 1_000_000_000
CODE_BYTES = 64
PER_MACHINE = 100_000_000
"""Documents of one shard in the plan: 6.4 GB of bits, which a small machine keeps in memory."""


def write_reports(results: Path) -> list[Path]:
    """Write ENGINES.md and SCALE.md beside ``results``; returns their paths."""
    rows: list[Row] = read_json(results)["rows"]
    pages = {"ENGINES.md": engines_page(rows), "SCALE.md": scale_page(rows)}
    paths = []
    for name, lines in pages.items():
        path = results.parent.parent / name
        path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def engines_page(rows: list[Row]) -> list[str]:
    """What was measured."""
    return [
        "# Engines: the same 64 bytes elsewhere",
        "",
        "Written by `python -m evaluation.engines` from `results/engines.json`; `--report-only` writes it again.",
        "",
        "A document is its id and its packed bits. A query asks the engine for the 200 nearest to the signs of `V q` by Hamming distance and scores these "
        "from their bits with the weights: the recipe of `bsa_st.engines.base`. One compact head of 512 bits; the documents are those of "
        "[SEARCH.md](SEARCH.md), 50,000 real ones and others grown from them; beyond a million they are copies of those codes with 12.7 % of their bits flipped. No "
        "payload and no tags here: texts come on top.",
        "",
        "*bytes*: on disk per document, the engine's index apart. *ms*: CPU milliseconds of a single float query, best ten of 200 candidates, scoring included, those of the "
        "server too; on an idle machine of one core that is the time that passes. *queries*: as many as 30 seconds were enough for, 500 at most. PostgreSQL is a server of default settings, the others run in this process. *found*: share of the float embeddings' own ten nearest "
        "among the ten found; *of scoring all*: that share divided by what scoring every code finds. *load*: documents per second by `bsa-st engine load`, one "
        "process. Queries were asked on an idle machine of one core; loads and index builds ran beside other work (*load average*): their rates are lower bounds. Sets of 100,000 stand "
        "where a million could not be finished.",
        "",
        records_table([_row(row) for row in rows]),
        "",
        *_memory(rows),
        "LanceDB's index holds the bits a second time: a table without it is the smallest and scans every code. PostgreSQL's "
        "bytes are row overhead: 24 for the header, 8 for the id, 20 for the key. Qdrant keeps the bits in memory and the uint8 vectors that they are made from on disk. DuckDB "
        "scans.",
    ]


def _row(row: Row) -> dict[str, str]:
    index, disk, found = row["index"], row["disk_bytes"], "found" in row
    return {
        "engine": NAMES[row["engine"]],
        "documents": f"{row['documents']:,}",
        "index": INDEXES.get(row["engine"], "none") if index else "none",
        "bytes": f"{disk['documents'] / row['documents']:.1f}",
        "bytes of the index": f"{disk['index'] / row['documents']:.1f}" if index and disk["index"] else MISSING,
        "ms": f"{row['cpu_ms']:.1f}",
        "queries": str(row["queries"]),
        "found": f"{100 * row['found']:.1f}" if found else MISSING,
        "of scoring all": f"{100 * row['found'] / row['found_by_all']:.1f} %" if found else MISSING,
        "load, documents/s": f"{row['documents'] / row['load_seconds']:,.0f}",
        "index, s": f"{row['index_seconds']:,.0f}" if index else MISSING,
        "load average": f"{row['index_load_average' if index else 'load_average']:.0f}",
    }


def _memory(rows: list[Row]) -> list[str]:
    """What Qdrant keeps in memory: the process has nothing else that grows with the documents."""
    lines = [
        f"Qdrant's process holds {row['resident_growth'] / row['documents']:.0f} bytes per document in memory that is no file's page "
        f"({row['documents']:,} documents, {'with' if row['index'] else 'without'} HNSW): the growth of the process on opening and asking."
        for row in rows
        if row["engine"] == "qdrant-edge" and row.get("only_opened")  # a process that has loaded holds more
    ]
    return [*lines, ""] if lines else []


def scale_page(rows: list[Row]) -> list[str]:
    """A plan for a billion texts, from the largest set measured in each engine."""
    largest = {(row["engine"], row["index"]): row for row in sorted(rows, key=lambda row: int(row["documents"]))}
    shards = BILLION // PER_MACHINE
    body = []
    for (engine, index), row in sorted(largest.items(), key=lambda one: (list(NAMES).index(one[0][0]), one[0][1])):
        disk = row["disk_bytes"]
        each = (disk["documents"] + (disk["index"] if index else 0)) / row["documents"]
        seconds = row["load_seconds"] + (row["index_seconds"] if index else 0)
        hours = BILLION / row["documents"] * seconds / 3600
        scan = row["cpu_ms"] * PER_MACHINE / row["documents"]
        body.append(
            {
                "engine": NAMES[engine],
                "index": INDEXES[engine] if index else "none",
                "measured with": f"{row['documents']:,}",
                "bytes/text on disk": f"{each:.0f}",
                "a billion": f"{each * BILLION / 1e9:,.0f} GB",
                "hours to load, one core": f"{hours:,.0f}",
                f"on {shards} machines": f"{hours / shards:,.1f}",
                "a query, one shard, one core": f"{scan / 1000:,.1f} s" if not index else f"more than {row['cpu_ms']:.0f} ms",
            }
        )
    encoder = read_json(HERE / "study" / "results" / "cost.json")["cells"]["encoder"]["milliseconds"]
    codes = read(RESULTS_FOLDER / "encoders" / f"{MINILM}.json").figure("compact", CODE_BYTES, "encode_ms")
    assert codes is not None
    return [
        "# Scale: a billion texts",
        "",
        "Written by `python -m evaluation.engines` from `results/engines.json`. Nothing here was run with a billion texts: it is arithmetic on what was measured with the "
        "number of documents that each row names, on one core of a machine that other work shared. What is assumed is said to be.",
        "",
        f"The plan: {shards} shards of {PER_MACHINE:,} documents, one machine each; every shard is an ordinary collection of `bsa_st.engines`, is asked for its 200 "
        "candidates, and whoever asked scores them all: 2,000 candidates of 64 bytes are 128 kB to move and a few milliseconds to score. 64 bytes per text are "
        f"{64 * BILLION / 1e9:.0f} GB of bits, {64 * PER_MACHINE / 1e9:.1f} GB per shard, where float32 embeddings of 384 numbers are {1536 * BILLION / 1e12:.1f} TB.",
        "",
        "## Encoding",
        "",
        f"On CPUs the encoder, all-MiniLM-L6-v2, costs {encoder:.1f} ms per text and core, a refined code of {CODE_BYTES} bytes {codes:.2f} ms ([STUDY.md](STUDY.md)): "
        f"{BILLION * encoder / 3.6e6:,.0f} and {BILLION * codes / 3.6e6:,.0f} core hours; on {shards} machines of 32 cores (assumed) "
        f"{BILLION * (encoder + codes) / 3.6e6 / 32 / shards:,.1f} hours. GPUs shorten the first number only; none was measured here. `bsa-st encode --engine ray` writes shards of codes "
        "that go on after a crash, and `bsa-st engine load` takes such a folder.",
        "",
        "## Engines",
        "",
        records_table(body),
        "",
        "Scans grow with the documents and are divided by the cores of a machine. Indexes grow more slowly than that, but by how much beyond the size measured is not known; hours "
        "of HNSW builds grow faster than the documents once the graph does not fit `maintenance_work_mem`. Filters, replicas and failures of machines are the engines' own "
        "business: Elasticsearch, OpenSearch, Qdrant and PostgreSQL partitions shard by themselves; LanceDB tables on an object store are one table per shard.",
    ]
