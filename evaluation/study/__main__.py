"""The command ``python -m evaluation.study``: measure what is missing, then write STUDY.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.console import Data, given, new_app, run_command, split_names

app = new_app()


@app.command()
def study(
    data: Data = None,
    sections: Annotated[str, typer.Option(help="Sections to measure, separated by commas.  [default: all]")] = "",
    work: Annotated[Path, typer.Option(help="Folder of fits, that of python -m evaluation.")] = Path("build/evaluation"),
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only write the page from the results that are there.")
    ] = False,
) -> None:
    """Measure what reviewers asked for and write the page. A finished cell is not measured again."""
    from evaluation.data.encoders import MINILM
    from evaluation.data.inputs import Inputs
    from evaluation.methods import choose
    from evaluation.study.page import RESULTS, SECTIONS, write_page
    from evaluation.study.runner import measure

    chosen = choose(split_names(sections), list(SECTIONS), "section")
    if not report_only:
        inputs = Inputs(MINILM, given(data), with_tasks=False, work=work)
        for name in chosen:
            measure(name, SECTIONS[name], inputs, RESULTS)
    typer.echo(f"Page in {write_page()}")


if __name__ == "__main__":
    run_command(app, "evaluation.study")
