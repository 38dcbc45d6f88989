"""Elasticsearch and OpenSearch: mappings and queries that score exactly, as REST bodies. Pure functions.

Elasticsearch's ``code`` is a ``text`` field of feature ids, whitespace-separated, with the similarity ``boolean``, under which a term scores its query's
boost and nothing else: an OR of features counts them, boosts add up. OpenSearch's is ``rank_features`` with weights of 1, asked by
``neural_sparse`` with ``query_tokens``. Overlaps are exact.

Both refuse negative weights, and boolean queries of thousands of clauses. Asymmetric scores are therefore computed by a script over doc values: the
``features`` and the ``factor`` of each document. As a score may not be negative, ``LIFT`` times the query's norm is added, and taken away again
here; this costs float32 digits: scores are exact to about 5e-7 of the norm. With ``probes`` the heaviest features choose candidates in the inverted
index, per shard, and the script rescores them.

What Lucene does with both mappings is tested with Lucene itself where its jars are installed; the clients against a stub server. The script, the
analysis of the whitespace-separated text, ``flattened`` payloads, shards and replicas could only be checked against the documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bsa_st.engines.documents import Documents, Filter, Layout, filter_values
from bsa_st.engines.queries import SparseQuery

LIFT = 2.0
"""What is added to asymmetric scores, times the query's norm: they estimate cosines times that norm, so lie above minus this."""

SCRIPT = (
    "double total = params.constant; def features = doc['features']; "
    "for (int i = 0; i < features.size(); ++i) { total += params.weights[(int) features.get(i)]; } "
    "return Math.max(0.0, params.lift + total * doc['factor'].value);"
)
"""Painless; ``weights`` is a list of D numbers."""

CODE = {
    "elasticsearch": {
        "type": "text",
        "analyzer": "whitespace",
        "similarity": "boolean",
        "norms": False,
        "index_options": "docs",
    },
    "opensearch": {"type": "rank_features"},
}
PAYLOAD = {"elasticsearch": {"type": "flattened", "ignore_above": 1024}, "opensearch": {"type": "flat_object"}}


def index_body(layout: Layout, engine: str, shards: int | None = None, replicas: int | None = None) -> dict[str, Any]:
    """Body that creates an index.

    Args:
        layout: What it shall hold.
        engine: ``elasticsearch`` or ``opensearch``.
        shards: Primary shards. Default: the server's.
        replicas: Copies of each. Default: the server's.
    """
    properties: dict[str, Any] = {"code": CODE[engine], "payload": PAYLOAD[engine], "source": {"type": "keyword"}}
    if layout.asymmetric:
        properties["features"] = {"type": "integer", "index": False, "doc_values": True}
        properties["factor"] = {"type": "float", "index": False, "doc_values": True}
    settings = {"number_of_shards": shards, "number_of_replicas": replicas}
    return {
        "settings": {"index": {name: value for name, value in settings.items() if value is not None}},
        "mappings": {"dynamic": False, "_meta": layout.to_json(), "properties": properties},
    }


def document(documents: Documents, row: int, engine: str) -> dict[str, Any]:
    """One document's source."""
    features = documents.features(row)
    code = " ".join(map(str, features)) if engine == "elasticsearch" else {str(feature): 1.0 for feature in features}
    record: dict[str, Any] = {"code": code, "payload": dict(documents.payloads[row]), "source": documents.source}
    if documents.factors is not None:
        record |= {"features": features, "factor": documents.factors[row]}
    return record


def bulk_lines(documents: Documents, engine: str) -> Iterator[str]:
    """Lines of a bulk request that indexes documents, replacing those of the same id."""
    for row, name in enumerate(documents.ids):
        yield json.dumps({"index": {"_id": str(name)}})
        yield json.dumps(document(documents, row, engine), ensure_ascii=False)


def search_body(query: SparseQuery, top_k: int, filter: Filter | None, engine: str) -> dict[str, Any]:
    """Body of a search for the best documents; their sources are left out."""
    conditions = filter_clauses(filter)
    body: dict[str, Any] = {"size": top_k, "_source": False, "track_total_hits": False}
    if query.scoring != "asymmetric":
        return {**body, "query": _filtered(weighted(query, engine), conditions)}
    everything = {"bool": {"filter": conditions}} if conditions else {"match_all": {}}
    if query.probes is None:
        return {**body, "query": scripted(query, everything)}
    rescorer = {"rescore_query": scripted(query, {"match_all": {}}), "query_weight": 0.0, "rescore_query_weight": 1.0}
    return {
        **body,
        "query": _filtered(weighted(query.heaviest(), engine), conditions),
        "rescore": {"window_size": query.candidates, "query": rescorer},
    }


def weighted(query: SparseQuery, engine: str) -> dict[str, Any]:
    """Query that scores the sum of positive weights."""
    weights = {str(feature): weight for feature, weight in zip(query.features.tolist(), query.weights.tolist(), strict=True)}
    if not weights:
        return {"match_none": {}}
    if engine == "opensearch":
        return {"neural_sparse": {"code": {"query_tokens": weights}}}
    terms = [{"term": {"code": {"value": feature, "boost": weight}}} for feature, weight in weights.items()]
    return {"bool": {"should": terms, "minimum_should_match": 1}}


def scripted(query: SparseQuery, inner: dict[str, Any]) -> dict[str, Any]:
    """Query that gives what ``inner`` finds its asymmetric score, lifted."""
    parameters = {"weights": query.weights.tolist(), "constant": query.constant, "lift": lift_of(query)}
    return {"script_score": {"query": inner, "script": {"lang": "painless", "source": SCRIPT, "params": parameters}}}


def lift_of(query: SparseQuery) -> float:
    """What the engine's score is above the score."""
    return LIFT * query.norm if query.scoring == "asymmetric" else 0.0


def filter_clauses(filter: Filter | None) -> list[dict[str, Any]]:
    """Clauses that all must match. Fields of a flattened payload are compared as strings: true is ``true``, 1 is ``1``;
    in Elasticsearch strings of more than 1,024 characters are kept, but not found."""
    return [
        {"terms": {f"payload.{field}": [_keyword(value) for value in values]}}
        for field, values in filter_values(filter).items()
    ]


def _keyword(value: str | int) -> str:
    return json.dumps(value) if isinstance(value, (bool, int)) else value


def _filtered(query: dict[str, Any], conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"must": [query], "filter": conditions}} if conditions else query
