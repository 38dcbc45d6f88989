"""STUDY.md, from the results of the sections and from what was measured once and is settled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bsa_st.atomic import atomic_file
from evaluation.data.neighbours import QUERIES
from evaluation.jsonfiles import read_json
from evaluation.markdown import markdown_table
from evaluation.study import cost, domains, objectives
from evaluation.study.heads import DOCUMENTS, TRAINING
from evaluation.study.runner import Section

SECTIONS: dict[str, Section] = {"objectives": objectives, "domains": domains, "cost": cost}
RESULTS = Path(__file__).with_name("results")
SETTLED = Path(__file__).with_name("settled.json")
PAGE = Path(__file__).parent.parent / "STUDY.md"
PICTURE = Path("plots") / "study.png"

INTRODUCTION = f"""# The questions that the method's reviewers asked

Encoder: all-MiniLM-L6-v2, frozen, 1,536 bytes per text as float32. found@10 is the share of the float embeddings' own ten nearest documents among the ten
found, in per cent, with 95 % intervals over queries and seeds ({QUERIES:,} queries on {DOCUMENTS:,} general sentences, {TRAINING:,} others to learn from, unless said).
`python -m evaluation.study --data DATA` measures what `study/results` does not hold and writes this page; what is settled is in `study/settled.json`.
"""


def write_page(results: Path = RESULTS, page: Path = PAGE) -> Path:
    """Write the page, and the picture beside it; sections without a finished cell are left out."""
    kept = read_results(results)
    if "objectives" in kept:
        objectives.plot(kept["objectives"]["cells"], page.parent / PICTURE)
    with atomic_file(page) as file:
        file.write(render(kept).encode())
    return page


def read_results(folder: Path) -> dict[str, Any]:
    """Section to the content of its file, in the order of the page; sections that have none are left out."""
    return {name: read_json(folder / f"{name}.json") for name in SECTIONS if (folder / f"{name}.json").is_file()}


def render(kept: dict[str, Any]) -> str:
    """The page, Markdown; where a section has no results, what an earlier version measured stands for it."""
    parts = [INTRODUCTION]
    for name, content in kept.items():
        section = SECTIONS[name]
        cells = {cell: content["cells"][cell] for cell in section.cells() if cell in content["cells"]}
        missing = [cell for cell in section.cells() if cell not in cells]
        absent = f" Not measured: {', '.join(missing)}." if missing else ""
        parts.append(f"## {section.title}\n\nMeasured at commit {content['commit']}.{absent} {section.render(cells)}\n")
    for question in read_json(SETTLED):
        if question.get("section") not in kept:
            table = markdown_table(question["header"], question["rows"])
            text = f"Measured once, at commit {question['commit']}. {question['text']}"
            parts.append(f"## {question['title']}\n\n{text}\n\n{table}\n")
    return "\n".join(parts)
