"""What a section of the page is: cells that are measured and kept one by one, and a text drawn from their results."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bsa_st import BSAError
from evaluation.jsonfiles import read_json, write_json
from evaluation.paper.inputs import Inputs

Results = Mapping[str, dict[str, Any]]
"""Cell name to what the cell gave; cells that were not measured are missing."""


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        name: Unique in its section, and a file name. A finished cell is found again by its name: delete its file after a change of
            what it measures.
        run: Measures; gives what JSON can hold. A :class:`BSAError`, e.g. for data that is not there, leaves the cell unmeasured.
    """

    name: str
    run: Callable[[Inputs], dict[str, Any]]


class Section(Protocol):
    """A module with these names, entered in :data:`evaluation.paper.sections.SECTIONS`."""

    title: str
    """Heading on the page."""

    def cells(self, quick: bool) -> list[Cell]:
        """What is to be measured; with ``quick``, a few tiny cells on the HPO ontology only."""

    def render(self, results: Results, pictures: Path) -> str:
        """Markdown, figures first; plots are written with :func:`evaluation.paper.figures.picture`."""


def run_cell(cell: Cell, inputs: Inputs, folder: Path) -> str | None:
    """Measure a cell unless its file is in the folder already; the reason if it cannot be measured here."""
    path = folder / f"{cell.name}.json"
    if path.is_file():
        return None
    wall, processor = time.perf_counter(), time.process_time()
    try:
        result = cell.run(inputs)
    except BSAError as error:
        return str(error)
    cost = {"wall_seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - processor, 2)}
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    write_json(path, {"result": json.loads(json.dumps(result)), "cell": {**cost, "process_peak_gigabytes": peak}})
    return None


def kept_results(cells: list[Cell], folder: Path) -> dict[str, dict[str, Any]]:
    """Results of all finished cells, in the order of the cells."""
    paths = {cell.name: folder / f"{cell.name}.json" for cell in cells}
    return {name: read_json(path)["result"] for name, path in paths.items() if path.is_file()}
