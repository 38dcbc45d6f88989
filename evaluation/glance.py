"""The first thing on the page: at each declared budget of bytes, what BSA keeps and what every baseline of that budget does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.budgets import BUDGETS, SIDES, scaled
from evaluation.markdown import interval, markdown_table, p_value, percent, rate, score
from evaluation.table import REFERENCE, Line

SUMMARY = ["bytes at most", "query", "BSA", "bytes", "smaller by", "mean", "95 % interval", "% of float32", "queries/s"]
AGAINST = ["strongest other", "bytes", "mean", "BSA minus it", "p"]
FULL = ["bytes at most", "query", "method", "scoring", "bytes", "mean", "95 % interval", "% of float32", "BSA minus it", "p"]


def glance(entries: Sequence[dict[str, Any]], lines: Sequence[Line], width: int) -> str:
    """One row per budget and kind of query: the recommended BSA method beside the strongest baseline of the same budget."""
    upper = next((line for line in lines if line.method == REFERENCE), None)
    speeds = {(line.method, line.scoring): line.queries_per_second for line in lines}
    body = []
    for budget, side, own, others in _groups(entries):
        best = max(others, key=lambda entry: entry["score"], default=None)
        rest = ["-"] * len(AGAINST)
        if best:
            name, difference = f"{best['method']} {best['scoring']}", f"{best['difference']:+.4f}"
            rest = [name, f"{best['bytes']:.1f}", score(best["score"]), difference, p_value(best["p_value"])]
        body.append(
            [
                str(scaled(budget, width)),
                side,
                f"{own['method']} {own['scoring']}",
                f"{own['bytes']:.1f}",
                f"{upper.bytes_per_text / own['bytes']:.0f}x" if upper else "-",
                *_quality(own, upper),
                rate(speeds.get((own["method"], own["scoring"]))),
                *rest,
            ]
        )
    if upper:
        blank = ["-"] * len(AGAINST)
        size, speed = f"{upper.bytes_per_text:.0f}", rate(upper.queries_per_second)
        body.append([size, "float query", "(float32)", size, "1x", score(upper.mean), "-", "100.0%", speed, *blank])
    return markdown_table([*SUMMARY, *AGAINST], body)


def equal_bytes(entries: Sequence[dict[str, Any]], lines: Sequence[Line], width: int) -> str:
    """Every baseline of every budget with its paired test against the recommended BSA method."""
    upper = next((line for line in lines if line.method == REFERENCE), None)
    body = [
        [
            str(scaled(budget, width)),
            side,
            f"**{entry['method']}**" if entry["bsa"] else entry["method"],
            entry["scoring"],
            f"{entry['bytes']:.1f}",
            *_quality(entry, upper),
            f"{entry['difference']:+.4f}" if "difference" in entry else "-",
            p_value(entry["p_value"]) if "p_value" in entry else "-",
        ]
        for budget, side, own, others in _groups(entries)
        for entry in (own, *others)
    ]
    return markdown_table(FULL, body)


def _groups(entries: Sequence[dict[str, Any]]) -> list[tuple[int, str, dict[str, Any], list[dict[str, Any]]]]:
    groups = []
    for budget in BUDGETS:
        for side in SIDES:
            inside = [entry for entry in entries if (entry["budget"], entry["side"]) == (budget, side)]
            own = next((entry for entry in inside if entry["bsa"]), None)
            if own:
                groups.append((budget, side, own, [entry for entry in inside if not entry["bsa"]]))
    return groups


def _quality(entry: dict[str, Any], upper: Line | None) -> list[str]:
    share = entry["score"] / upper.mean if upper else None
    return [score(entry["score"]), interval(entry["ci_low"], entry["ci_high"]), percent(share)]
