"""The command ``bsa-st attach``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def attach(
    encoder: Annotated[str, typer.Argument(help="Name on the Hub or folder of a sentence-transformers model.")],
    folder: Annotated[Path, typer.Argument(help="Where to save the model.")],
    code_bytes: Annotated[int | None, typer.Option(help="Bytes of a code.  [default: 64]")] = None,
    sparse: Annotated[bool, typer.Option("--sparse", help="The sparse head instead: the form that can be read.")] = False,
) -> None:
    """Put a head that ships with the package behind a known encoder and save the model: nothing to train."""
    from bsa_st.cli import models

    models.quiet()
    from bsa_st.hub import check_target, save
    from bsa_st.shipped import attach as run

    check_target(folder)
    save(run(encoder, code_bytes=code_bytes, sparse=sparse), folder)
    typer.echo(f"Model saved in {folder}")
