"""Codes in engines that teams already run: Qdrant, Elasticsearch, OpenSearch, PostgreSQL with pgvector, faiss, usearch.

Each engine is an extra (``pip install bsa-st[qdrant]``) and has the interface of :class:`bsa_st.engines.base.Engine`::

    with connect("qdrant", "http://localhost:6333", "papers") as engine:
        engine.create(Layout(codes.hidden_dim, asymmetric=True))
        engine.upsert(range(len(codes)), codes, payloads)
        hits = engine.search(dense_queries, top_k=10, decoder=model, filter={"lang": "en"})

``bsa-st engine load`` streams a codes file into one.
"""

from __future__ import annotations

import importlib
from typing import Any

from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Layout, Unavailable
from bsa_st.errors import BSAError

__all__ = ["ENGINES", "Engine", "Layout", "Unavailable", "connect"]

ENGINES = {
    "qdrant": ("qdrant", "QdrantEngine", "qdrant"),
    "qdrant-edge": ("qdrant_edge", "QdrantEdgeEngine", "qdrant-edge"),
    "elasticsearch": ("elasticsearch", "ElasticsearchEngine", "elasticsearch"),
    "opensearch": ("opensearch", "OpenSearchEngine", "opensearch"),
    "postgres": ("postgres", "PostgresEngine", "postgres"),
}
"""Engines with collections, by name: module, class and extra. Those of :mod:`bsa_st.engines.packed` are opened by path."""


def connect(engine: str, url: str, collection: str, **options: Any) -> Engine:
    """An engine's collection, which need not exist yet.

    Args:
        engine: One of :data:`ENGINES`.
        url: Address of the server; for ``qdrant-edge`` a folder.
        collection: Name.
        **options: Of the engine, e.g. ``api_key``, ``shards``, ``replicas``.

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the engine is unknown or its package is not installed, or the server refuses.
    """
    if engine not in ENGINES:
        raise BSAError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    module, name, extra = ENGINES[engine]
    try:
        made: Engine = getattr(importlib.import_module(f"bsa_st.engines.{module}"), name)(url, collection, **options)
    except ImportError as error:
        raise BSAError(f"{engine} needs a package that is not installed ({error}): pip install bsa-st[{extra}]") from error
    return made
