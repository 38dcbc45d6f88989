"""ENGINES.md and SCALE.md, from engines.json only."""

from pathlib import Path


def write_reports(results: Path) -> list[Path]:
    return []
