"""Qdrant Edge: Qdrant's engine in this process, in a folder. Vectors and scores as in :mod:`bsa_st.engines.qdrant`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from bsa_st.atomic import atomic_file
from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Documents, Filter, Layout, check_name, filter_values
from bsa_st.engines.qdrant_points import SOURCE, hits, point, request, split_payload, vector_names
from bsa_st.engines.queries import SparseQuery
from bsa_st.errors import BSAError

LAYOUT_FILE = "bsa_st.json"


class QdrantEdgeEngine(Engine):
    """A collection in a folder, open in one process at a time.

    Args:
        url: Folder of collections; made if it is missing.
        collection: Its name, a folder in there.
    """

    name = "Qdrant Edge"

    def __init__(self, url: str, collection: str) -> None:
        self.folder = Path(url.removeprefix("file://")) / check_name(collection)
        self._open: edge.EdgeShard | None = None

    def layout(self) -> Layout | None:
        path = self.folder / LAYOUT_FILE
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BSAError(f"{path}: cannot be read ({error})") from error
        return Layout.from_json(record, f"collection {self.folder}")

    def _create(self, layout: Layout) -> None:
        ones, scaled = vector_names(layout)
        kinds = edge.VectorStorageDatatype
        types = {ones: kinds.Uint8, **({scaled: kinds.Float32} if layout.asymmetric else {})}
        vectors = {name: edge.EdgeSparseVectorParams(datatype=datatype) for name, datatype in types.items()}
        with self._translated():
            begun = self.folder.with_name(f".{self.folder.name}.creating")
            if self.folder.exists():  # a creation of ours that was interrupted, or something of others
                if not begun.is_file():
                    raise BSAError(f"{self.folder} exists and is no collection; choose another name")
                shutil.rmtree(self.folder)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            begun.touch()
            self.folder.mkdir()
            self._open = edge.EdgeShard.create(str(self.folder), edge.EdgeConfig(vectors={}, sparse_vectors=vectors))
            self._open.update(edge.UpdateOperation.create_field_index(SOURCE, edge.PayloadSchemaType.Keyword))
            self._open.flush()
        with atomic_file(self.folder / LAYOUT_FILE) as file:
            file.write(json.dumps(layout.to_json()).encode())
        begun.unlink()

    def _upsert(self, documents: Documents) -> None:
        with self._translated():
            points = [_point(point(documents, row)) for row in range(len(documents.ids))]
            self._shard.update(edge.UpdateOperation.upsert_points(points))

    def count(self, filter: Filter | None = None) -> int:
        with self._translated():
            return self._shard.count(edge.CountRequest(exact=True, filter=_filter(filter)))

    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        with self._translated():
            found = self._shard.retrieve(list(ids), with_payload=with_payload or [SOURCE], with_vector=False)
            return [split_payload(int(entry.id), entry.payload) for entry in found]

    def delete(self, ids: Sequence[int]) -> None:
        with self._translated():
            self._shard.update(edge.UpdateOperation.delete_points([int(name) for name in ids]))

    def drop(self) -> None:
        self.close()
        if self.layout() is not None:
            shutil.rmtree(self.folder)

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        layout = self._existing()
        asked = request(query, layout, top_k)
        nearest = edge.Query.Nearest(edge.SparseVector(asked.indices, asked.values), asked.using)
        with_vector: Any = [asked.using] if asked.with_vectors else False
        with self._translated():
            found = self._shard.query(
                edge.QueryRequest(asked.limit, query=nearest, filter=_filter(filter), with_vector=with_vector)
            )
        return hits(found, asked, query, layout, top_k)

    def finish(self) -> None:
        """Build the sparse index over what was loaded, and flush it to disk."""
        with self._translated():
            self._shard.optimize()
            self._shard.flush()

    def disk_bytes(self) -> int:
        """Bytes of the folder's files, without holes."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._known = None, None

    @property
    def _shard(self) -> edge.EdgeShard:
        if self._open is None:
            if self.layout() is None:
                raise BSAError("there is no such collection; create it first")
            self._open = edge.EdgeShard.load(str(self.folder))
        return self._open

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BSAError:
            raise
        except Exception as error:  # the engine raises bare exceptions
            raise BSAError(f"Qdrant Edge in {self.folder}: {' '.join(str(error).split())[:200]}") from error


def _point(record: dict[str, Any]) -> edge.Point:
    vectors: Any = {name: edge.SparseVector(value["indices"], value["values"]) for name, value in record["vector"].items()}
    return edge.Point(record["id"], vectors, record["payload"])


def _filter(filter: Filter | None) -> edge.Filter | None:
    fields = filter_values(filter).items()
    return edge.Filter(must=[_any_of(key, values) for key, values in fields]) if fields else None


def _any_of(key: str, values: list[Any]) -> Any:
    if any(isinstance(value, bool) for value in values):
        raise BSAError("qdrant-edge-py takes a boolean for a number and would find nothing: filter by a number or a string")
    matches: list[Any] = [edge.FieldCondition(key, match=edge.MatchValue(value)) for value in values]
    return matches[0] if len(matches) == 1 else edge.Filter(should=matches)
