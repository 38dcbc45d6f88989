"""The command line ``python -m evaluation``. Every user error is one line on standard error and exit status 2."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from evaluation import RESULTS_FOLDER
from evaluation.console import run_command

DATA_VARIABLE = "BSA_ST_DATA"
logger = logging.getLogger("evaluation")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)


@app.command()
def evaluate(
    data: Annotated[
        Path | None,
        typer.Option(envvar=DATA_VARIABLE, help="Folder with text_mix/mix.txt.gz, retrieval_* and sts_* folders."),
    ] = None,
    encoders: Annotated[str, typer.Option(help="Comma-separated encoders.  [default: all]")] = "",
    methods: Annotated[str, typer.Option(help="Comma-separated methods.  [default: all]")] = "",
    budgets: Annotated[
        str, typer.Option(help="Comma-separated bytes per text.  [default: float32's divided by 48, 32, 24, 16 and 12]")
    ] = "",
    seeds: Annotated[
        int, typer.Option(help="Seeds of each method; of those that take long to fit, only the first.", min=1)
    ] = 3,
    tasks: Annotated[bool, typer.Option(help="Score the judged sets (nDCG@10, Spearman) too.")] = True,
    share: Annotated[float, typer.Option(help="Share of the general sentences, for a quick look.", min=0.001, max=1.0)] = 1.0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS_FOLDER / "encoders",
    work: Annotated[Path, typer.Option(help="Folder of finished cells and fitted methods, for resuming.")] = Path(
        "build/evaluation"
    ),
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only write RESULTS.md from the results that are there.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Print every figure that RESULTS.md leaves out.")] = False,
) -> None:
    """Store embeddings by every method at the same bytes, and count how many of float32's ten nearest documents are found.

    Finished cells (encoder, method, budget, seed) are kept in --work: an interrupted run continues where it stopped.
    """
    from bsa_st import BSAError
    from evaluation.comparison.report import full_tables, write_report
    from evaluation.data.inputs import ENCODERS
    from evaluation.methods import METHODS, choose

    chosen_encoders = choose(_split(encoders), ENCODERS, "encoder")
    chosen_methods = choose(_split(methods), list(METHODS), "method")
    sizes = _numbers(budgets)
    if not report_only:
        if data is None:
            raise BSAError(f"give --data or set {DATA_VARIABLE}")
        for encoder in chosen_encoders:
            _measure(encoder, data, chosen_methods, sizes, seeds, tasks, share, output, work)
    typer.echo(f"Report in {write_report(output)}")
    if full:
        typer.echo(full_tables(output))


def _measure(
    encoder: str,
    data: Path,
    methods: list[str],
    sizes: list[int],
    seeds: int,
    tasks: bool,
    share: float,
    output: Path,
    work: Path,
) -> None:
    """Measure the cells of one encoder, budget by budget, and merge each budget's into its file."""
    from bsa_st import BSAError
    from evaluation.comparison.cells import cells, measure
    from evaluation.comparison.results import merge
    from evaluation.data.inputs import Inputs
    from evaluation.data.inputs import budgets as usual_budgets

    inputs = Inputs(encoder, data, share, tasks)
    width = inputs.general.training.shape[1]
    wanted = cells(methods, sizes or usual_budgets(width), seeds, width)
    if not wanted:
        raise BSAError(f"none of the methods fits {sizes} bytes for embeddings of {width} dimensions")
    done = []
    for number, cell in enumerate(wanted, start=1):
        logger.info("%s: cell %d of %d, %s", encoder, number, len(wanted), cell)
        done.append((cell, measure(cell, inputs, work)))
        merge(output / f"{encoder}.json", inputs, done)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _numbers(sizes: str) -> list[int]:
    from bsa_st import BSAError

    try:
        numbers = [int(size) for size in _split(sizes)]
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise BSAError(f"--budgets must be whole numbers of bytes, got {sizes!r}")
    return numbers


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation")
