"""Cells of the study: measured one by one, each kept in its section's file as soon as it is done, so that a run can be continued."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bsa_st import BSAError
from evaluation.data.inputs import Inputs
from evaluation.jsonfiles import read_json, write_json

logger = logging.getLogger("evaluation")

Results = Mapping[str, dict[str, Any]]
"""Cell name to what the cell gave; cells that were not measured are missing."""


Cells = Mapping[str, Callable[[Inputs], dict[str, Any]]]
"""Cell name to what measures it and gives what JSON can hold; a :class:`BSAError`, e.g. for data that is not there, leaves the cell unmeasured.
A finished cell is found again by its name: delete it after a change of what it measures."""


class Section(Protocol):
    """A module with these names."""

    title: str
    """Heading on the page."""

    def cells(self) -> Cells:
        """What is to be measured, in the order of the page."""

    def render(self, results: Results) -> str:
        """Markdown below the heading."""


def measure(name: str, section: Section, inputs: Inputs, folder: Path) -> None:
    """Measure the cells of a section that its file does not hold; a file of other data is void."""
    path = folder / f"{name}.json"
    kept = read_json(path) if path.is_file() else {}
    if kept.get("data") != inputs.fingerprint:
        kept = {"data": inputs.fingerprint, "cells": {}}
    for cell, run in section.cells().items():
        if cell in kept["cells"]:
            continue
        began = time.process_time()
        try:
            result = run(inputs)
        except BSAError as error:
            logger.warning("%s: %s not measured: %s", name, cell, error)
            continue
        seconds = round(time.process_time() - began, 1)
        kept["cells"][cell] = {**result, "cell_seconds": seconds}
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        kept["commit"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        write_json(path, kept)
        logger.info("%s: %s measured in %.0f s of processor time", name, cell, seconds)
