"""Figures as they stand in Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MISSING = "-"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
