"""``python -m evaluation.heads``: train the heads that ship, and measure what they lose on other texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import RESULTS_FOLDER
from evaluation.console import DATA_VARIABLE, new_app, run_command
from evaluation.heads.cards import table, write_cards
from evaluation.heads.measure import found_by_heads
from evaluation.heads.texts import training_texts
from evaluation.heads.train import ENCODERS, train_heads, train_names
from evaluation.jsonfiles import read_json, write_json

WORDNET = Path("/usr/share/wordnet")
RESULTS = RESULTS_FOLDER / "heads.json"

app = new_app()

WordNet = Annotated[Path, typer.Option(help="Folder with WordNet's data files, as Debian's wordnet-base installs them.")]
Encoders = Annotated[list[str] | None, typer.Option("--encoder", help="Encoder; may be given several times.  [default: all]")]


@app.command()
def train(
    wordnet: WordNet = WORDNET,
    encoder: Encoders = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Bytes, or sparse; may be given several times.  [default: all]")
    ] = None,
) -> None:
    """Train the heads and write their files and cards into bsa_st/shipped/heads, which say on how many texts."""
    texts = training_texts(wordnet)
    sizes = tuple(None if one == "sparse" else int(one) for one in size or [])
    for name in encoder or ENCODERS:
        for path in train_heads(name, texts, sizes):
            typer.echo(f"{path.name}: {path.stat().st_size} bytes")
    write_cards(RESULTS)


@app.command()
def names(wordnet: WordNet = WORDNET, encoder: Encoders = None) -> None:
    """Make the named features that ship with the sparse heads."""
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
    rows = {row["head"]: row for row in read_json(RESULTS)} if RESULTS.is_file() else {}
    rows |= {row["head"]: row for row in found_by_heads(data, encoder or list(ENCODERS), training_texts(wordnet))}
    write_json(RESULTS, [rows[head] for head in sorted(rows)])
    write_cards(RESULTS)
    typer.echo(table(RESULTS))


if __name__ == "__main__":
    run_command(app, "evaluation.heads")
