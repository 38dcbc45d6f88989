"""Arguments and options that several commands have, and those that are the fields of :class:`~bsa_st.head.settings.DistillSettings`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bsa_st.head.settings import DistillSettings

ModelName = Annotated[str, typer.Argument(help="Name on the Hub or folder of a BSA model.")]
TextFile = Annotated[Path, typer.Argument(help="Texts: .txt, .txt.gz (one a line), .jsonl, .jsonl.gz or .parquet.")]
BatchSize = Annotated[int, typer.Option(help="Texts per forward pass.")]
CacheDir = Annotated[Path | None, typer.Option(help="Folder of the embedding cache.  [default: ~/.cache/bsa_st]")]
Column = Annotated[str, typer.Option(help="Field that holds the text in .jsonl and .parquet files.")]
Prompt = Annotated[str | None, typer.Option(help="Name of one of the model's prompts.  [default: the one for such texts]")]
Json = Annotated[Path | None, typer.Option("--json", help="Write what is shown to this file too, as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there, of whatever kind.")]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose ``**chosen`` is an option for every field of :class:`DistillSettings`, ``None`` where it is not given."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field))
        for field in dataclasses.fields(DistillSettings)
    ]
    command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return command


def _option(field: dataclasses.Field[Any]) -> Any:
    if isinstance(field.default, tuple):  # of budgets
        help_text = f"{field.metadata['help']} May be given several times.  [default: none]"
        return Annotated[list[str] | None, typer.Option(help=help_text)]
    return Annotated[type(field.default) | None, typer.Option(help=f"{field.metadata['help']}  [default: {field.default}]")]
