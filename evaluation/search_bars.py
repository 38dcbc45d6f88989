"""The bars that the index is meant to meet, computed from the rows of search.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]
SIZE = 1_000_000


class Bar(NamedTuple):
    """A bar, what was measured, and whether that meets it."""

    name: str
    measured: str
    met: bool


def bars(rows: list[Row]) -> list[Bar]:
    """All bars whose contenders were measured at a million documents."""
    table = {(row["group"], row["name"]): row for row in rows if row["documents"] == SIZE}
    return [*_symmetric(table), *_dense(table), *_two_stage(table), *_build(table)]


def _symmetric(table: dict[tuple[str, str], Row]) -> Iterable[Bar]:
    mine = table.get(("D=4096 k=32", "bsa_st overlap"))
    if mine is not None:
        scan = table.get(("D=4096 k=32", "faiss IndexBinaryFlat on packed codes"), {}).get("single_ms")
        flat = mine["beside"].get("faiss IndexFlatIP")
        for other, name, least in ((scan, "the packed-bit scan", 20), (flat, "IndexFlatIP on floats", 100)):
            if other is not None:
                times = other / mine["single_ms"]
                yield Bar(f"overlap, D=4096 k=32, single queries: {least} times {name}", f"{times:.0f} times", times >= least)
    for (group, name), row in table.items():
        if name == "bsa_st overlap":
            times = row["single_ms"] / row["batch_ms"]
            text = f"overlap, {group}: a batch of 64 has 3 times the throughput of single queries"
            yield Bar(text, f"{times:.1f} times", times >= 3)


def _dense(table: dict[tuple[str, str], Row]) -> Iterable[Bar]:
    for group in ("D=768 k=135", "D=1536 k=200"):
        mine = table.get((group, "bsa_st overlap"))
        if mine is None:
            continue
        signs = next((value for name, value in mine["beside"].items() if "sign bits" in name), None)
        if signs is not None:
            text = f"{mine['single_ms']:.2f} ms, against {signs:.2f} ms"
            name = f"overlap, {group}: faster than IndexBinaryFlat on sign bits"
            yield Bar(name, text, mine["single_ms"] < signs)
        yield from _staged(table, group, 100, 0.95)


def _two_stage(table: dict[tuple[str, str], Row]) -> Iterable[Bar]:
    return _staged(table, "D=4096 k=64", 200, 0.99)


def _staged(table: dict[tuple[str, str], Row], group: str, least: int, recall: float) -> Iterable[Bar]:
    """The fastest two-stage setting that finds enough; speed without recall is no bar."""
    staged = [row for (own, name), row in table.items() if own == group and "two-stage" in name]
    if not staged:
        return
    good = [row for row in staged if row["recall"] >= recall]
    best = min(good, key=lambda row: row["single_ms"]) if good else max(staged, key=lambda row: row["recall"])
    speed = 1000 / best["single_ms"]
    text = f"{speed:.0f} queries/s, recall {best['recall']:.3f} ({best['name'].removeprefix('bsa_st two-stage ')})"
    yield Bar(f"two-stage, {group}: {least} queries/s with recall {recall}", text, speed >= least and best["recall"] >= recall)


def _build(table: dict[tuple[str, str], Row]) -> Iterable[Bar]:
    for (group, name), row in table.items():
        if name == "bsa_st overlap" and "build_docs_per_second" in row:
            speed = row["build_docs_per_second"]
            yield Bar(f"build, {group}: 500,000 documents/s, inverted index included", f"{speed:,.0f}", speed >= 500_000)
