"""The commands ``bsa-st engine load`` and ``bsa-st engine search``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from bsa_st.errors import BSAError

app = typer.Typer(
    help="Load codes into an engine that runs already, and search there.", no_args_is_help=True, rich_markup_mode=None
)

Url = Annotated[str, typer.Option(help="Address of the server, e.g. http://localhost:6333; for qdrant-edge a folder.")]
Collection = Annotated[str, typer.Option(help="Collection, index or table.")]
EngineName = Annotated[
    str | None,
    typer.Option(
        help="qdrant, qdrant-edge, elasticsearch, opensearch or postgres.  [default: postgres for postgresql://, else required]"
    ),
]
ApiKey = Annotated[str | None, typer.Option(envvar="BSA_ST_API_KEY", show_envvar=True, help="API key.  [default: none]")]


@app.command()
def load(
    codes: Annotated[Path, typer.Argument(help="Codes file or folder of shards that `bsa-st encode` wrote.")],
    url: Url,
    collection: Collection = "bsa",
    engine: EngineName = None,
    payload: Annotated[
        Path | None, typer.Option(help="Fields of the documents: .jsonl[.gz], one object per text.  [default: none]")
    ] = None,
    first_id: Annotated[int, typer.Option(help="Id of the first document; the others count up from it.", min=0)] = 0,
    batch_size: Annotated[int, typer.Option(help="Documents per request.", min=1)] = 1000,
    asymmetric: Annotated[
        bool | None,
        typer.Option(
            "--asymmetric/--symmetric",
            help="Keep what float queries need.  [default: with --model]",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model that made the codes, for float queries.  [default: none]")] = None,
    form: Annotated[str, typer.Option(help="PostgreSQL: column type of the codes, sparsevec or bit.")] = "sparsevec",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace documents of other files that have the same ids.")
    ] = False,
    shards: Annotated[int | None, typer.Option(help="Shards of a new collection.  [default: the server's]", min=1)] = None,
    replicas: Annotated[int | None, typer.Option(help="Copies of each shard.  [default: the server's]", min=0)] = None,
    retries: Annotated[int, typer.Option(help="Times that a request is made again, after 0.5, 1, 2, ... seconds.", min=0)] = 4,
    api_key: ApiKey = None,
) -> None:
    """Stream a codes file into a collection. Safe to run again: what is there is passed over, nothing is doubled."""
    from bsa_st.engines.load import load_codes

    decoder = None if model is None else _model(model)
    with _connect(engine, url, collection, api_key, retries + 1, shards=shards, replicas=replicas) as opened:
        done = load_codes(
            opened,
            codes,
            payloads=payload,
            first_id=first_id,
            batch_size=batch_size,
            asymmetric=asymmetric,
            decoder=decoder,
            form=form,
            replace=replace,
            attempts=retries + 1,
            show_progress_bar=True,
        )
    typer.echo(f"{done.documents} documents in {collection}: {done.sent} sent, {done.found} were there")


@app.command()
def search(
    model: Annotated[str, typer.Argument(help="Name on the Hub or folder of the BSA model that made the codes.")],
    queries: Annotated[list[str], typer.Argument(help="Texts to search for.")],
    url: Url,
    collection: Collection = "bsa",
    engine: EngineName = None,
    top_k: Annotated[int, typer.Option(help="Hits per query.", min=1)] = 10,
    scoring: Annotated[str, typer.Option(help="asymmetric, overlap, or in PostgreSQL with bits jaccard.")] = "asymmetric",
    filter: Annotated[
        list[str] | None, typer.Option(help="field=value that hits must have; several values of a field are alternatives.")
    ] = None,
    probes: Annotated[
        int | None, typer.Option(help="Let so many features choose candidates first.  [default: score every document]", min=1)
    ] = None,
    candidates: Annotated[int, typer.Option(help="Documents that are scored then.", min=1)] = 500,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of one of the model's prompts.  [default: query, if it has one]")
    ] = None,
    retries: Annotated[int, typer.Option(help="Times that a request is made again.", min=0)] = 4,
    api_key: ApiKey = None,
) -> None:
    """Search a collection for texts; shows score, id and payload."""
    from bsa_st.codes.decoder import as_decoder
    from bsa_st.engines.retry import with_retries
    from bsa_st.search.queries import prepared

    wanted = _filter(filter or [])
    loaded = _model(model)
    with _connect(engine, url, collection, api_key, retries + 1) as opened:
        layout = with_retries(opened.layout, retries + 1)
        if layout is None:
            raise BSAError(f"there is no collection {collection} at {url}; load it first")
        decoder = as_decoder(loaded, layout.hidden_dim)
        kind = "asymmetric" if scoring is None else scoring
        form = "asymmetric" if kind == "asymmetric" else "overlap"  # floats, or codes whatever they are scored by
        _, asked = prepared(queries, form, loaded, decoder, layout.hidden_dim, prompt_name)
        hits = with_retries(
            lambda: opened.search(
                asked, top_k, scoring=kind, decoder=decoder, filter=wanted, probes=probes, candidates=candidates
            ),
            retries + 1,
        )
        fields = with_retries(
            lambda: opened.payloads(sorted({int(name) for name in hits.ids.ravel() if name >= 0})), retries + 1
        )
    for query, ids, scores in zip(queries, hits.ids.tolist(), hits.scores.tolist(), strict=True):
        if len(queries) > 1:
            typer.echo(query)
        for name, score in zip(ids, scores, strict=True):
            if name >= 0:
                shown = json.dumps(fields[name], ensure_ascii=False) if fields.get(name) else ""
                typer.echo(f"{score:8.4f} {name:>8}  {shown}".rstrip())


def _connect(name: str | None, url: str, collection: str, api_key: str | None, attempts: int, **options: Any) -> Any:
    from bsa_st.engines import connect
    from bsa_st.engines.retry import with_retries

    for talkative in ("elastic_transport", "httpx", "opensearch"):  # what they warn of is in the one line of the error
        logging.getLogger(talkative).setLevel(logging.ERROR)
    if name is None:
        if not url.startswith(("postgres://", "postgresql://")):
            raise BSAError(f"say which engine answers at {_shown(url)}: --engine qdrant, elasticsearch, opensearch, ...")
        name = "postgres"
    given = {key: value for key, value in {"api_key": api_key, **options}.items() if value is not None}
    if name in ("postgres", "qdrant-edge"):
        given.pop("api_key", None)  # from the environment, for other engines
        if given:
            raise BSAError(f"{name} has no {' and no '.join(given)}")
    return with_retries(lambda: connect(name, url, collection, **given), attempts)


def _shown(url: str) -> str:
    from bsa_st.engines.url import shown_url

    return shown_url(url)


def _model(name: str) -> Any:
    from bsa_st.cli.models import load_model

    return load_model(name)


def _filter(entries: list[str]) -> dict[str, list[Any]]:
    wanted: dict[str, list[Any]] = {}
    for entry in entries:
        field, separator, value = entry.partition("=")
        if not field or not separator:
            raise BSAError(f"a filter is written field=value, got {entry!r}")
        wanted.setdefault(field, []).append(_value(value))
    return wanted


def _value(text: str) -> Any:
    """A number or a boolean where the text is one as JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, str)) else text
