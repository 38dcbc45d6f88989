"""PAPER.md and one results file per section, from the results of all finished cells."""

from __future__ import annotations

from pathlib import Path

from bsa_st.atomic import atomic_file
from evaluation.jsonfiles import read_json, write_json
from evaluation.paper.cells import Section, kept_results
from evaluation.paper.figures import PICTURES

RESULTS = Path("paper") / "results"
"""Folder of the results, ``<section>.json``, beside the page."""

INTRODUCTION = """# The questions that the method's reviewers asked

Each section is measured by `python -m evaluation.paper --data DATA --sections NAME` and drawn from `paper/results/NAME.json`; every figure
of this page comes from these files. Encoder: all-MiniLM-L6-v2, frozen, 384 dimensions, 1,536 bytes per text as float32. Unless a row says
otherwise, heads are trained on general sentences, never on the texts they are tested on.
"""


def write_page(sections: dict[str, Section], work: Path, output: Path, *, quick: bool) -> Path:
    """Write the results, the plots and ``PAPER.md`` into ``output``; sections without a finished cell are left out.

    Results in ``output`` count as finished where ``work`` has no newer ones, so that sections can be measured in different places.
    """
    text = [INTRODUCTION]
    for name, section in sections.items():
        cells = section.cells(quick)
        path = output / RESULTS / f"{name}.json"
        earlier = read_json(path) if path.is_file() else {}
        newer = kept_results(cells, work / name)
        results = {cell.name: {**earlier, **newer}[cell.name] for cell in cells if cell.name in {**earlier, **newer}}
        if not results:
            continue
        write_json(path, results)
        text.append(f"## {section.title}\n\n{section.render(results, output / PICTURES).strip()}\n")
        missing = [cell.name for cell in cells if cell.name not in results]
        command = f"`python -m evaluation.paper --data DATA --sections {name}`"
        absent = f" Not measured here: {', '.join(missing)}." if missing else ""
        text.append(f"Measured by {command}.{absent}\n")
    output.mkdir(parents=True, exist_ok=True)
    page = output / "PAPER.md"
    with atomic_file(page) as file:
        file.write("\n".join(text).encode())
    return page
