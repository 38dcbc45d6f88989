"""Codes in the engines that teams run already: LanceDB, PostgreSQL, Qdrant, Elasticsearch, OpenSearch, DuckDB.

One address names an engine (:data:`ENGINES`), and all have the interface of :class:`bsa_st.engines.base.Engine`::

    with connect("lancedb:///data/papers") as engine:
        engine.create(codes.hidden_dim)
        engine.upsert(range(len(codes)), codes, payloads)
        engine.finish()
        (ranking,) = engine.search("a seizure with fever", model=model, filter={"tags": "growth"})

``bsa-st engine load`` streams a codes file into one.
"""

from __future__ import annotations

import importlib
from typing import Any

from bsa_st.engines.base import Engine, Unavailable, shown_url
from bsa_st.errors import BSAError

__all__ = ["ENGINES", "Engine", "Unavailable", "connect"]

ENGINES = {
    "lancedb": ("lancedb", "LanceDBEngine", "lancedb"),
    "postgresql": ("postgres", "PostgresEngine", "postgres"),
    "qdrant": ("qdrant", "QdrantEngine", "qdrant"),
    "qdrant-edge": ("qdrant_edge", "QdrantEdgeEngine", "qdrant-edge"),
    "elasticsearch": ("elasticsearch", "ElasticsearchEngine", "elasticsearch"),
    "opensearch": ("opensearch", "OpenSearchEngine", "opensearch"),
    "duckdb": ("duckdb", "DuckDBEngine", "duckdb"),
}
"""Engines by the scheme of their addresses: module, class and extra. A transport follows a plus sign: ``qdrant+https://``, ``lancedb+s3://``."""


def connect(url: str, collection: str = "bsa", **options: Any) -> Engine:
    """An engine's collection, which need not exist yet.

    Args:
        url: ``lancedb:///folder``, ``postgresql://user:password@host/database``, ``qdrant://host:6333``, ``qdrant-edge:///folder``,
            ``elasticsearch+https://user:password@host:9200``, ``opensearch+https://...``, ``duckdb:///file``.
        collection: Name of the collection, table or index.
        **options: ``index`` and, for servers that know them, ``api_key``, ``shards`` and ``replicas`` (:class:`Engine`).

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the address or an option is none of the engine's, its package is not installed, or the server refuses.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)  # libpq takes both
    if "://" not in url or scheme not in ENGINES:
        raise BSAError(f"an engine's address begins with {'://, '.join(ENGINES)}://, got {shown_url(url)!r}")
    module, name, extra = ENGINES[scheme]
    try:
        engine: type[Engine] = getattr(importlib.import_module(f"bsa_st.engines.{module}"), name)
    except ImportError as error:
        raise BSAError(f"{scheme} needs a package that is not installed ({error}): pip install bsa-st[{extra}]") from error
    if unknown := options.keys() - engine.options:
        raise BSAError(f"{scheme} has no option {unknown.pop()!r}")
    return engine(url, collection, **options)
