"""Qdrant Edge: Qdrant's engine in this process, in a folder; what a point is, :mod:`bsa_st.engines.qdrant` says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from bsa_st.engines.base import Documents, Engine, Found
from bsa_st.engines.qdrant import VECTOR, found_of, points, vector_of
from bsa_st.engines.url import one_line
from bsa_st.errors import BSAError

GRAPH = 16
"""Links per node of the index, Qdrant's own default; 0 is none."""


class QdrantEdgeEngine(Engine):
    """A collection in a folder, open in one process at a time.

    Args:
        url: ``qdrant-edge:///folder``, the folder of collections; made if it is missing.
        collection: Its name, a folder in there.
        index: See :class:`Engine`; without one Qdrant compares all bits.
    """

    name = "Qdrant Edge"

    def __init__(self, url: str, collection: str, *, index: bool | None = None) -> None:
        super().__init__(collection, index=index)
        self.folder = Path(url.split("://", 1)[1]) / collection
        self._open: edge.EdgeShard | None = None

    def hidden_dim(self) -> int | None:
        path = self.folder / "edge_config.json"
        if not path.is_file():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise BSAError(f"{self.folder} exists and is no collection; choose another name")
            return None
        try:
            return int(json.loads(path.read_text())["vectors"][VECTOR]["size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BSAError(
                f"{self.folder} was not made by bsa_st or is damaged ({error!r}); choose another collection"
            ) from error

    def _create(self, hidden_dim: int) -> None:
        with self._translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open = edge.EdgeShard.create(str(self.folder), _config(hidden_dim, 0))
            self._open.update(edge.UpdateOperation.create_field_index("tags", edge.PayloadSchemaType.Keyword))
            self._open.flush()

    def _upsert(self, documents: Documents) -> None:
        with self._translated():
            rows = [edge.Point(one["id"], one["vector"], one["payload"]) for one in points(documents)]
            self._shard.update(edge.UpdateOperation.upsert_points(rows))

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        params = edge.SearchParams(hnsw_ef=max(200, 2 * count), quantization=edge.QuantizationSearchParams(rescore=False))
        nearest = edge.Query.Nearest(vector_of(bits), VECTOR)
        with self._translated():
            request = edge.QueryRequest(count, query=nearest, filter=_filter(groups), with_vector=[VECTOR], params=params)
            return found_of(self._shard.query(request), len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        with self._translated():
            found = self._shard.retrieve(list(ids), with_payload=["payload"], with_vector=[VECTOR])
        return found_of(found, self._existing() // 8), [dict((one.payload or {}).get("payload", {})) for one in found]

    def _count(self, groups: list[list[str]]) -> int:
        with self._translated():
            return self._shard.count(edge.CountRequest(exact=True, filter=_filter(groups)))

    def _delete(self, ids: list[int]) -> None:
        with self._translated():
            self._shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def drop(self) -> None:
        if self.hidden_dim() is not None:
            self.close()
            shutil.rmtree(self.folder)

    def finish(self) -> None:
        """Quantise what was loaded, build the graph where one is wanted, and flush to disk."""
        links = GRAPH if self._wants_index() else 0
        width = self._existing()
        with self._translated():
            self._shard.flush()
            self._shard.close()
            self._open = edge.EdgeShard.load(str(self.folder), _config(width, links))
            self._open.optimize()
            self._open.flush()

    def disk_bytes(self) -> dict[str, int]:
        """Bytes of the folder's files without their holes: the write-ahead log, which has the same size for every collection, apart."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        sizes = {path: path.stat().st_blocks * 512 for path in files}
        log = sum(size for path, size in sizes.items() if "wal" in path.parts)
        return {"documents": sum(sizes.values()) - log, "index": 0, "log": log}

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._width = None

    @property
    def _shard(self) -> edge.EdgeShard:
        if self._open is None:
            self._open = edge.EdgeShard.load(str(self.folder))
        return self._open

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BSAError:
            raise
        except Exception as error:  # the engine raises bare exceptions
            raise BSAError(f"Qdrant Edge in {self.folder}: {one_line(error)}") from error


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
