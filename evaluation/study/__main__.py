"""The command ``python -m evaluation.study``: measure what is missing, then write STUDY.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bsa_st import BSAError
from evaluation.comparison.cli import DATA_VARIABLE
from evaluation.console import run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def study(
    data: Annotated[
        Path | None, typer.Option(envvar=DATA_VARIABLE, help="Folder with general sentences and task folders.")
    ] = None,
    sections: Annotated[str, typer.Option(help="Sections to measure, separated by commas.  [default: all]")] = "",
    work: Annotated[Path, typer.Option(help="Folder of fitted methods, that of python -m evaluation.")] = Path(
        "build/evaluation"
    ),
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only write the page from the results that are there.")
    ] = False,
) -> None:
    """Measure what reviewers asked for and write the page. A finished cell is not measured again."""
    from evaluation.data.encoders import MINILM
    from evaluation.methods import choose
    from evaluation.study.page import RESULTS, SECTIONS, write_page
    from evaluation.study.runner import Inputs, measure

    chosen = choose([name.strip() for name in sections.split(",") if name.strip()], list(SECTIONS), "section")
    if not report_only:
        if data is None:
            raise BSAError(f"give --data or set {DATA_VARIABLE}")
        inputs = Inputs(MINILM, data, with_tasks=False, work=work)
        for name in chosen:
            measure(name, SECTIONS[name], inputs, RESULTS)
    typer.echo(f"Page in {write_page()}")


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation.study")


if __name__ == "__main__":
    main()
