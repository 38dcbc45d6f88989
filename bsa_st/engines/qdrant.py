"""Qdrant: binary quantisation keeps the bits in memory, the vectors they come from lie on disk as uint8.

A bit becomes the number 0 or 255: Qdrant quantises uint8 to bits by comparing with 127. Distances are Manhattan, 255 times the Hamming distance, so that vectors
that are not quantised yet are found in the same order. What can be filtered by and faceted is the payload field ``tags``. Run for real through
:mod:`bsa_st.engines.qdrant_edge`, Qdrant's engine in-process, and through the client's own double; shards and replicas by documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from bsa_st.engines.base import Documents, Engine, Found, Unavailable
from bsa_st.engines.url import one_line, shown_url
from bsa_st.errors import BSAError

OLDEST = (1, 11)
"""The first release with uint8 vectors, binary quantisation and the query interface."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
VECTOR = "bits"
ON = 255


class QdrantEngine(Engine):
    """A collection on a Qdrant server or cluster.

    Args:
        url: ``qdrant://host:6333`` or ``qdrant+https://host:6333``; ``qdrant://:memory:`` is the client's slow double, for tests.
        collection: Its name.
        index: See :class:`Engine`; without one Qdrant compares all bits.
        api_key: Of the server.
        shards: Shards of a new collection. Default: Qdrant's.
        replicas: Copies of each shard of a new collection.
        timeout: Seconds that a request may take.
    """

    name = "Qdrant"

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        index: bool | None = None,
        api_key: str | None = None,
        shards: int | None = None,
        replicas: int | None = None,
        timeout: int = 60,
    ) -> None:
        super().__init__(collection, index=index)
        self.shards, self.replicas, self._shown = shards, replicas, shown_url(url)
        transport, place = url.removeprefix("qdrant").split("://", 1)
        target: dict[str, Any] = {"url": f"{transport[1:] or 'http'}://{place}", "timeout": timeout, "api_key": api_key}
        with self._translated():
            self.client = QdrantClient(**({"location": place} if place == ":memory:" else target), check_compatibility=False)
            version = self.client.info().version
        number = re.match(r"(\d+)\.(\d+)", version)
        if number and (int(number[1]), int(number[2])) < OLDEST:
            raise BSAError(f"Qdrant {version} at {self._shown} is too old; bsa_st needs {OLDEST[0]}.{OLDEST[1]} or newer")

    def hidden_dim(self) -> int | None:
        with self._translated():
            if not self.client.collection_exists(self.collection):
                return None
            vectors = self.client.get_collection(self.collection).config.params.vectors
        if not isinstance(vectors, dict) or list(vectors) != [VECTOR]:
            raise BSAError(f"collection {self.collection} was not made by bsa_st; choose another collection")
        return int(vectors[VECTOR].size)

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
        with self._translated():
            self.client.create_collection(
                self.collection,
                vectors_config={VECTOR: vector},
                on_disk_payload=True,
                shard_number=self.shards,
                replication_factor=self.replicas,
            )
            self.client.create_payload_index(self.collection, "tags", models.PayloadSchemaType.KEYWORD)

    def _upsert(self, documents: Documents) -> None:
        with self._translated():
            self.client.upsert(self.collection, [models.PointStruct(**one) for one in points(documents)], wait=True)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        params = models.SearchParams(hnsw_ef=max(200, 2 * count), quantization=models.QuantizationSearchParams(rescore=False))
        options: dict[str, Any] = {"query_filter": _filter(groups), "search_params": params, "with_payload": False}
        with self._translated():
            found = self.client.query_points(
                self.collection, query=vector_of(bits), using=VECTOR, limit=count, with_vectors=[VECTOR], **options
            ).points
        return found_of(found, len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        with self._translated():
            found = self.client.retrieve(self.collection, ids, with_payload=["payload"], with_vectors=[VECTOR])
        return found_of(found, self._existing() // 8), [dict((one.payload or {}).get("payload", {})) for one in found]

    def _count(self, groups: list[list[str]]) -> int:
        with self._translated():
            return self.client.count(self.collection, count_filter=_filter(groups), exact=True).count

    def _delete(self, ids: list[int]) -> None:
        with self._translated():
            self.client.delete(self.collection, models.PointIdsList(points=list(ids)), wait=True)

    def drop(self) -> None:
        with self._translated():
            self.client.delete_collection(self.collection)
        self._width = None

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnexpectedResponse as error:
            status, text = error.status_code, one_line(error.content.decode(errors="replace"))
            if status in (401, 403):
                raise BSAError(f"Qdrant at {self._shown} refuses access ({status}); check the API key") from error
            raise (Unavailable if status in BUSY else BSAError)(f"Qdrant at {self._shown} answers {status}: {text}") from error
        except ResponseHandlingException as error:
            if isinstance(error.source, ValueError):  # not what Qdrant would answer
                raise BSAError(f"{self._shown} answers, but not as Qdrant does; check the address") from error
            raise Unavailable(f"Qdrant at {self._shown} does not answer ({error.source})") from error
        except (ResourceExhaustedResponse, OSError) as error:  # the former: 429 with a Retry-After header
            raise Unavailable(f"Qdrant at {self._shown} does not answer ({one_line(error)})") from error


def points(documents: Documents) -> Iterator[dict[str, Any]]:
    """Documents as points: ``id``, ``vector`` and ``payload``, as Qdrant's interfaces take them."""
    values = (np.unpackbits(documents.bits, axis=1).astype(np.float32) * ON).tolist()
    for name, row, tags, payload in zip(documents.ids.tolist(), values, documents.keywords, documents.payloads, strict=True):
        fields = {**({"tags": tags} if tags else {}), **({"payload": dict(payload)} if payload else {})}
        yield {"id": name, "vector": {VECTOR: row}, "payload": fields}


def vector_of(bits: np.ndarray) -> list[float]:
    """The query's bits, uint8 (D / 8,), as Qdrant compares them."""
    return (np.unpackbits(bits).astype(np.float32) * ON).tolist()


def found_of(found: list[Any], width: int) -> Found:
    """Ids and bits of points that came with their vectors."""
    rows = np.array([one.vector[VECTOR] for one in found], np.float32).reshape(len(found), 8 * width)
    return Found(np.array([int(one.id) for one in found], np.int64), np.packbits(rows > ON // 2, axis=1))


def _filter(groups: list[list[str]]) -> models.Filter | None:
    must: list[models.Condition] = [models.FieldCondition(key="tags", match=models.MatchAny(any=group)) for group in groups]
    return models.Filter(must=must) if must else None
