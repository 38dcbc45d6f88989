"""The sections of the page, in its order; a section is a module as :class:`evaluation.paper.cells.Section` describes."""

from __future__ import annotations

import difflib

from bsa_st import BSAError
from evaluation.paper import ablations, cost, denoising, domains, objectives, theory, upgrades
from evaluation.paper.cells import Section

SECTIONS: dict[str, Section] = {
    "objectives": objectives,
    "ablations": ablations,
    "domains": domains,
    "cost": cost,
    "denoising": denoising,
    "theory": theory,
    "upgrades": upgrades,
}


def choose_sections(names: str) -> dict[str, Section]:
    """Sections by name, separated by commas; none means all. An unknown name raises :class:`BSAError` with the nearest one."""
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(SECTIONS)
    for name in wanted:
        if name not in SECTIONS:
            near = difflib.get_close_matches(name, SECTIONS, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BSAError(f"unknown section {name!r}{hint} (all: {', '.join(SECTIONS)})")
    return {name: SECTIONS[name] for name in SECTIONS if name in wanted}
