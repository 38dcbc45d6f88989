"""Documents and queries as Qdrant takes them, and why so. Pure functions; no client.

A point has the vector ``bsa_<D>``, stored with datatype uint8, whose value is 1 for each active feature: the dot product with a code counts
shared features, that with weights adds them up, both exactly. If the collection is made for asymmetric queries, it has the vector
``bsa_<D>_scaled`` too, float32, whose value is the document's factor for each active feature and for one further index, D: the dot product with
``(w, constant)`` is then ``factor * (sum of w_i + constant)``, in one request and exact. Quantised to uint8, factors would not be: Qdrant
spreads a posting list's values over 256 steps between their least and largest. The name of a vector tells D, so codes of another size are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from bsa_st.engines.base import Documents, Layout
from bsa_st.engines.queries import SparseQuery
from bsa_st.errors import BSAError

SOURCE = "bsa_st_source"
"""Payload field that tells where a document came from."""


class Stage(NamedTuple):
    """A request for the best points: the sparse vector's name, its indices and values, and how many; the last stage scores what those before found."""

    using: str
    indices: list[int]
    values: list[float]
    limit: int


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


def stages(query: SparseQuery, layout: Layout, top_k: int) -> list[Stage]:
    """One stage, or two if the query asks for ``probes``."""
    ones, scaled = vector_names(layout)
    if query.scoring != "asymmetric":
        return [Stage(ones, query.features.tolist(), query.weights.tolist(), top_k)]
    indices = [*query.features.tolist(), layout.hidden_dim]
    whole = Stage(scaled, indices, [*query.weights.tolist(), query.constant], top_k)
    if query.probes is None:
        return [whole]
    first = query.heaviest()
    return [Stage(scaled, first.features.tolist(), first.weights.tolist(), query.candidates), whole]
