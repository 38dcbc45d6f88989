"""Elasticsearch: ``dense_vector`` fields with ``element_type: bit``, an HNSW graph by Hamming distance, keywords as a ``keyword`` field.

Spoken to by its REST interface, through httpx. Bodies are made by pure functions, checked against the documentation, and the client against a stub server; no
Elasticsearch was run here. Documentation: the pages "Dense vector field type", "kNN search" and "Bulk API" of the reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import numpy as np

from bsa_st.engines.base import Documents, Engine, Found, Unavailable
from bsa_st.engines.url import one_line, shown_url
from bsa_st.errors import BSAError

BUSY = (408, 429, 500, 502, 503, 504)


class ElasticsearchEngine(Engine):
    """An index of Elasticsearch from 8.15 on, or of what answers like it (:mod:`bsa_st.engines.opensearch`).

    Args:
        url: ``elasticsearch+https://user:password@host:9200``, or ``elasticsearch://host:9200`` without encryption.
        collection: Name of the index.
        index: ``False`` compares all bits; the graph is a property of a new index and cannot be added later.
        api_key: Of the server.
        shards: Primary shards of a new index.
        replicas: Copies of each shard of a new index.
        timeout: Seconds that a request may take.

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the address is none, or the server is another product or too old.
    """

    name = "Elasticsearch"
    batch_size = 1000
    flavour: ClassVar[str] = "elasticsearch"
    oldest: ClassVar[tuple[int, int]] = (8, 15)

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        index: bool | None = None,
        api_key: str | None = None,
        shards: int | None = None,
        replicas: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(collection, index=index)
        self.shards, self.replicas = shards, replicas
        self._shown = shown_url(url)
        transport, place = url.removeprefix(self.flavour).split("://", 1)
        headers = {"Authorization": f"ApiKey {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(base_url=f"{transport[1:] or 'http'}://{place}", headers=headers, timeout=timeout)
        except (httpx.InvalidURL, ValueError) as error:
            raise BSAError(f"{self._shown}: {one_line(error)}") from error
        self._check_server(self._call("GET", "/"))

    def _check_server(self, answer: Any) -> None:
        """Whether the server is what the address says, and new enough."""
        version = answer.get("version") if isinstance(answer, dict) else None
        number = str(version.get("number", "")) if isinstance(version, dict) else ""
        product = str(version.get("distribution", "elasticsearch")) if isinstance(version, dict) else ""
        if not number[:1].isdigit() or product != self.flavour:
            raise BSAError(f"{self._shown} answers, but is not {self.name}; check the address")
        if tuple(int(part) for part in number.split(".")[:2]) < self.oldest:
            oldest = ".".join(map(str, self.oldest))
            raise BSAError(f"{self.name} {number} at {self._shown} is too old; bsa_st needs {oldest} or newer")

    def _call(self, method: str, path: str, body: dict[str, Any] | str | None = None, missing: Any = None) -> Any:
        """The server's answer to JSON or lines of it; ``missing`` for 404, if it is given."""
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        content = body if isinstance(body, str) or body is None else json.dumps(body)
        words = f"{self.name} at {self._shown}"
        try:
            answer = self._client.request(method, path, content=content, headers={"Content-Type": kind} if content else None)
        except httpx.TransportError as error:
            raise Unavailable(f"{words} does not answer ({one_line(error)})") from error
        if answer.status_code == 404 and missing is not None:
            return missing
        if answer.status_code in (401, 403):
            raise BSAError(f"{words} refuses access ({answer.status_code}); check the user, the password or the API key")
        if answer.status_code >= 300:
            kind_of = Unavailable if answer.status_code in BUSY else BSAError
            raise kind_of(f"{words} answers {answer.status_code}: {one_line(answer.text)}")
        try:
            return answer.json()
        except ValueError as error:
            raise BSAError(f"{self._shown} answers, but not as {self.name} does; check the address") from error

    # -- what is sent -----------------------------------------------------------------------------------------------

    def index_body(self, hidden_dim: int) -> dict[str, Any]:
        """Settings and mapping of a new index; the payload is kept and not indexed, so that its fields cannot make the mapping grow."""
        bits = {"type": "dense_vector", "element_type": "bit", "dims": hidden_dim, "index": True, "similarity": "l2_norm"}
        bits["index_options"] = {"type": "flat" if self.index is False else "hnsw"}
        return {"settings": self._settings(), "mappings": {"dynamic": False, "properties": {"bits": bits, **FIELDS}}}

    def bits_of(self, bits: np.ndarray) -> Any:
        """Bits, uint8 (D / 8,), as the server takes them: hexadecimal."""
        return bits.tobytes().hex()

    def search_body(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> dict[str, Any]:
        """The ``count`` nearest of the documents that have a keyword of every group; copies of the bits come along in ``code``."""
        knn: dict[str, Any] = {
            "field": "bits",
            "query_vector": self.bits_of(bits),
            "k": count,
            "num_candidates": min(10_000, 2 * count),
        }
        if groups:
            knn["filter"] = filter_clauses(groups)
        return {"knn": knn, "size": count, "_source": ["code"]}

    def _settings(self) -> dict[str, Any]:
        wanted = {"number_of_shards": self.shards, "number_of_replicas": self.replicas}
        return {"index": {key: value for key, value in wanted.items() if value is not None}}

    # -- the engine -------------------------------------------------------------------------------------------------

    def hidden_dim(self) -> int | None:
        answer = self._call("GET", f"/{self.collection}/_mapping", missing={})
        if not answer:
            return None
        bits = next(iter(answer.values()))["mappings"].get("properties", {}).get("bits", {})
        width = bits.get("dims", bits.get("dimension"))
        if width is None:
            raise BSAError(f"index {self.collection} was not made by bsa_st; choose another collection")
        return int(width)

    def _create(self, hidden_dim: int) -> None:
        self._call("PUT", f"/{self.collection}", self.index_body(hidden_dim))

    def _upsert(self, documents: Documents) -> None:
        self._bulk(bulk_lines(documents, self.bits_of))

    def _bulk(self, lines: Iterator[dict[str, Any]]) -> None:
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        answer = self._call("POST", f"/{self.collection}/_bulk", body)
        results = [result for item in answer["items"] for result in item.values()]
        failed = [
            result for result in results if result["status"] >= 300 and result["status"] != 404
        ]  # 404: deletes what is not there
        if failed:
            words = (
                f"{self.name} took {len(results) - len(failed)} of {len(results)} documents: {one_line(failed[0].get('error'))}"
            )
            raise (Unavailable if all(result["status"] in BUSY for result in failed) else BSAError)(words)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        path = f"/{self.collection}/_search?allow_partial_search_results=false"  # else a shard that fails is left out silently
        return _found(self._call("POST", path, self.search_body(bits, count, groups))["hits"]["hits"], len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        body = {"docs": [{"_id": str(name), "_source": ["code", "payload"]} for name in ids]}
        hits = [one for one in self._call("POST", f"/{self.collection}/_mget", body)["docs"] if one.get("found")]
        return _found(hits, self._existing() // 8), [one["_source"].get("payload", {}) for one in hits]

    def _count(self, groups: list[list[str]]) -> int:
        self.finish()
        body = {"query": {"bool": {"filter": filter_clauses(groups)}}} if groups else None
        return int(self._call("POST", f"/{self.collection}/_count", body)["count"])

    def _delete(self, ids: list[int]) -> None:
        self._bulk({"delete": {"_id": str(name)}} for name in ids)

    def drop(self) -> None:
        self._call("DELETE", f"/{self.collection}", missing={})
        self._width = None

    def finish(self) -> None:
        """Make what was sent visible to searches."""
        self._call("POST", f"/{self.collection}/_refresh")

    def close(self) -> None:
        self._client.close()


FIELDS = {
    "tags": {"type": "keyword"},
    "code": {"type": "keyword", "index": False, "doc_values": False},
    "payload": {"type": "object", "enabled": False},
}
"""``code`` holds the bits as hexadecimal text for fetching: newer servers leave vectors out of what they return."""


def bulk_lines(documents: Documents, bits_of: Any) -> Iterator[dict[str, Any]]:
    """Pairs of an action and a document, as the bulk interface takes them."""
    for name, bits, tags, payload in zip(
        documents.ids.tolist(), documents.bits, documents.keywords, documents.payloads, strict=True
    ):
        yield {"index": {"_id": str(name)}}
        yield {"bits": bits_of(bits), "code": bits.tobytes().hex(), "tags": tags, "payload": dict(payload)}


def filter_clauses(groups: list[list[str]]) -> list[dict[str, Any]]:
    """Clauses that all have to hold."""
    return [{"terms": {"tags": group}} for group in groups]


def _found(hits: list[dict[str, Any]], width: int) -> Found:
    packed = np.frombuffer(bytes.fromhex("".join(hit["_source"]["code"] for hit in hits)), np.uint8).reshape(-1, width)
    return Found(np.array([int(hit["_id"]) for hit in hits], np.int64), packed)
