"""The command ``python -m evaluation.interpretability``: measure, write the JSON, render the document and its plot."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from bsa_st import BSAError
from evaluation import RESULTS_FOLDER
from evaluation.comparison.cli import DATA_VARIABLE
from evaluation.console import run_command
from evaluation.interpretability.document import write_document

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def interpretability(
    data: Annotated[
        Path | None, typer.Option(help="Folder with text_mix and sts_stsbenchmark.  [default: $BSA_ST_DATA]")
    ] = None,
    output: Annotated[Path, typer.Option(help="File of the results; the document goes beside its folder.")] = RESULTS_FOLDER
    / "interpretability.json",
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Only write the document from the results there are.")
    ] = False,
) -> None:
    """Measure what the results lack: do names say when features fire, and how much of a match do they explain?"""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("evaluation.interpretability").setLevel(logging.INFO)
    if not render_only:
        from evaluation.interpretability.measure import measure

        place = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
        if place is None or not place.is_dir():
            raise BSAError(f"data folder not found: {place}; give --data DIR")
        measure(place, output, cache_dir)
        typer.echo(f"Results in {output}")
    if not output.is_file():
        raise BSAError(f"file not found: {output}; run without --render-only first")
    typer.echo(f"Document in {write_document(output)}")


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation.interpretability")


if __name__ == "__main__":
    main()
