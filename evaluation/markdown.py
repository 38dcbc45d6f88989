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


def interval(low: float, high: float) -> str:
    """``.4994 to .5524``."""
    return f"{score(low)} to {score(high)}"


def percent(share: float | None) -> str:
    """``97.6%``."""
    return MISSING if share is None else f"{share:.1%}"


def rate(value: float | None) -> str:
    """Queries per second."""
    return MISSING if value is None else f"{value:,.0f}"


def p_value(value: float) -> str:
    """``.0344``, or ``< .001``."""
    return "< .001" if value < 0.001 else score(value)
