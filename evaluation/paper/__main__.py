"""The command ``python -m evaluation.paper``: measure cells that are not finished, then write their results and PAPER.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from evaluation.cli import DATA_VARIABLE
from evaluation.console import run_command

HERE = Path(__file__).parent.parent

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def paper(
    data: Annotated[
        Path | None, typer.Option(help="Folder with text_mix and the task folders.  [default: $BSA_ST_DATA]")
    ] = None,
    sections: Annotated[str, typer.Option(help="Sections to measure, separated by commas.  [default: all]")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny cells on the HPO ontology only; needs no data.")] = False,
    work: Annotated[Path, typer.Option(help="Folder of finished cells, for resuming.")] = Path("build/paper"),
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of PAPER.md, paper/results and the plots.  [default: evaluation; with --quick that of the cells]"
        ),
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write the page from the finished cells.")] = False,
) -> None:
    """Measure what reviewers asked for and write the page. The page always shows all sections that have finished cells."""
    from evaluation.paper.cells import run_cell
    from evaluation.paper.inputs import Inputs
    from evaluation.paper.page import write_page
    from evaluation.paper.sections import SECTIONS, choose_sections

    chosen = choose_sections(sections)
    work = work / ("quick" if quick else "full")
    if not report_only:
        place = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
        inputs = Inputs(place, quick=quick, cache_dir=cache_dir)
        todo = [(name, cell) for name, section in chosen.items() for cell in section.cells(quick)]
        with tqdm(todo, desc="Cells", unit="cell") as bar:
            for name, cell in bar:
                bar.set_postfix_str(f"{name}/{cell.name}")
                reason = run_cell(cell, inputs, work / name)
                if reason:
                    bar.write(f"{name}/{cell.name} not measured: {reason}")
    typer.echo(f"Page in {write_page(SECTIONS, work, output or (work if quick else HERE), quick=quick)}")


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation.paper")


if __name__ == "__main__":
    main()
