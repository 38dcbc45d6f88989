"""What the commands of this folder print: their own progress, not that of the libraries; every user error as one line."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from bsa_st import BSAError


def set_up_console() -> None:
    """Once in every process, before the libraries are imported where that is possible."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("evaluation").setLevel(logging.INFO)
    logging.getLogger("mteb.models.model_meta").setLevel(logging.ERROR)  # it guesses at encoders whose ModelMeta is given
    warnings.filterwarnings("ignore", category=FutureWarning)  # mteb calls names that sentence-transformers has renamed
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def run_command(app: typer.Typer, name: str) -> None:
    """Run a command of this folder; print a :class:`BSAError` as one line and exit with status 2."""
    set_up_console()
    try:
        app(prog_name=f"python -m {name}")
    except BSAError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted; run the same command again to continue\n")
        sys.exit(130)
