"""The command ``python -m evaluation.interpretability``: measure, write the JSON, render the document and its plot."""

from __future__ import annotations

from typing import Annotated

import typer

from evaluation import RESULTS_FOLDER
from evaluation.console import Data, given, new_app, run_command
from evaluation.interpretability.document import write_document

RESULTS = RESULTS_FOLDER / "interpretability.json"

app = new_app()


@app.command()
def interpretability(
    data: Data = None,
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Only write the document from the results there are.")
    ] = False,
) -> None:
    """Measure what the results lack: do names say when features fire, and how much of a match do they explain?"""
    if not render_only:
        from evaluation.interpretability.measure import measure

        measure(given(data), RESULTS)
        typer.echo(f"Results in {RESULTS}")
    typer.echo(f"Document in {write_document(RESULTS)}")


if __name__ == "__main__":
    run_command(app, "evaluation.interpretability")
