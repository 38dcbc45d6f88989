"""Figures as they stand in Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MISSING = "-"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def score(value: float) -> str:
    """A score with four digits, ``.5266``."""
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"
