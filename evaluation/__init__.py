"""Evaluation of binary sparse codes beside every baseline, scored by mteb: ``python -m evaluation --help``."""

from pathlib import Path

HERE = Path(__file__).parent
"""Where the documents lie; what they show is in ``results/``."""

RESULTS_FOLDER = HERE / "results"
