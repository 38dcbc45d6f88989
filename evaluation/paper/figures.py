"""Plots of the page: one size, one style, and the Markdown that shows them."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

DPI = 90
PICTURES = Path("plots") / "paper"
"""Folder of the plots, beside the page."""


def picture(figure: Figure, pictures: Path, name: str, caption: str) -> str:
    """Write a plot as ``<name>.png`` and close it; the Markdown that shows it."""
    pictures.mkdir(parents=True, exist_ok=True)
    figure.savefig(pictures / f"{name}.png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return f"![{caption}]({(PICTURES / name).as_posix()}.png)"
