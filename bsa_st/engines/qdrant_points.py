"""Documents and queries as Qdrant takes them, and why so. Pure functions; no client.

A point has the vector ``bsa_<D>``, stored with datatype uint8, whose value is 1 for each active feature: the dot product with a code counts
shared features, that with weights adds them up, both exactly. If the collection is made for asymmetric queries, it has the vector
``bsa_<D>_scaled`` too, float32, whose value is the document's factor for each active feature and for one further index, D: the dot product with
``(w, constant)`` is then ``factor * (sum of w_i + constant)``, in one request and exact. With ``probes``, candidates
come back with their vectors and are scored here. Quantised to uint8, factors would not be: Qdrant
spreads a posting list's values over 256 steps between their least and largest. The name of a vector tells D, so codes of another size are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bsa_st.engines.documents import Documents, Layout
from bsa_st.engines.queries import SparseQuery
from bsa_st.errors import BSAError

SOURCE = "bsa_st_source"
"""Payload field that tells where a document came from."""


class Request(NamedTuple):
    """A search: the sparse vector's name, its indices and values, how many points, and whether to bring their vectors along."""

    using: str
    indices: list[int]
    values: list[float]
    limit: int
    with_vectors: bool


def vector_names(layout: Layout) -> tuple[str, str]:
    """Names of the vectors of ones and of factors."""
    return f"bsa_{layout.hidden_dim}", f"bsa_{layout.hidden_dim}_scaled"


def layout_of(names: Sequence[str], collection: str) -> Layout:
    """Layout of a collection, from the names of its sparse vectors."""
    sizes = [int(found[1]) for found in (re.fullmatch(r"bsa_(\d+)", name) for name in names) if found]
    if len(sizes) != 1:
        raise BSAError(f"collection {collection} was not made by bsa_st; choose another collection")
    return Layout(sizes[0], vector_names(Layout(sizes[0]))[1] in names)


def point(documents: Documents, row: int) -> dict[str, Any]:
    """One document as a point: ``id``, ``vector`` and ``payload``, as Qdrant's REST interface takes them."""
    features = documents.features(row)
    ones, scaled = vector_names(Layout(documents.codes.hidden_dim))
    vector = {ones: {"indices": features, "values": [1.0] * len(features)}}
    if documents.factors is not None:
        indices = [*features, documents.codes.hidden_dim]
        vector[scaled] = {"indices": indices, "values": [documents.factors[row]] * len(indices)}
    return {"id": documents.ids[row], "vector": vector, "payload": {**documents.payloads[row], SOURCE: documents.source}}


def split_payload(name: int, payload: dict[str, Any] | None) -> tuple[int, str, dict[str, Any]]:
    """Id, source, and the payload without it."""
    rest = dict(payload or {})
    return name, str(rest.pop(SOURCE, "")), rest


def request(query: SparseQuery, layout: Layout, top_k: int) -> Request:
    """What to ask for a query; if it asks for ``probes``, for candidates, of which :func:`rescored` chooses."""
    ones, scaled = vector_names(layout)
    if query.scoring != "asymmetric":
        return Request(ones, query.features.tolist(), query.weights.tolist(), top_k, False)
    if query.probes is not None:
        first = query.heaviest()
        return Request(scaled, first.features.tolist(), first.weights.tolist(), query.candidates, True)
    return Request(scaled, *_whole(query, layout), top_k, False)


def hits(found: Sequence[Any], asked: Request, query: SparseQuery, layout: Layout, top_k: int) -> list[tuple[int, float]]:
    """Ids and scores of the points that a request found; those that came with their vectors are scored by the whole query first."""
    if not asked.with_vectors:
        return [(int(entry.id), entry.score) for entry in found]
    vectors = [entry.vector[asked.using] for entry in found]
    candidates = ((int(entry.id), own.indices, own.values) for entry, own in zip(found, vectors, strict=True))
    return rescored(candidates, query, layout, top_k)


def rescored(
    found: Iterable[tuple[int, list[int], list[float]]], query: SparseQuery, layout: Layout, top_k: int
) -> list[tuple[int, float]]:
    """The best of some candidates by the whole query.

    This is done here: Qdrant rescores sparse candidates through its index, which takes longer than a search without candidates.

    Args:
        found: Id, indices and values of each candidate's vector of factors.
        query: An asymmetric query.
        layout: Of the collection.
        top_k: How many to keep.
    """
    indices, values = _whole(query, layout)
    weights = np.zeros(layout.hidden_dim + 1, np.float32)
    weights[indices] = values
    scored = [(name, float(weights[own] @ np.array(factors, np.float32))) for name, own, factors in found]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:top_k]


def _whole(query: SparseQuery, layout: Layout) -> tuple[list[int], list[float]]:
    return [*query.features.tolist(), layout.hidden_dim], [*query.weights.tolist(), query.constant]
