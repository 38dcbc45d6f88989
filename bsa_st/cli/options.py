"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BatchSize = Annotated[int, typer.Option(help="Texts per forward pass.")]
CacheDir = Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")]
Column = Annotated[str, typer.Option(help="Field that holds the text in .jsonl and .parquet files.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write what is shown to this file too, as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there, of whatever kind.")]
