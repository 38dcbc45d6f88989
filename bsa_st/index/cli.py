"""The commands ``bsa-st index build|add|delete|stats`` and ``bsa-st search``.

Beside an index of texts its snippets are kept, ``<index>.texts.jsonl``, one object a line with ``id`` and ``text``, so that hits can be shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bsa_st.atomic import atomic_file
from bsa_st.errors import BSAError

SNIPPET = 80
EXPLAINED = {"two-stage": "asymmetric", "asymmetric": "asymmetric", "decoded": "decoded", "overlap": "overlap", "idf": "idf"}
"""Scorings that `search --explain` takes apart, and what :func:`bsa_st.explain` calls them."""

app = typer.Typer(help="Build and change an index of codes.", no_args_is_help=True, rich_markup_mode=None)

IndexFile = Annotated[Path, typer.Argument(help="Index file.")]
Model = Annotated[str, typer.Argument(help="Name on the Hub or folder of the BSA model.")]
Texts = Annotated[
    Path, typer.Argument(help="Texts (.txt[.gz], .jsonl[.gz], .parquet), or codes of them (.codes, or a folder of shards).")
]
Column = Annotated[str, typer.Option(help="Field that holds the text in .jsonl and .parquet files.")]
BatchSize = Annotated[int, typer.Option(help="Texts per forward pass.")]


@app.command()
def build(
    model: Model,
    texts: Texts,
    index: Annotated[Path, typer.Argument(help="Index file to write.")],
    text_column: Column = "text",
    batch_size: BatchSize = 32,
) -> None:
    """Index texts, or the codes that `bsa-st encode` wrote; the documents' ids are 0, 1, 2, ..."""
    from bsa_st.hub import load
    from bsa_st.index import Index

    documents, snippets = _documents(texts, text_column)
    loaded = load(model)
    built = Index.build(_codes(loaded, documents, batch_size), decoder=loaded)
    size = built.save(index)
    if snippets is not None:
        _write_snippets(index, dict(enumerate(snippets)))
    typer.echo(f"{len(built)} documents in {index}: {size} bytes, {size / max(1, len(built)):.1f} per document")


@app.command()
def add(model: Model, texts: Texts, index: IndexFile, text_column: Column = "text", batch_size: BatchSize = 32) -> None:
    """Add texts or codes to an index; their ids count up from the largest."""
    from bsa_st.hub import load
    from bsa_st.index import Index

    loaded = load(model)
    opened = Index.open(index, model=loaded)
    documents, snippets = _documents(texts, text_column)
    ids = opened.add(_codes(loaded, documents, batch_size))
    if snippets is not None:
        _write_snippets(index, _read_snippets(index) | dict(zip(ids.tolist(), snippets, strict=True)))
    opened.save(index)
    typer.echo(f"{len(ids)} documents added with the ids {ids[0]} to {ids[-1]}; {len(opened)} in {index}")


@app.command()
def delete(
    index: IndexFile,
    ids: Annotated[list[int], typer.Argument(help="Ids of documents.")],
    compact: Annotated[bool, typer.Option(help="Free the room of all deleted documents.")] = False,
) -> None:
    """Delete documents from an index."""
    from bsa_st.index import Index

    opened = Index.open(index)
    opened.delete(np.array(ids, dtype=np.int64))
    if compact:
        opened.compact()
    opened.save(index)
    typer.echo(f"{len(ids)} documents deleted; {len(opened)} in {index}")


@app.command()
def stats(index: IndexFile) -> None:
    """Numbers of documents and features, and bytes of every part once the index is ready to search."""
    from bsa_st.index import Index

    figures = Index.open(index).prepare().stats()
    for name, value in {**figures._asdict(), "file_bytes": index.stat().st_size}.items():
        shown = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
        each = f"{value / figures.documents:>10.1f} per document" if "bytes" in name and figures.documents else ""
        typer.echo(f"{name.replace('_', ' '):<20}{shown:>18}{each}")


def search(
    model: Model,
    index: IndexFile,
    queries: Annotated[list[str], typer.Argument(help="Texts to search for.")],
    top_k: Annotated[int, typer.Option(help="Hits per query.")] = 10,
    scoring: Annotated[
        str, typer.Option(help="two-stage, asymmetric, decoded, overlap, cosine, jaccard or idf.")
    ] = "two-stage",
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of one of the model's prompts.  [default: query, if it has one]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Say under each hit which features made its score.")] = False,
) -> None:
    """Search an index for texts; shows score, id and the beginning of each document where the index was built from texts."""
    if explain and scoring not in EXPLAINED:
        raise BSAError(f"hits of the scoring {scoring!r} cannot be explained; use one of {', '.join(EXPLAINED)}")

    from bsa_st.explain.wording import explain_hit
    from bsa_st.hub import load
    from bsa_st.index import Index

    loaded = load(model)
    opened = Index.open(index, model=loaded)
    hits = opened.search(queries, top_k, scoring=scoring, prompt_name=prompt_name, threads=threads)  # type: ignore[arg-type]
    snippets = _read_snippets(index)
    for query, ids, scores in zip(queries, hits.ids.tolist(), hits.scores.tolist(), strict=True):
        if len(queries) > 1:
            typer.echo(query)
        for name, score in zip(ids, scores, strict=True):
            if name >= 0:
                typer.echo(f"{score:8.4f} {name:>8}  {snippets.get(name, '')}".rstrip())
                if explain:
                    text, code = snippets.get(name, f"document {name}"), opened.codes([name])
                    idf = opened.idf() if scoring == "idf" else None
                    options = {"code": code, "scoring": EXPLAINED[scoring], "idf": idf, "prompt_name": prompt_name}
                    line = explain_hit(loaded, query, text, **options)  # type: ignore[arg-type]
                    typer.echo(f"{'':19}{line}")


def _documents(path: Path, column: str) -> tuple[Any, list[str] | None]:
    """Codes and None, or texts and their beginnings."""
    from bsa_st.shards.reader import load_codes
    from bsa_st.texts import read_texts

    if path.suffix == ".codes" or path.is_dir():
        return load_codes(path), None
    texts = read_texts(path, column)
    return texts, [" ".join(text.split())[:SNIPPET] for text in texts]


def _codes(model: Any, documents: Any, batch_size: int) -> Any:
    from bsa_st.codes import BinaryCodes
    from bsa_st.index.models import encode_documents

    return documents if isinstance(documents, BinaryCodes) else encode_documents(model, documents, batch_size, True)


def _snippet_file(index: Path) -> Path:
    return index.with_name(index.name + ".texts.jsonl")


def _write_snippets(index: Path, snippets: dict[int, str]) -> None:
    lines: Iterable[str] = (
        json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in snippets.items()
    )
    with atomic_file(_snippet_file(index)) as file:
        file.writelines(line.encode() for line in lines)


def _read_snippets(index: Path) -> dict[int, str]:
    path = _snippet_file(index)
    if not path.is_file():
        return {}
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {int(record["id"]): str(record["text"]) for record in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BSAError(f"{path}: not the texts of an index: {error}") from error
