"""SCALE.md, from ``scale.json`` only: every input marked measured or assumed, every result with its arithmetic."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from evaluation.markdown import markdown_table

PLAN: dict[str, tuple[float, str, str]] = {
    "texts": (1e9, "texts", "the task"),
    "tokens": (128, "tokens per text", "passages of about 100 words"),
    "gpu_sentences": (
        14_200,
        "short sentences/s and GPU",
        "all-MiniLM-L6-v2 on a V100, table of pretrained models in the sentence-transformers documentation; no GPU was at hand",
    ),
    "gpu_tokens": (
        25,
        "tokens per short sentence",
        "the documentation does not say; this decides the hours on GPUs in proportion",
    ),
    "gpus": (8, "GPUs", "one machine of a common cloud type"),
    "cores": (32, "cores per machine", "a common cloud type"),
    "memory": (256e9, "bytes per machine", "a common cloud type"),
    "fill": (0.7, "share of the memory that the index may take", "room for the system and for rebuilding"),
    "threads": (0.7, "gain per core of several threads or processes", "memory bandwidth is shared; 1 would be ideal"),
    "training_texts": (1e7, "texts that the head learns from", "far more than the 0.5 million of the evaluation"),
}
"""Value, unit and reason of what is assumed."""


def write_report(results: Path) -> Path:
    """Write SCALE.md beside ``results``; returns its path."""
    data = json.loads(results.read_text())
    lines = [
        "# Scale: a plan for a billion texts, from measured rates",
        "",
        "Written by `python -m evaluation.scale` from `scale.json`; `--report-only` writes it again. Nothing here has been run with a billion texts: "
        "the arithmetic takes rates measured on one machine and assumptions that are marked as such.",
        "",
        f"Measured on {data['hardware'].split(',')[0]}, in CPU seconds of one thread; the machine was shared. The figures of a million documents are those that "
        "`search.json` held when this was measured (SEARCH.md).",
        "",
        "## Inputs",
        "",
        _inputs(data),
        "",
        *_pool(data),
        "## The plan",
        "",
        *_plan(data),
        "## How indexes grow",
        "",
        _growth(data),
        "",
        *_shards(data),
    ]
    path = results.parent / "SCALE.md"
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return path


def _inputs(data: dict[str, Any]) -> str:
    rows = [
        [
            "encoder, one process",
            f"{_tokens_per_second(data):,.0f} tokens per core and second",
            "measured",
            _encoded(data["encoder"][0]),
        ],
    ]
    for head in data["heads"]:
        name = _name(head)
        rows.append(
            [
                f"head and refinement, {name}",
                f"{_refined(head):,.0f} texts per core and second",
                "measured",
                f"{head['texts']:,} texts",
            ]
        )
        rate = f"{_step(head):.3f} core seconds per step of {head['batch']}"
        rows.append([f"training, {name}", rate, "measured", f"{head['steps']} steps"])
    for row in data["million"]:
        name = row["group"]
        rows.append([f"index file, {name}", f"{row['disk_bytes']:.1f} bytes per text", "measured", "1,000,000 documents"])
        rows.append(
            [f"index in memory, {name}", f"{row['memory_bytes']:.0f} bytes per text", "measured", "1,000,000 documents"]
        )
        rows.append(
            [
                f"index build, {name}",
                f"{row['build_per_second']:,.0f} documents per core and second",
                "measured",
                "1,000,000 documents",
            ]
        )
        rows.append(
            [
                f"query, {name}",
                f"{row['overlap_ms']:.2f} ms overlap, {row['two_stage_ms']:.2f} ms two-stage",
                "measured",
                "1,000,000 documents",
            ]
        )
    for value, unit, reason in data["plan"].values():
        rows.append([unit, f"{value:,.0f}" if value >= 1 else f"{value}", "assumed", reason])
    return markdown_table(["input", "value", "", "from"], rows)


def _plan(data: dict[str, Any]) -> list[str]:
    plan = {name: entry[0] for name, entry in data["plan"].items()}
    texts, tokens = plan["texts"], plan["tokens"]
    gpu_hours = texts * tokens / (plan["gpu_sentences"] * plan["gpu_tokens"]) / 3600
    core_hours = texts * tokens / _tokens_per_second(data) / 3600
    width = 384
    lines = [
        "Encoding, the same for every configuration:",
        "",
        f"- on GPUs: {texts:,.0f} x {tokens:.0f} tokens / ({plan['gpu_sentences']:,.0f} x {plan['gpu_tokens']:.0f} tokens/s) = {gpu_hours:,.0f} GPU hours, "
        f"{gpu_hours / plan['gpus']:,.1f} hours on {plan['gpus']:.0f} GPUs",
        f"- on CPUs: {texts:,.0f} x {tokens:.0f} tokens / {_tokens_per_second(data):,.0f} tokens/s = {core_hours:,.0f} core hours, "
        f"{core_hours / plan['cores'] / plan['threads'] / 24:,.0f} days on one machine of {plan['cores']:.0f} cores "
        f"({plan['threads']} of ideal), so {_machines_for_days(core_hours, plan, 3)} machines for three days",
        f"- float32 embeddings would take {texts:,.0f} x {width} x 4 = {texts * width * 4 / 1e12:.2f} TB; they are never kept: each shard's are turned into codes",
        f"- embeddings cached to train the head: {plan['training_texts']:,.0f} x {width} x 2 bytes = {plan['training_texts'] * width * 2 / 1e9:.1f} GB, "
        f"in {math.ceil(plan['training_texts'] / 2**20)} entries, memory-mapped",
        f"- manifest: with `--shard-texts {2**20}` {math.ceil(texts / 2**20):,} shards",
        "",
    ]
    rows = []
    million = {row["group"]: row for row in data["million"]}
    for head in data["heads"]:
        row = million[_name(head)]
        steps = plan["training_texts"] / head["batch"]
        memory = texts * row["memory_bytes"]
        machines = math.ceil(memory / (plan["memory"] * plan["fill"]))
        each = texts / machines
        parallel = plan["cores"] * plan["threads"]
        rows.append((_name(head), row, head, steps, memory, machines, each, parallel))
    for name, row, head, steps, memory, machines, each, parallel in rows:
        refine = texts / _refined(head) / 3600
        lines += [
            f"### {name}",
            "",
            f"- training, one pass: {plan['training_texts']:,.0f} / {head['batch']} = {steps:,.0f} steps x {_step(head):.3f} s = {steps * _step(head) / 3600:,.1f} core hours",
            f"- refinement: {texts:,.0f} / {_refined(head):,.0f} texts/s = {refine:,.0f} core hours, {refine / parallel:,.1f} hours on one machine",
            f"- codes: {texts:,.0f} x {row['disk_bytes']:.1f} = {texts * row['disk_bytes'] / 1e9:,.0f} GB",
            f"- index in memory: {texts:,.0f} x {row['memory_bytes']:.0f} = {memory / 1e9:,.0f} GB / ({plan['memory'] / 1e9:.0f} GB x {plan['fill']}) = "
            f"{machines} machines of {each / 1e6:,.0f} million documents",
            f"- index build: {each:,.0f} / ({row['build_per_second']:,.0f} x {parallel:.1f}) = {each / row['build_per_second'] / parallel / 60:,.1f} minutes, all machines at once",
            f"- a query, if time grows in proportion: two-stage {row['two_stage_ms']:.2f} ms x {each / 1e6:,.0f} / {parallel:.1f} = "
            f"{row['two_stage_ms'] * each / 1e6 / parallel:,.0f} ms, overlap {row['overlap_ms'] * each / 1e6 / parallel:,.0f} ms, "
            f"when a machine's cores share one query; {1000 / (row['two_stage_ms'] * each / 1e6 / parallel):,.0f} two-stage queries/s in all",
            f"- merging: {machines} machines x 10 hits x 12 bytes = {machines * 120:,} bytes per query",
            "",
        ]
    lines += [
        "What could turn out otherwise: the rate of the GPUs and the length of the texts (assumed), how far a machine's cores scale (assumed), and whether "
        "query time at hundreds of millions of documents per machine stays in proportion (measured up to a million only). Training counts steps only: embedding its texts is "
        "1 % of encoding, polishing and measuring the head take minutes.",
        "",
    ]
    return lines


def _machines_for_days(core_hours: float, plan: dict[str, float], days: int) -> int:
    return math.ceil(core_hours / (plan["cores"] * plan["threads"] * 24 * days))


def _pool(data: dict[str, Any]) -> list[str]:
    body = []
    for row in data["encoder"]:
        wall, cpu = row["texts"] / row["wall_seconds"], row["texts"] / row["cpu_seconds"]
        body.append([str(row["processes"]), f"{wall:,.0f}", f"{cpu:,.0f}", f"{row['load_average']:.1f}"])
    table = markdown_table(["processes of the pool", "texts/s, wall clock", "texts per CPU second", "load average"], body)
    note = (
        f"The encoder in sentence-transformers' pool, one thread per process, {_encoded(data['encoder'][0])}. The wall clock says little where the load average "
        "exceeds the number of cores; equal texts per CPU second say that a second process costs nothing but its core."
    )
    return [note, "", table, ""]


def _growth(data: dict[str, Any]) -> str:
    rows = []
    name = _name(data["heads"][0])
    for row in data["indexes"]:
        count = row["documents"]
        rows.append(
            [
                f"{count:,}",
                f"{count / row['build_cpu_seconds']:,.0f}",
                f"{row['memory_bytes'] / count:.0f}",
                f"{row['overlap_ms']:.2f}",
                f"{row['two_stage_ms']:.2f}",
            ]
        )
    last = next(row for row in data["million"] if row["group"] == name)
    rows.append(
        [
            "1,000,000",
            f"{last['build_per_second']:,.0f}",
            f"{last['memory_bytes']:.0f}",
            f"{last['overlap_ms']:.2f}",
            f"{last['two_stage_ms']:.2f}",
        ]
    )
    header = [f"documents, {name}", "built per core and second", "bytes in memory each", "overlap, ms", "two-stage, ms"]
    return markdown_table(header, rows)


def _shards(data: dict[str, Any]) -> list[str]:
    rows = data["shards"]
    scorings = list(rows[0]["same"])
    body = []
    for row in rows:
        same = [f"{row['same'][name]:.0%}" if row["same"][name] in (0, 1) else f"{row['same'][name]:.1%}" for name in scorings]
        body.append([str(row["shards"]), *same, f"{row['two_stage_ms_slowest']:.2f}", f"{row['two_stage_ms_sum']:.2f}"])
    header = ["shards", *scorings, "two-stage ms, slowest shard", "two-stage ms, all shards"]
    exact = [name for name in scorings if all(row["same"][name] == 1 for row in rows)]
    return [
        "## Sharded search",
        "",
        f"{rows[0]['documents']:,} documents dealt out to S indexes, searched by `bsa_st.index.sharded.ShardedIndex` and merged: the share of {rows[0]['queries']} queries whose "
        f"{rows[0]['top_k']} hits and scores are those of one index, to the last bit. IDF weights are made of the document frequencies of all shards.",
        "",
        markdown_table(header, body),
        "",
        f"Identical for every S: {', '.join(exact)}. `two-stage` and `decoded` promise less than the others: each shard chooses its own candidates, S times as many in "
        "all, so a shard may find what one index did not consider.",
        "",
    ]


def _name(head: dict[str, Any]) -> str:
    return f"D={head['hidden_dim']} k={head['k']}"


def _encoded(row: dict[str, Any]) -> str:
    return f"{row['texts']:,} definitions of {row['tokens'] / row['texts']:.0f} tokens"


def _tokens_per_second(data: dict[str, Any]) -> float:
    row = data["encoder"][0]
    return row["tokens"] / row["cpu_seconds"]


def _refined(head: dict[str, Any]) -> float:
    return head["texts"] / head["refine_cpu_seconds"]


def _step(head: dict[str, Any]) -> float:
    return head["training_cpu_seconds"] / head["steps"]
