"""The command line ``python -m evaluation``. Every user error is one line on standard error and exit status 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from evaluation.console import run_command

HERE = Path(__file__).parent
DATA_VARIABLE = "BSA_ST_DATA"

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
        typer.Option(
            help="Folder of local task folders (corpus.jsonl, queries.jsonl, qrels.tsv; or test.tsv).  [default: $BSA_ST_DATA]"
        ),
    ] = None,
    tasks: Annotated[
        str,
        typer.Option(
            help="Comma-separated local folders (without retrieval_ or sts_), hpo, mteb tasks or benchmarks.  [default: all local]"
        ),
    ] = "",
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated methods or families, e.g. float32,pq,bsa-topk; core is a short list.  [default: all]"
        ),
    ] = "",
    settings: Annotated[
        str, typer.Option(help="What trained methods learn from: general, adapted or both, comma-separated.")
    ] = "general,adapted",
    model: Annotated[
        str,
        typer.Option(
            help="Encoder: all-MiniLM-L6-v2, wordllama or all-mpnet-base-v2 from their packages, a folder, or a name on the Hub."
        ),
    ] = "all-MiniLM-L6-v2",
    train_texts: Annotated[
        list[Path] | None,
        typer.Option(help="Text file of the general setting; may be repeated.  [default: from the data folder]"),
    ] = None,
    train_limit: Annotated[int, typer.Option(help="Short training texts drawn at random.", min=2)] = 150_000,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of every BSA and CSR head.  [default: as in the tables]", min=1)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of every BSA and CSR head; rows of another seed than 0 go to seeds/ in --output.", min=0)
    ] = 0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
    work: Annotated[Path, typer.Option(help="Folder of finished pairs, for resuming, and of mteb's own result files.")] = Path(
        "build/evaluation"
    ),
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format in which evaluation texts are encoded: float32, bfloat16, or auto, the faster that is safe."
        ),
    ] = "float32",
    threads: Annotated[
        int | None,
        typer.Option(
            help="CPU threads of a worker; speed is always measured on one.  [default: all; 1 with several workers]", min=1
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that fit and evaluate methods at the same time.", min=1)] = 1,
    quick: Annotated[
        bool, typer.Option(help="A small run from packages alone: part of HPO, few methods, short training.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write RESULTS.md and the plots beside the results folder afterwards.")] = True,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only write RESULTS.md and the plots from the results that are there.")
    ] = False,
) -> None:
    """Score methods on tasks with mteb, beside every baseline, at honest bytes.

    Finished (method, task) pairs are kept in --work: an interrupted run continues where it stopped.
    """
    from evaluation.report import write_report

    if not report_only:
        from evaluation.prepare import Request, prepare
        from evaluation.run import run
        from evaluation.seeds import seed_folder

        variable = os.environ.get(DATA_VARIABLE)
        request = Request(
            data=data or (Path(variable) if variable and not quick else None),
            tasks=_split(tasks),
            methods=_split(methods),
            settings=_split(settings),
            model=model,
            train_texts=tuple(train_texts or ()),
            train_limit=train_limit,
            steps=steps,
            seed=seed,
            output=seed_folder(output, seed),
            work=work,
            cache_dir=cache_dir,
            precision=precision,
            threads=threads,
            workers=workers,
            quick=quick,
        )
        for path in run(prepare(request)):
            typer.echo(f"Rows in {path}")
    if report or report_only:
        typer.echo(f"Report in {write_report(output)}")


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation")
