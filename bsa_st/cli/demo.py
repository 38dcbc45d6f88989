"""The command ``bsa-st demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bsa_st.atomic import write_json
from bsa_st.cli.options import CacheDir


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write the model, the index, the page and the table.")] = Path(
        "bsa-demo"
    ),
    train: Annotated[
        bool, typer.Option("--train", help="Fit a head to the concepts first, in place of the one that ships.")
    ] = False,
    concepts: Annotated[int | None, typer.Option(help="Use only the first so many concepts.  [default: all]", min=300)] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Search the Human Phenotype Ontology with a head that ships, beside float vectors and their quantised forms."""
    from bsa_st.cli import models

    models.quiet()
    from bsa_st.demo.run import TABLE, format_report, run_demo

    result = run_demo(folder, train=train, concepts=concepts, cache_dir=cache_dir, say=typer.echo)
    typer.echo(format_report(result, folder))
    write_json(folder / TABLE, result)
