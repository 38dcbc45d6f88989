"""Elasticsearch: ``dense_vector`` fields with ``element_type: bit``, an HNSW graph by Hamming distance, keywords as a ``keyword`` field.

Spoken to by its REST interface, through httpx. Bodies are made by pure functions, checked against the documentation, and the client against a stub server; no
Elasticsearch was run here. Documentation: the pages "Dense vector field type", "kNN search" and "Bulk API" of the reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, ClassVar

import httpx
import numpy as np

from bsa_st.engines.base import BUSY, TIMEOUT, Documents, Engine, Found, Unavailable, one_line
from bsa_st.errors import BSAError

FIELDS = {
    "tags": {"type": "keyword"},
    "code": {"type": "keyword", "index": False, "doc_values": False},
    "payload": {"type": "object", "enabled": False},
}
"""``code`` holds the bits as hexadecimal text for fetching: newer servers leave vectors out of what they return. The payload is kept and not indexed, so that its
fields cannot make the mapping grow."""


class ElasticsearchEngine(Engine):
    """An index of Elasticsearch from 8.15 on, or of what answers like it (:mod:`bsa_st.engines.opensearch`).

    ``elasticsearch+https://user:password@host:9200``, or ``elasticsearch://host:9200`` without encryption. ``index=False`` compares all bits; the graph is a
    property of a new index and cannot be added later.
    """

    name = "Elasticsearch"
    options = ("index", "api_key", "shards", "replicas")
    batch_size = 1000
    errors = (httpx.TransportError, httpx.InvalidURL, json.JSONDecodeError)
    flavour: ClassVar[str] = "elasticsearch"
    oldest: ClassVar[tuple[int, int]] = (8, 15)

    @cached_property
    def _opened(self) -> httpx.Client:
        key = self.server.get("api_key")
        headers = {"Authorization": f"ApiKey {key}"} if key else {}
        url = f"{self.transport or 'http'}://{self.place}"
        return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT)

    def _connect(self) -> None:
        answer = self._call("GET", "/")
        version = answer.get("version") if isinstance(answer, dict) else None
        version = version if isinstance(version, dict) else {}
        number = str(version.get("number", ""))
        if not number[:1].isdigit() or version.get("distribution", "elasticsearch") != self.flavour:
            raise BSAError(f"{self.where} answers, but is not {self.name}; check the address")
        self._check_version(number, self.oldest)

    def _call(self, method: str, path: str, body: dict[str, Any] | str | None = None, missing: Any = None) -> Any:
        """The server's answer to JSON or lines of it; ``missing`` for 404, if it is given."""
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        content = json.dumps(body) if isinstance(body, dict) else body
        answer = self._opened.request(method, path, content=content, headers={"Content-Type": kind} if content else None)
        status = answer.status_code
        if status == 404 and missing is not None:
            return missing
        if status >= 300:
            raise self._refusal(status, answer.text)
        return answer.json()

    def _error(self, error: Exception) -> BSAError:
        if isinstance(error, json.JSONDecodeError):
            return BSAError(f"{self.where} answers, but not as {self.name} does; check the address")
        if isinstance(error, httpx.TransportError):
            return Unavailable(f"{self.where} does not answer ({one_line(error)})")
        return super()._error(error)

    def index_body(self, hidden_dim: int) -> dict[str, Any]:
        """Settings and mapping of a new index."""
        bits = {"type": "dense_vector", "element_type": "bit", "dims": hidden_dim, "index": True, "similarity": "l2_norm"}
        return self._mapped({**bits, "index_options": {"type": "flat" if self.index is False else "hnsw"}})

    def bits_of(self, bits: np.ndarray) -> Any:
        """Bits, uint8 (D / 8,), as the server takes them: hexadecimal."""
        return bits.tobytes().hex()

    def search_body(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> dict[str, Any]:
        """The ``count`` nearest of the documents that have a keyword of every group; copies of the bits come along in ``code``."""
        knn = {"field": "bits", "query_vector": self.bits_of(bits), "k": count, "num_candidates": min(10_000, 2 * count)}
        return {"knn": {**knn, **({"filter": filter_clauses(groups)} if groups else {})}, "size": count, "_source": ["code"]}

    def _mapped(self, bits: dict[str, Any], **settings: Any) -> dict[str, Any]:
        settings |= {f"number_of_{name}": self.server.get(name) for name in ("shards", "replicas")}
        index = {key: value for key, value in settings.items() if value is not None}
        return {"settings": {"index": index}, "mappings": {"dynamic": False, "properties": {"bits": bits, **FIELDS}}}

    def _hidden_dim(self) -> int | None:
        answer = self._call("GET", f"/{self.collection}/_mapping", missing={})
        if not answer:
            return None
        bits = next(iter(answer.values()))["mappings"].get("properties", {}).get("bits", {})
        return int(bits.get("dims", bits.get("dimension", 0)))

    def _create(self, hidden_dim: int) -> None:
        self._call("PUT", f"/{self.collection}", self.index_body(hidden_dim))

    def _upsert(self, documents: Documents) -> None:
        self._bulk(bulk_lines(documents, self.bits_of))

    def _bulk(self, lines: Iterable[dict[str, Any]]) -> None:
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        answer = self._call("POST", f"/{self.collection}/_bulk", body)
        results = [result for item in answer["items"] for result in item.values()]
        # 404: deletes what is not there
        failed = [result for result in results if result["status"] >= 300 and result["status"] != 404]
        if failed:
            kind = Unavailable if all(result["status"] in BUSY for result in failed) else BSAError
            took = f"{self.name} took {len(results) - len(failed)} of {len(results)} documents"
            raise kind(f"{took}: {one_line(failed[0].get('error'))}")

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        path = f"/{self.collection}/_search?allow_partial_search_results=false"  # else a shard that fails is left out silently
        return _found(self._call("POST", path, self.search_body(bits, count, groups))["hits"]["hits"], len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        body = {"docs": [{"_id": str(name), "_source": ["code", "payload"]} for name in ids]}
        hits = [one for one in self._call("POST", f"/{self.collection}/_mget", body)["docs"] if one.get("found")]
        return _found(hits, self._existing() // 8), [one["_source"].get("payload", {}) for one in hits]

    def _count(self, groups: list[list[str]]) -> int:
        self._finish()
        body = {"query": {"bool": {"filter": filter_clauses(groups)}}} if groups else None
        return int(self._call("POST", f"/{self.collection}/_count", body)["count"])

    def _delete(self, ids: list[int]) -> None:
        self._bulk({"delete": {"_id": str(name)}} for name in ids)

    def _drop(self) -> None:
        self._call("DELETE", f"/{self.collection}", missing={})

    def _finish(self) -> None:
        self._call("POST", f"/{self.collection}/_refresh")  # visible to searches from now on


def bulk_lines(documents: Documents, bits_of: Any) -> Iterator[dict[str, Any]]:
    """Pairs of an action and a document, as the bulk interface takes them."""
    parts = zip(documents.ids.tolist(), documents.bits, documents.keywords, documents.payloads, strict=True)
    for name, bits, tags, payload in parts:
        yield {"index": {"_id": str(name)}}
        yield {"bits": bits_of(bits), "code": bits.tobytes().hex(), "tags": tags, "payload": dict(payload)}


def filter_clauses(groups: list[list[str]]) -> list[dict[str, Any]]:
    """Clauses that all have to hold."""
    return [{"terms": {"tags": group}} for group in groups]


def _found(hits: list[dict[str, Any]], width: int) -> Found:
    return Found.of((hit["_id"] for hit in hits), (bytes.fromhex(hit["_source"]["code"]) for hit in hits), width)
