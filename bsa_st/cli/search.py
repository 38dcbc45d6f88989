"""The commands ``bsa-st index build|add|delete|stats`` and ``bsa-st search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer

from bsa_st.atomic import check_output
from bsa_st.cli.options import BatchSize, Column, ModelName, Overwrite, Prompt
from bsa_st.codes.scoring import Scoring
from bsa_st.errors import BSAError
from bsa_st.search.file import MAGIC
from bsa_st.search.index import CANDIDATES, PROBES, Index

SNIPPET = 80  # characters of a text that are shown

app = typer.Typer(help="Build and change an index of codes.", no_args_is_help=True, rich_markup_mode=None)

IndexFile = Annotated[Path, typer.Argument(help="Index file.")]
Texts = Annotated[Path, typer.Argument(help="Texts (.txt, .jsonl, .gz, .parquet), or codes (.codes, or a folder of shards).")]
TagFile = Annotated[Path | None, typer.Option(help="Tags of the documents, as `bsa-st tags --output` writes them.")]


@app.command()
def build(
    model: ModelName,
    texts: Texts,
    index: Annotated[Path, typer.Argument(help="Index file to write.")],
    lists: Annotated[int | None, typer.Option(help="Inverted lists, or 0.  [default: 0 up to 200,000 documents]")] = None,
    tags: TagFile = None,
    text_column: Column = "text",
    batch_size: BatchSize = 32,
    overwrite: Overwrite = False,
) -> None:
    """Index texts, or the codes that `bsa-st encode` wrote; the documents' ids are 0, 1, 2, ..."""
    check_output(index, MAGIC, overwrite)
    loaded, codes, kept, named = _read(model, texts, tags, text_column, batch_size)
    built = Index.build(codes, kept, tags=named, decoder=loaded, lists=lists)
    size = built.save(index)
    typer.echo(f"{len(built)} documents in {index}: {size} bytes, {size / max(1, len(built)):.1f} per document")


@app.command()
def add(
    model: ModelName,
    texts: Texts,
    index: IndexFile,
    tags: TagFile = None,
    text_column: Column = "text",
    batch_size: BatchSize = 32,
) -> None:
    """Add texts or codes to an index; their ids count up from the largest."""
    loaded, codes, kept, named = _read(model, texts, tags, text_column, batch_size)
    with Index.edit(index, model=loaded) as opened:
        ids = opened.add(codes, texts=kept, tags=named)
    typer.echo(f"{len(ids)} documents added with the ids {ids[0]} to {ids[-1]}; {len(opened)} in {index}")


@app.command()
def delete(index: IndexFile, ids: Annotated[list[int], typer.Argument(help="Ids of documents.")]) -> None:
    """Delete documents from an index."""
    with Index.edit(index) as opened:
        opened.delete(np.array(ids, dtype=np.int64))
    typer.echo(f"{len(ids)} documents deleted; {len(opened)} in {index}")


@app.command()
def stats(index: IndexFile) -> None:
    """Numbers of documents and lists, and bytes of every part."""
    figures = Index.open(index).stats()._asdict()
    parts = {f"{name}_bytes": size for name, size in figures.pop("part_bytes").items()}
    for name, value in {**figures, **parts, "file_bytes": index.stat().st_size}.items():
        each = f"{value / figures['documents']:>10.1f} per document" if "bytes" in name and figures["documents"] else ""
        typer.echo(f"{name.replace('_', ' '):<20}{value:>18,}{each}")


def search(
    model: ModelName,
    index: IndexFile,
    queries: Annotated[list[str], typer.Argument(help="Texts to search for.")],
    top_k: Annotated[int, typer.Option(help="Hits per query.")] = 10,
    scoring: Annotated[str, typer.Option(help=f"{', '.join(get_args(Scoring))}.")] = "asymmetric",
    probes: Annotated[int, typer.Option(help="Lists that are looked at.")] = PROBES,
    candidates: Annotated[int, typer.Option(help="Documents that are scored exactly.")] = CANDIDATES,
    prompt_name: Prompt = None,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    with_tags: Annotated[list[str], typer.Option(help="Tag that a hit must have; may be repeated.")] = [],  # noqa: B006
    without_tags: Annotated[list[str], typer.Option(help="Tag that a hit must not have; may be repeated.")] = [],  # noqa: B006
    facets: Annotated[bool, typer.Option("--facets", help="Count the tags of the hits.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say which names, and what else, made a score.")] = False,
) -> None:
    """Search an index for texts; shows score, id and the beginning of each document where the index was built from texts."""
    from bsa_st.concepts import explain as explaining
    from bsa_st.hub.folder import load

    if scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    loaded = load(model)
    opened = Index.open(index, model=loaded)
    options: dict[str, Any] = {"scoring": scoring, "prompt_name": prompt_name}
    limits: dict[str, Any] = {"with_tags": with_tags, "without_tags": without_tags}
    rankings = opened.search(queries, top_k, probes=probes, candidates=candidates, threads=threads, **limits, **options)
    for query, ranking in zip(queries, rankings, strict=True):
        if len(queries) > 1:
            typer.echo(query)
        for name, score, text in zip(ranking.ids.tolist(), ranking.scores.tolist(), opened.texts(ranking.ids), strict=True):
            typer.echo(f"{score:8.4f} {name:>8}  {' '.join(text.split())[:SNIPPET]}".rstrip())
            if explain:
                told = explaining.explain(loaded, query, text or f"document {name}", document=opened.codes([name]), **options)
                typer.echo(f"{'':19}{explaining.match_line(told)}")
        if facets:
            typer.echo("tags: " + ", ".join(f"{name} {count}" for name, count in opened.facets(ranking.ids)))


def _read(model: str, path: Path, tags: Path | None, column: str, batch_size: int) -> tuple[Any, ...]:
    """The model, the codes of the documents, their texts where there are texts, and their tags where there is such a file."""
    from bsa_st.codes.shards import load_codes
    from bsa_st.encoding.encode import encode
    from bsa_st.hub.folder import load
    from bsa_st.inputs.texts import json_lines, read_texts

    named = None if tags is None else [record["tags"] for _, record in json_lines(tags, "tags")]
    loaded, kept = load(model), None
    if path.suffix == ".codes" or path.is_dir():
        codes = load_codes(path)
    else:
        kept = read_texts(path, column)
        codes = encode(loaded, kept, batch_size=batch_size, show_progress_bar=True)
    return loaded, codes, kept, named
