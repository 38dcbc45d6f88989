"""``python -m evaluation``: ways to store embeddings side by side."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from bsa_st import BSAError
from evaluation import RESULTS_FOLDER
from evaluation.console import Data, given, new_app, run_command, split_names

logger = logging.getLogger("evaluation")

app = new_app()


@app.command()
def evaluate(
    data: Data = None,
    encoders: Annotated[str, typer.Option(help="Comma-separated encoders.  [default: all]")] = "",
    methods: Annotated[str, typer.Option(help="Comma-separated methods.  [default: all]")] = "",
    budgets: Annotated[
        str, typer.Option(help="Comma-separated bytes per text.  [default: float32's divided by 48, 32, 24, 16 and 12]")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds of each method; one where a fit takes long.", min=1)] = 3,
    tasks: Annotated[bool, typer.Option(help="Score the judged sets (nDCG@10, Spearman) too.")] = True,
    share: Annotated[float, typer.Option(help="Share of the general sentences, for a quick look.", min=0.001, max=1.0)] = 1.0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS_FOLDER / "encoders",
    work: Annotated[Path, typer.Option(help="Folder of finished cells and fits, for resuming.")] = Path("build/evaluation"),
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only write RESULTS.md from the results that are there.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Print every figure that RESULTS.md leaves out.")] = False,
) -> None:
    """Store embeddings by every method at the same bytes, and count how many of float32's ten nearest documents are found.

    Finished cells (encoder, method, budget, seed) are kept in --work: an interrupted run continues where it stopped.
    """
    from evaluation.comparison.cells import cells, measure
    from evaluation.comparison.report import full_tables, write_report
    from evaluation.comparison.results import merge
    from evaluation.data.inputs import ENCODERS, Inputs, usual_budgets
    from evaluation.methods import METHODS, choose

    chosen = choose(split_names(methods), list(METHODS), "method")
    sizes = split_names(budgets)
    if any(not size.isdecimal() or int(size) < 1 for size in sizes):
        raise BSAError(f"--budgets must be whole numbers of bytes, got {budgets!r}")
    chosen_encoders = choose(split_names(encoders), ENCODERS, "encoder")
    for encoder in [] if report_only else chosen_encoders:
        inputs = Inputs(encoder, given(data), share, tasks, work)
        width, done = inputs.general.training.shape[1], []
        wanted = cells(chosen, [int(size) for size in sizes] or usual_budgets(width), seeds, width)
        if not wanted:
            raise BSAError(f"none of the methods fits {budgets} bytes for embeddings of {width} dimensions")
        for number, cell in enumerate(wanted, start=1):
            logger.info("%s: cell %d of %d, %s", encoder, number, len(wanted), cell)
            done.append((cell, measure(cell, inputs)))
            merge(output / f"{encoder}.json", inputs, done)
    typer.echo(f"Report in {write_report(output)}")
    if full:
        typer.echo(full_tables(output))


if __name__ == "__main__":  # worker processes import this file again
    run_command(app, "evaluation")
