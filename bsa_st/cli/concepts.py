"""The commands ``bsa-st names``, ``tags``, ``explain`` and ``explore``: how codes are read."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from bsa_st.atomic import atomic_file, check_output, write_json
from bsa_st.cli.options import BatchSize, CacheDir, Column, Json, ModelName, Overwrite, Prompt, TextFile
from bsa_st.errors import BSAError

Limit = Annotated[int, typer.Option(help="Texts drawn at random at most.", min=2)]


def names(
    model: Annotated[str, typer.Argument(help="Folder of a BSA model; the names are written into it.")],
    texts: TextFile,
    names: Annotated[Path | None, typer.Option(help="One a line, or .jsonl with name and others.  [default: words]")] = None,
    hidden_dim: Annotated[int | None, typer.Option(help="Most names.  [default: 4,096; all of --names]", min=2)] = None,
    k: Annotated[int, typer.Option(help="Names of a text on average, and at most.", min=1)] = 12,
    text_column: Column = "text",
    limit: Limit = 20_000,
    cache_dir: CacheDir = None,
) -> None:
    """Give a model named features, from the words of texts or from a list, and keep them in its folder."""
    from bsa_st.concepts.names import name_features
    from bsa_st.hub.checks import FOLDER
    from bsa_st.hub.folder import load, write_names

    folder = Path(model) / FOLDER
    if not folder.is_dir():
        raise BSAError(f"{model} is no folder of a BSA model on this disk")
    given, loaded = None if names is None else _read_names(names), load(model)
    sample, rows = _sample(loaded, texts, text_column, limit, cache_dir)
    found = name_features(loaded, sample, given, hidden_dim=hidden_dim, k=k, embeddings=rows, show_progress_bar=True)
    write_names(found, folder)
    merged = sum(map(len, found.aliases))
    typer.echo(f"{len(found):,} names ({merged:,} more are aliases) in {folder}, from {len(sample):,} texts")
    typer.echo(f"The most frequent is on {found.rates.max():.1%} of the texts, the rarest on {found.rates.min():.2%}")


def tags(
    model: ModelName,
    texts: TextFile,
    output: Annotated[Path | None, typer.Option(help=".jsonl of text, tags and strengths.  [default: show them]")] = None,
    text_column: Column = "text",
    batch_size: BatchSize = 32,
    overwrite: Overwrite = False,
) -> None:
    """The named features of each text, strongest first. In an engine, tags is a keyword field to filter and count by."""
    from bsa_st.concepts.atlas import clip
    from bsa_st.concepts.names import stream_tags
    from bsa_st.hub.folder import load
    from bsa_st.inputs.texts import stream_texts

    if output is not None:
        check_output(output, b'{"text": ', overwrite)
    found = stream_tags(load(model), stream_texts(texts, text_column), batch_size=batch_size)
    told = zip(stream_texts(texts, text_column), found, strict=True)
    if output is None:
        for text, own in told:
            typer.echo(f"{clip(text, 80)}\n    {', '.join(f'{name} {value:.2f}' for name, value in own) or 'no name fits'}")
        return
    count = 0
    with atomic_file(output) as file:
        for text, own in told:
            line: dict[str, Any] = {"text": text, "tags": [name for name, _ in own]}
            line["strengths"] = [round(value, 4) for _, value in own]
            file.write((jsonlib.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            count += 1
    typer.echo(f"Tags of {count:,} texts in {output}")


def explain(
    model: ModelName,
    a: Annotated[str, typer.Argument(help="First text, the query.")],
    b: Annotated[str, typer.Argument(help="Second text, the document.")],
    scoring: Annotated[str, typer.Option(help="float; asymmetric: query, stored code; decoded: both codes.")] = "float",
    top: Annotated[int, typer.Option(help="Names to show.", min=1)] = 10,
    prompt_name: Prompt = None,
    json: Json = None,
) -> None:
    """Say why two texts match: their score as a sum over named features and everything else."""
    from bsa_st.concepts import explain as explaining
    from bsa_st.hub.folder import load

    if json is not None:
        check_output(json, b"{")
    result = explaining.explain(load(model), a, b, scoring=scoring, prompt_name=prompt_name)  # type: ignore[arg-type]
    typer.echo(explaining.describe(result, top))
    if json is not None:
        write_json(json, result.as_dict())


def explore(
    model: ModelName,
    texts: TextFile,
    page: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("names.html"),
    text_column: Column = "text",
    limit: Limit = 20_000,
    cache_dir: CacheDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one self-contained HTML page about a model's named features, shown by texts."""
    from bsa_st.concepts.atlas import build_atlas
    from bsa_st.concepts.names import names_of
    from bsa_st.concepts.page import BEGINNING, write_page
    from bsa_st.hub.folder import load

    check_output(page, BEGINNING, overwrite)
    loaded = load(model)
    dictionary = names_of(loaded)
    sample, rows = _sample(loaded, texts, text_column, limit, cache_dir)
    size = write_page(build_atlas(dictionary, sample, rows), page, f"Names of {Path(model).resolve().name}")
    shown = f"page in {page} ({size / 1e6:.1f} MB); open it in a browser, also offline"
    typer.echo(f"{len(dictionary):,} names in {len(sample):,} texts; {shown}")


def _sample(model: Any, path: Path, column: str, limit: int, cache_dir: Path | None) -> tuple[list[str], Any]:
    """Texts drawn from a file, in its order, with their embeddings, which are cached."""
    import numpy as np

    from bsa_st.encoding.encode import split_model
    from bsa_st.inputs.embeddings import cached_embeddings
    from bsa_st.inputs.prompts import document_prompt, under_prompt
    from bsa_st.inputs.texts import read_texts

    encoder, _ = split_model(model)
    everything = read_texts(path, column)
    chosen = np.sort(np.random.default_rng(0).permutation(len(everything))[:limit])
    texts = [everything[place] for place in chosen]
    return texts, cached_embeddings(under_prompt(encoder, document_prompt(encoder)), texts, cache_dir=cache_dir)


def _read_names(path: Path) -> list[str] | dict[str, list[str]]:
    from bsa_st.inputs.texts import json_lines, read_texts

    if ".jsonl" not in path.suffixes:
        return read_texts(path)
    found: dict[str, list[str]] = {}
    for number, entry in json_lines(path, "name"):
        name, others = entry["name"], entry.get("others", [])
        if not isinstance(others, list) or not all(isinstance(text, str) for text in (name, *others)):
            raise BSAError(f"{path}: line {number}: name must be a text and others a list of texts")
        found[name] = others
    return found
