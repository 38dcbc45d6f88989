"""What the commands of this folder have in common: options, their own progress, not that of the libraries, and every user error as one line."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from bsa_st import BSAError

DATA_VARIABLE = "BSA_ST_DATA"
Data = Annotated[
    Path | None,
    typer.Option(envvar=DATA_VARIABLE, help="Folder with text_mix/mix.txt.gz, retrieval_*, sts_* and cls_* folders."),
]


def given(data: Path | None) -> Path:
    """The data folder; raises :class:`BSAError` where it was not given."""
    if data is None:
        raise BSAError(f"give --data or set {DATA_VARIABLE}")
    return data


def split_names(names: str) -> list[str]:
    """Names that commas separate."""
    return [name.strip() for name in names.split(",") if name.strip()]


def new_app() -> typer.Typer:
    """An empty command line in the style of this folder."""
    options = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=options)


def run_command(app: typer.Typer, name: str) -> None:
    """Run a command of this folder; print a :class:`BSAError` as one line and exit with status 2."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("evaluation").setLevel(logging.INFO)
    logging.getLogger("mteb.models.model_meta").setLevel(logging.ERROR)  # it guesses at encoders whose ModelMeta is given
    warnings.filterwarnings("ignore", category=FutureWarning)  # mteb calls names that sentence-transformers has renamed
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(prog_name=f"python -m {name}")
    except BSAError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted; run the same command again to continue\n")
        sys.exit(130)
