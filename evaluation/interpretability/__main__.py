"""The command ``python -m evaluation.interpretability``: measure, write the JSON, render the document and its plot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from bsa_st import BSAError, DistillSettings
from evaluation.cli import DATA_VARIABLE
from evaluation.console import run_command
from evaluation.interpretability.document import write_document

HERE = Path(__file__).parent.parent

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def interpretability(
    data: Annotated[
        Path | None, typer.Option(help="Folder with text_mix and the cls_ folders.  [default: $BSA_ST_DATA]")
    ] = None,
    hidden_dim: Annotated[int, typer.Option(help="Features of every head.")] = 4096,
    k: Annotated[int, typer.Option(help="Active features of every head.")] = 64,
    steps: Annotated[int, typer.Option(help="Training steps of every head.")] = 1000,
    train_limit: Annotated[int, typer.Option(help="Short training texts drawn at random.", min=2)] = 150_000,
    label_texts: Annotated[int, typer.Option(help="Training texts that labels are made from.", min=10)] = 50_000,
    output: Annotated[Path, typer.Option(help="File of the results; the document goes beside it.")] = HERE
    / "interpretability.json",
    work: Annotated[Path, typer.Option(help="Folder of trained heads, for resuming.")] = Path("build/interpretability"),
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")] = None,
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Only write the document from the results there are.")
    ] = False,
) -> None:
    """Measure how well single features can be read: probing, stability between seeds, labels that predict firing."""
    if not render_only:
        from evaluation.interpretability.measure import measure

        place = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
        if place is None or not place.is_dir():
            raise BSAError(f"data folder not found: {place}; give --data DIR")
        settings = DistillSettings(hidden_dim=hidden_dim, k=k, steps=steps)
        result = measure(place, settings, train_limit, label_texts, work, cache_dir)
        output.write_text(json.dumps(result, indent=1) + "\n")
        typer.echo(f"Results in {output}")
    if not output.is_file():
        raise BSAError(f"file not found: {output}; run without --render-only first")
    typer.echo(f"Document in {write_document(output)}")


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation.interpretability")


if __name__ == "__main__":
    main()
