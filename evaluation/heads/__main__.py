"""``python -m evaluation.heads``: train the heads that ship, and measure what they lose on other texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import RESULTS_FOLDER
from evaluation.comparison.cli import DATA_VARIABLE
from evaluation.console import run_command

WORDNET = Path("/usr/share/wordnet")
RESULTS = RESULTS_FOLDER / "heads.json"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

WordNet = Annotated[Path, typer.Option(help="Folder with WordNet's data files, as Debian's wordnet-base installs them.")]
Encoders = Annotated[list[str] | None, typer.Option("--encoder", help="Encoder; may be given several times.  [default: all]")]


@app.command()
def train(
    wordnet: WordNet = WORDNET,
    encoder: Encoders = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Bytes, or sparse; may be given several times.  [default: all]")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Most texts that are learnt from.  [default: all that are embedded]")] = None,
) -> None:
    """Train the heads and write their files and cards into bsa_st/shipped/heads, which say on how many texts."""
    from evaluation.heads.cards import write_cards
    from evaluation.heads.texts import training_texts
    from evaluation.heads.train import ENCODERS
    from evaluation.heads.train import train as run

    texts = training_texts(wordnet)
    sizes = tuple(None if one == "sparse" else int(one) for one in size or [])
    for name in encoder or list(ENCODERS):
        for path in run(name, texts, sizes, rows):
            typer.echo(f"{path.name}: {path.stat().st_size} bytes")
    write_cards(RESULTS)


@app.command()
def names(wordnet: WordNet = WORDNET, encoder: Encoders = None) -> None:
    """Make the named features that ship with the sparse heads."""
    from evaluation.heads.cards import write_cards
    from evaluation.heads.texts import training_texts
    from evaluation.heads.train import ENCODERS, train_names

    for name in encoder or [name for name, known in ENCODERS.items() if None in known.sizes]:
        path = train_names(name, training_texts(wordnet))
        typer.echo(f"{path.name}: {path.stat().st_size} bytes")
    write_cards(RESULTS)


@app.command()
def measure(
    data: Annotated[Path, typer.Option(envvar=DATA_VARIABLE, help="Folder with text_mix/mix.txt.gz.")],
    wordnet: WordNet = WORDNET,
    encoder: Encoders = None,
) -> None:
    """Count what the heads find on general sentences, beside heads trained on those; writes evaluation/results/heads.json and the cards."""
    from evaluation.heads.cards import table, write_cards
    from evaluation.heads.measure import measure as run
    from evaluation.heads.texts import training_texts
    from evaluation.heads.train import ENCODERS
    from evaluation.jsonfiles import read_json, write_json

    names = encoder or list(ENCODERS)
    rows = run(data, names, training_texts(wordnet))
    heads = {row["head"] for row in rows}
    kept = [row for row in read_json(RESULTS) if row["head"] not in heads] if RESULTS.is_file() else []
    write_json(RESULTS, sorted(kept + rows, key=lambda row: str(row["head"])))
    write_cards(RESULTS)
    typer.echo(table(RESULTS))


if __name__ == "__main__":
    run_command(app, "evaluation.heads")
