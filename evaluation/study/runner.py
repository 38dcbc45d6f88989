"""Cells of the study: measured one by one, each kept in its section's file as soon as it is done, so that a run can be continued."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from bsa_st import BSAError
from evaluation.data import inputs as evaluation_inputs
from evaluation.data.neighbours import General
from evaluation.jsonfiles import read_json, write_json

DOCUMENTS, TRAINING = 10_000, 10_000
"""Of the general sentences that the main comparison uses: fewer, so that fifty heads are fitted in minutes."""

logger = logging.getLogger("evaluation")

Results = Mapping[str, dict[str, Any]]
"""Cell name to what the cell gave; cells that were not measured are missing."""


@dataclass(frozen=True)
class Inputs(evaluation_inputs.Inputs):
    """The main comparison's embeddings, of the general sentences a part.

    Attributes:
        work: Folder of fitted methods, shared with the main comparison.
    """

    work: Path = Path("build/evaluation")

    @cached_property
    def general(self) -> General:
        """All queries, the first documents and training rows."""
        whole = super().general
        return replace(whole, documents=whole.documents[:DOCUMENTS], training=whole.training[:TRAINING])

    @cached_property
    def whole(self) -> evaluation_inputs.Inputs:
        """The inputs of the main comparison, for methods that it has fitted."""
        return evaluation_inputs.Inputs(self.encoder, self.data, self.share, self.with_tasks)


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        name: Unique in its section. A finished cell is found again by its name: delete it after a change of what it measures.
        run: Measures; gives what JSON can hold. A :class:`BSAError`, e.g. for data that is not there, leaves the cell unmeasured.
    """

    name: str
    run: Callable[[Inputs], dict[str, Any]]


class Section(Protocol):
    """A module with these names."""

    title: str
    """Heading on the page."""

    def cells(self) -> list[Cell]:
        """What is to be measured, in the order of the page."""

    def render(self, results: Results) -> str:
        """Markdown below the heading."""


def measure(name: str, section: Section, inputs: Inputs, folder: Path) -> None:
    """Measure the cells of a section that its file does not hold; a file of other data is void."""
    path = folder / f"{name}.json"
    kept = read_json(path) if path.is_file() else {}
    if kept.get("data") != inputs.fingerprint:
        kept = {"data": inputs.fingerprint, "cells": {}}
    for cell in section.cells():
        if cell.name in kept["cells"]:
            continue
        began = time.process_time()
        try:
            result = cell.run(inputs)
        except BSAError as error:
            logger.warning("%s: %s not measured: %s", name, cell.name, error)
            continue
        seconds = round(time.process_time() - began, 1)
        kept["cells"][cell.name] = {**result, "cell_seconds": seconds}
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        kept["commit"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        write_json(path, kept)
        logger.info("%s: %s measured in %.0f s of processor time", name, cell.name, seconds)
