"""Qdrant Edge: Qdrant's engine in this process, in a folder; what a point is, :mod:`bsa_st.engines.qdrant` says."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from bsa_st.engines.base import Documents, Engine, Found
from bsa_st.engines.qdrant import VECTOR, found_of, payloads_of, points, vector_of

GRAPH = 16  # links per node of the index, Qdrant's own default; 0 is none


class QdrantEdgeEngine(Engine):
    """A collection in a folder of collections, ``qdrant-edge:///folder``, made if it is missing; open in one process at a time."""

    name = "Qdrant Edge"

    def _connect(self) -> None:
        self.folder = Path(self.place) / self.collection

    @cached_property
    def _opened(self) -> edge.EdgeShard:
        return edge.EdgeShard.load(str(self.folder))

    def _hidden_dim(self) -> int | None:
        path = self.folder / "edge_config.json"
        if not path.is_file():
            return 0 if self.folder.exists() and any(self.folder.iterdir()) else None
        vectors = json.loads(path.read_text()).get("vectors", {})
        return int(vectors.get(VECTOR, {}).get("size", 0))

    def _create(self, hidden_dim: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._opened = edge.EdgeShard.create(str(self.folder), _config(hidden_dim, 0))
        self._opened.update(edge.UpdateOperation.create_field_index("tags", edge.PayloadSchemaType.Keyword))
        self._opened.flush()

    def _upsert(self, documents: Documents) -> None:
        self._opened.update(edge.UpdateOperation.upsert_points([edge.Point(*one) for one in points(documents)]))

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        params = edge.SearchParams(hnsw_ef=max(200, 2 * count), quantization=edge.QuantizationSearchParams(rescore=False))
        nearest = edge.Query.Nearest(vector_of(bits), VECTOR)
        request = edge.QueryRequest(count, query=nearest, filter=_filter(groups), with_vector=[VECTOR], params=params)
        return found_of(self._opened.query(request), len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        found = self._opened.retrieve(list(ids), with_payload=["payload"], with_vector=[VECTOR])
        return found_of(found, self._existing() // 8), payloads_of(found)

    def _count(self, groups: list[list[str]]) -> int:
        return self._opened.count(edge.CountRequest(exact=True, filter=_filter(groups)))

    def _delete(self, ids: list[int]) -> None:
        self._opened.update(edge.UpdateOperation.delete_points(list(ids)))

    def _drop(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    def _finish(self) -> None:
        """Quantise what was loaded, build the graph where one is wanted, and flush to disk."""
        config = _config(self._existing(), GRAPH if self._wants_index() else 0)
        self._opened.flush()
        self.close()
        shutil.rmtree(self.folder / "temp_segments", ignore_errors=True)  # what an optimisation that was interrupted has left
        self._opened = edge.EdgeShard.load(str(self.folder), config)
        self._opened.optimize()
        self._opened.flush()


def _config(hidden_dim: int, links: int) -> edge.EdgeConfig:
    vector = edge.EdgeVectorParams(
        hidden_dim,
        edge.Distance.Manhattan,
        datatype=edge.VectorStorageDatatype.Uint8,
        memory=edge.Memory.Cold,
        quantization_config=edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned),
        hnsw_config=edge.HnswIndexConfig(links, 100, 10_000, memory=edge.Memory.Cold),
    )
    return edge.EdgeConfig(vectors={VECTOR: vector}, payload_memory=edge.Memory.Cold)


def _filter(groups: list[list[str]]) -> edge.Filter | None:
    must: list[Any] = [edge.FieldCondition("tags", match=edge.MatchAny(group)) for group in groups]
    return edge.Filter(must=must) if must else None
