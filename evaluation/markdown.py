"""Figures as they stand in Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

MISSING = "-"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def records_table(records: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of rows that name their columns, all the same ones; ``""`` without rows."""
    return markdown_table(list(records[0]), [list(record.values()) for record in records]) if records else ""
