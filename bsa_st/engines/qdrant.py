"""Qdrant: binary quantisation keeps the bits in memory, the vectors they come from lie on disk as uint8.

A bit becomes the number 0 or 255: Qdrant quantises uint8 to bits by comparing with 127. Distances are Manhattan, 255 times the Hamming distance, so that vectors
that are not quantised yet are found in the same order. What can be filtered by and faceted is the payload field ``tags``. Run for real through
:mod:`bsa_st.engines.qdrant_edge`, Qdrant's engine in-process, and through the client's own double; shards and replicas by documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from bsa_st.engines.base import TIMEOUT, Documents, Engine, Found, Unavailable, one_line
from bsa_st.errors import BSAError

OLDEST = (1, 11)  # the first release with uint8 vectors, binary quantisation and the query interface
VECTOR = "bits"
ON = 255


class QdrantEngine(Engine):
    """A collection on a Qdrant server or cluster; without an index Qdrant compares all bits.

    ``qdrant://host:6333`` or ``qdrant+https://host:6333``; ``qdrant://:memory:`` is the client's slow double, for tests.
    """

    name = "Qdrant"
    options = ("index", "api_key", "shards", "replicas")
    errors = (UnexpectedResponse, ResponseHandlingException, ResourceExhaustedResponse, OSError)

    @cached_property
    def _opened(self) -> QdrantClient:
        url = f"{self.transport or 'http'}://{self.place}"
        server: dict[str, Any] = {"url": url, "timeout": TIMEOUT, "api_key": self.server.get("api_key")}
        target = {"location": self.place} if self.place == ":memory:" else server
        return QdrantClient(**target, check_compatibility=False)

    def _connect(self) -> None:
        self._check_version(self._opened.info().version, OLDEST)

    def _hidden_dim(self) -> int | None:
        if not self._opened.collection_exists(self.collection):
            return None
        vectors = self._opened.get_collection(self.collection).config.params.vectors
        return int(vectors[VECTOR].size) if isinstance(vectors, dict) and list(vectors) == [VECTOR] else 0

    def _create(self, hidden_dim: int) -> None:
        bits = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        vector = models.VectorParams(
            size=hidden_dim,
            distance=models.Distance.MANHATTAN,
            datatype=models.Datatype.UINT8,
            on_disk=True,
            quantization_config=bits,
            hnsw_config=models.HnswConfigDiff(m=0) if self.index is False else models.HnswConfigDiff(on_disk=True),
        )
        self._opened.create_collection(
            self.collection,
            vectors_config={VECTOR: vector},
            on_disk_payload=True,
            shard_number=self.server.get("shards"),
            replication_factor=self.server.get("replicas"),
        )
        self._opened.create_payload_index(self.collection, "tags", models.PayloadSchemaType.KEYWORD)

    def _upsert(self, documents: Documents) -> None:
        rows = [models.PointStruct(id=one, vector=vector, payload=fields) for one, vector, fields in points(documents)]
        self._opened.upsert(self.collection, rows, wait=True)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        params = models.SearchParams(hnsw_ef=max(200, 2 * count), quantization=models.QuantizationSearchParams(rescore=False))
        options: dict[str, Any] = {"query_filter": _filter(groups), "search_params": params, "with_payload": False}
        options |= {"using": VECTOR, "with_vectors": [VECTOR], "limit": count}
        return found_of(self._opened.query_points(self.collection, vector_of(bits), **options).points, len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        found = self._opened.retrieve(self.collection, ids, with_payload=["payload"], with_vectors=[VECTOR])
        return found_of(found, self._existing() // 8), payloads_of(found)

    def _count(self, groups: list[list[str]]) -> int:
        return self._opened.count(self.collection, count_filter=_filter(groups), exact=True).count

    def _delete(self, ids: list[int]) -> None:
        self._opened.delete(self.collection, models.PointIdsList(points=list(ids)), wait=True)

    def _drop(self) -> None:
        self._opened.delete_collection(self.collection)

    def _error(self, error: Exception) -> BSAError:
        if isinstance(error, UnexpectedResponse):
            return self._refusal(error.status_code or 0, error.content.decode(errors="replace"))
        if isinstance(error, ResponseHandlingException) and isinstance(error.source, ValueError):
            return BSAError(f"{self.where} answers, but not as Qdrant does; check the address")
        # among these 429 with a Retry-After header
        return Unavailable(f"{self.where} does not answer ({one_line(getattr(error, 'source', error))})")


def points(documents: Documents) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Documents as points: id, vector and payload."""
    values = vector_of(documents.bits)
    for name, row, tags, payload in zip(documents.ids.tolist(), values, documents.keywords, documents.payloads, strict=True):
        yield name, {VECTOR: row}, {**({"tags": tags} if tags else {}), **({"payload": dict(payload)} if payload else {})}


def vector_of(bits: np.ndarray) -> list[Any]:
    """Bits, uint8 (D / 8,) or (n, D / 8), as Qdrant compares them: a list, or a list of lists."""
    return (np.unpackbits(bits, axis=-1).astype(np.float32) * ON).tolist()


def found_of(found: list[Any], width: int) -> Found:
    """Ids and bits of points that came with their vectors."""
    rows = np.array([one.vector[VECTOR] for one in found], np.float32).reshape(len(found), 8 * width)
    return Found(np.array([int(one.id) for one in found], np.int64), np.packbits(rows > ON // 2, axis=1))


def payloads_of(found: list[Any]) -> list[dict[str, Any]]:
    """Payloads of points that came with them."""
    return [dict((one.payload or {}).get("payload", {})) for one in found]


def _filter(groups: list[list[str]]) -> models.Filter | None:
    must: list[models.Condition] = [models.FieldCondition(key="tags", match=models.MatchAny(any=group)) for group in groups]
    return models.Filter(must=must) if must else None
