"""A collection on a Qdrant server; what it holds is told in :mod:`bsa_st.engines.qdrant_points`.

Run against Qdrant's own engine in-process (:mod:`bsa_st.engines.qdrant_edge`), against ``QdrantClient(":memory:")``, and, for failures, against a
stub server. Shards and replicas could only be checked against the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Documents, Filter, Layout, Unavailable, check_name, filter_values
from bsa_st.engines.qdrant_points import SOURCE, hits, layout_of, point, request, split_payload, vector_names
from bsa_st.engines.queries import SparseQuery
from bsa_st.engines.url import check_url, shown_url
from bsa_st.errors import BSAError

OLDEST = (1, 11)
"""The first release whose sparse vectors can be stored as uint8 and that has the query interface."""
BUSY = (408, 425, 429, 500, 502, 503, 504)


class QdrantEngine(Engine):
    """A collection on a Qdrant server or cluster.

    Args:
        url: ``http://host:6333``, ``https://...``, or ``:memory:`` for the client's slow in-process double, for tests.
        collection: Its name.
        api_key: Of the server.
        shards: Shards of a new collection. Default: Qdrant's, one per node.
        replicas: Copies of each shard of a new collection.
        timeout: Seconds that a request may take.
        client: A ready client instead of ``url``.

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the name is no name, or the server is too old.
    """

    name = "Qdrant"

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        api_key: str | None = None,
        shards: int | None = None,
        replicas: int | None = None,
        timeout: int = 60,
        client: QdrantClient | None = None,
    ) -> None:
        self.collection = check_name(collection)
        self.shards, self.replicas = shards, replicas
        self._shown = shown_url(url)
        if client is None:
            if url == ":memory:":
                place: dict[str, Any] = {"location": url}
            else:
                place = {"url": check_url(url, self.name), "timeout": timeout, "api_key": api_key}
            client = QdrantClient(**place, check_compatibility=False)
        self.client = client
        with self._translated():
            version = self.client.info().version
        found = re.match(r"(\d+)\.(\d+)", version)
        if found and (int(found[1]), int(found[2])) < OLDEST:
            raise BSAError(f"Qdrant {version} at {self._shown} is too old; bsa_st needs {OLDEST[0]}.{OLDEST[1]} or newer")

    def layout(self) -> Layout | None:
        with self._translated():
            if not self.client.collection_exists(self.collection):
                return None
            sparse = self.client.get_collection(self.collection).config.params.sparse_vectors
        return layout_of(list(sparse or {}), self.collection)

    def _create(self, layout: Layout) -> None:
        ones, scaled = vector_names(layout)
        types = {ones: models.Datatype.UINT8, **({scaled: models.Datatype.FLOAT32} if layout.asymmetric else {})}
        with self._translated():
            self.client.create_collection(
                self.collection,
                vectors_config={},
                sparse_vectors_config={
                    name: models.SparseVectorParams(index=models.SparseIndexParams(datatype=datatype))
                    for name, datatype in types.items()
                },
                shard_number=self.shards,
                replication_factor=self.replicas,
            )
            self.client.create_payload_index(self.collection, SOURCE, models.PayloadSchemaType.KEYWORD)

    def _upsert(self, documents: Documents) -> None:
        points = [models.PointStruct(**point(documents, row)) for row in range(len(documents.ids))]
        with self._translated():
            self.client.upsert(self.collection, points, wait=True)

    def count(self, filter: Filter | None = None) -> int:
        with self._translated():
            return self.client.count(self.collection, count_filter=_filter(filter), exact=True).count

    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        with self._translated():
            found = self.client.retrieve(self.collection, list(ids), with_payload=with_payload or [SOURCE])
        return [split_payload(int(entry.id), entry.payload) for entry in found]

    def delete(self, ids: Sequence[int]) -> None:
        with self._translated():
            self.client.delete(self.collection, models.PointIdsList(points=[int(name) for name in ids]), wait=True)

    def drop(self) -> None:
        with self._translated():
            self.client.delete_collection(self.collection)
        self._known = None

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        layout = self._existing()
        asked = request(query, layout, top_k)
        with self._translated():
            found = self.client.query_points(
                self.collection,
                query=models.SparseVector(indices=asked.indices, values=asked.values),
                using=asked.using,
                limit=asked.limit,
                query_filter=_filter(filter),
                with_payload=False,
                with_vectors=[asked.using] if asked.with_vectors else False,
            ).points
        return hits(found, asked, query, layout, top_k)

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnexpectedResponse as error:
            status, text = error.status_code, " ".join(error.content.decode(errors="replace").split())[:200]
            if status in (401, 403):
                raise BSAError(f"Qdrant at {self._shown} refuses access ({status}); check the API key") from error
            if status in BUSY:
                raise Unavailable(f"Qdrant at {self._shown} answers {status}: {text}") from error
            raise BSAError(f"Qdrant at {self._shown} answers {status}: {text}") from error
        except ResponseHandlingException as error:
            if isinstance(error.source, ValueError):  # not what Qdrant would answer
                raise BSAError(f"{self._shown} answers, but not as Qdrant does; check the address") from error
            raise Unavailable(f"Qdrant at {self._shown} does not answer ({error.source})") from error
        except ResourceExhaustedResponse as error:  # 429 with a Retry-After header
            raise Unavailable(f"Qdrant at {self._shown} answers 429: {error}") from error
        except OSError as error:
            raise Unavailable(f"Qdrant at {self._shown} does not answer ({error})") from error


def _filter(filter: Filter | None) -> models.Filter | None:
    fields = filter_values(filter).items()
    return models.Filter(must=[_any_of(key, values) for key, values in fields]) if fields else None


def _any_of(key: str, values: list[Any]) -> models.Condition:
    matches = [models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in values]
    return matches[0] if len(matches) == 1 else models.Filter(should=list(matches))
