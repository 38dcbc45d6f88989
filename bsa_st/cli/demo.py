"""The command ``bsa-st demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bsa_st.atomic import check_output, write_json
from bsa_st.cli.options import CacheDir, Json


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write the model, the index and the page.")] = Path("bsa-demo"),
    train: Annotated[
        bool, typer.Option("--train", help="Fit a head to the concepts first, in place of the one that ships.")
    ] = False,
    concepts: Annotated[int | None, typer.Option(help="Use only the first so many concepts.  [default: all]", min=300)] = None,
    cache_dir: CacheDir = None,
    json: Json = None,
) -> None:
    """Search the Human Phenotype Ontology with a head that ships, beside float vectors and their quantised forms."""
    from bsa_st.cli import models

    models.quiet()
    from bsa_st.demo.run import format_report, run_demo

    if json is not None:
        check_output(json, b"{")
    result = run_demo(folder, train=train, concepts=concepts, cache_dir=cache_dir, say=typer.echo)
    typer.echo(format_report(result, folder))
    if json is not None:
        write_json(json, result)
