"""``python -m demo [--train] [FOLDER]``."""

from pathlib import Path
from typing import Annotated

import typer

from bsa_st.cli.main import main, say_little
from bsa_st.cli.options import CacheDir

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write model, index, page and table.")] = Path("build/demo"),
    train: Annotated[bool, typer.Option("--train", help="Fit a head to the concepts, in place of the one that ships.")] = False,
    concepts: Annotated[int | None, typer.Option(help="Use only the first so many concepts.  [default: all]", min=300)] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Search the Human Phenotype Ontology with a head that ships, beside float vectors and their quantised forms."""
    say_little()
    from demo.run import run_demo

    run_demo(folder, train=train, concepts=concepts, cache_dir=cache_dir, say=typer.echo)


main(app)
