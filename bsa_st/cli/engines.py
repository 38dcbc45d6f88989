"""The commands ``bsa-st engine load`` and ``bsa-st engine search``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from bsa_st.cli.options import ModelName, Prompt
from bsa_st.errors import BSAError

app = typer.Typer(help="Load codes into an engine, and search there.", no_args_is_help=True, rich_markup_mode=None)

ADDRESSES = """lancedb:///folder, postgresql://user:password@host/database, qdrant://host:6333, qdrant-edge:///folder,
elasticsearch+https://user:password@host:9200, opensearch+https://..., duckdb:///file."""
Url = Annotated[str, typer.Option(help=ADDRESSES)]
Collection = Annotated[str, typer.Option(help="Collection, index or table.")]
ApiKey = Annotated[str | None, typer.Option(envvar="BSA_ST_API_KEY", show_envvar=True, help="API key.  [default: none]")]
Retries = Annotated[int, typer.Option(help="Times that a request is made again, after 0.5, 1, 2, ... seconds.", min=0)]


@app.command()
def load(
    codes: Annotated[Path, typer.Argument(help="Codes file or folder of shards that `bsa-st encode` wrote.")],
    url: Url,
    collection: Collection = "bsa",
    payload: Annotated[Path | None, typer.Option(help="Text, tags, other fields (.jsonl), or texts.  [default: none]")] = None,
    first_id: Annotated[int, typer.Option(help="Id of the first document; the others count up from it.", min=0)] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Documents per request.  [default: the engine's]", min=1)] = None,
    index: Annotated[bool | None, typer.Option(help="Build the engine's index.  [default: from 100,000 documents on]")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace other documents that have the same ids.")] = False,
    shards: Annotated[int | None, typer.Option(help="Shards of a new collection.  [default: the server's]", min=1)] = None,
    replicas: Annotated[int | None, typer.Option(help="Copies of each shard.  [default: the server's]", min=0)] = None,
    retries: Retries = 7,
    api_key: ApiKey = None,
) -> None:
    """Stream a codes file into a collection. Safe to run again: what is there is passed over, nothing is doubled."""
    from bsa_st.engines.load import load_codes

    with _connect(url, collection, retries, api_key=api_key, index=index, shards=shards, replicas=replicas) as opened:
        settings: dict[str, Any] = {"first_id": first_id, "batch_size": batch_size, "replace": replace}
        done = load_codes(opened, codes, payloads=payload, attempts=retries + 1, show_progress_bar=True, **settings)
    typer.echo(f"{done.documents} documents in {collection}: {done.sent} sent, {done.found} were there")


@app.command()
def search(
    model: ModelName,
    queries: Annotated[list[str], typer.Argument(help="Texts to search for.")],
    url: Url,
    collection: Collection = "bsa",
    top_k: Annotated[int, typer.Option(help="Hits per query.", min=1)] = 10,
    filter: Annotated[list[str], typer.Option(help="tags=value or field=value of hits; may be repeated.")] = [],  # noqa: B006
    candidates: Annotated[int, typer.Option(help="Documents that the engine names and that are scored then.", min=1)] = 200,
    prompt_name: Prompt = None,
    retries: Retries = 7,
    api_key: ApiKey = None,
) -> None:
    """Search a collection for texts; shows score, id and payload."""
    from bsa_st.engines.load import retrying
    from bsa_st.hub.folder import load as load_model

    wanted, call = _filter(filter), retrying(retries + 1)
    options: dict[str, Any] = {"filter": wanted, "candidates": candidates, "prompt_name": prompt_name}
    with _connect(url, collection, retries, api_key=api_key) as opened:
        call(opened.count)  # before the model is loaded, which takes seconds: is there such a collection?
        rankings = call(opened.search, queries, top_k, model=load_model(model), **options)
        for query, ranking in zip(queries, rankings, strict=True):
            if len(queries) > 1:
                typer.echo(query)
            fields = call(opened.payloads, ranking.ids)
            for name, score, payload in zip(ranking.ids.tolist(), ranking.scores.tolist(), fields, strict=True):
                shown = json.dumps(payload, ensure_ascii=False) if payload else ""
                typer.echo(f"{score:8.4f} {name:>8}  {shown}".rstrip())


def _connect(url: str, collection: str, retries: int, **options: Any) -> Any:
    from bsa_st.engines import connect
    from bsa_st.engines.load import retrying

    logging.getLogger("httpx").setLevel(logging.ERROR)  # what it warns of is in the one line of the error
    given = {key: value for key, value in options.items() if value is not None}
    if not url.startswith(("qdrant:", "qdrant+", "elasticsearch", "opensearch")):
        given.pop("api_key", None)  # from the environment, for other engines
    return retrying(retries + 1)(connect, url, collection, **given)


def _filter(entries: list[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for entry in entries:
        field, separator, value = entry.partition("=")
        if not field or not separator:
            raise BSAError(f"a filter is written field=value, got {entry!r}")
        wanted.setdefault(field, []).append(value)
    return wanted
