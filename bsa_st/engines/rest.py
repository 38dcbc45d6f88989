"""What Elasticsearch and OpenSearch have in common: an index behind a REST interface; bodies come from :mod:`bsa_st.engines.lucene`."""

from __future__ import annotations

import abc
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from bsa_st.engines import lucene
from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Documents, Filter, Layout, Unavailable, check_name
from bsa_st.engines.queries import SparseQuery
from bsa_st.engines.url import check_url, shown_url
from bsa_st.errors import BSAError

BUSY = (408, 429, 500, 502, 503, 504)


class RestEngine(Engine):
    """An index of a server that speaks Elasticsearch's REST interface.

    Args:
        url: ``http://host:9200`` or ``https://user:password@host:9200``.
        collection: Name of the index.
        shards: Primary shards of a new index.
        replicas: Copies of each shard of a new index.
        api_key: Of the server.
        timeout: Seconds that a request may take.

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the name is no name, or the server is another product or too old.
    """

    flavour: ClassVar[str]
    oldest: ClassVar[int]

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        shards: int | None = None,
        replicas: int | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.collection = check_name(collection)
        self.shards, self.replicas = shards, replicas
        self._shown = shown_url(url)
        self._connect(check_url(url, self.name), api_key, timeout)
        self._check_server(self._call("GET", "/"))

    @abc.abstractmethod
    def _connect(self, url: str, api_key: str | None, timeout: float) -> None: ...

    @abc.abstractmethod
    def _request(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and decoded answer; an error status is returned, a lost connection raises :class:`Unavailable`."""

    def _check_server(self, answer: Any) -> None:
        version = answer.get("version") if isinstance(answer, dict) else None
        number = str(version.get("number", "")) if isinstance(version, dict) else ""
        product = str(version.get("distribution", "elasticsearch")) if isinstance(version, dict) else ""
        if not number[:1].isdigit() or product != self.flavour:
            raise BSAError(f"{self._shown} answers, but is not {self.name}; check the address and --engine")
        if int(number.split(".")[0]) < self.oldest:
            raise BSAError(f"{self.name} {number} at {self._shown} is too old; bsa_st needs {self.oldest} or newer")

    def layout(self) -> Layout | None:
        answer = self._call("GET", f"/{self.collection}/_mapping", missing={})
        if not answer:
            return None
        mapping = next(iter(answer.values()))["mappings"]
        return Layout.from_json(mapping.get("_meta"), f"index {self.collection}")

    def _create(self, layout: Layout) -> None:
        body = lucene.index_body(layout, self.flavour, self.shards, self.replicas)
        self._call("PUT", f"/{self.collection}", body)

    def _upsert(self, documents: Documents) -> None:
        self._bulk(lucene.bulk_lines(documents, self.flavour))

    def _bulk(self, lines: Iterable[str]) -> None:
        """Send actions; one that fails is an error, unless it deletes what is not there."""
        answer = self._call("POST", f"/{self.collection}/_bulk", "".join(f"{line}\n" for line in lines))
        done = [(action, result) for item in answer["items"] for action, result in item.items()]
        failed = [
            result for action, result in done if result["status"] >= 300 and (action, result["status"]) != ("delete", 404)
        ]
        if not failed:
            return
        reason = json.dumps(failed[0].get("error"))[:200]
        words = f"{self.name} at {self._shown} took {len(done) - len(failed)} of {len(done)} documents: {reason}"
        raise (Unavailable if all(result["status"] in BUSY for result in failed) else BSAError)(words)

    def count(self, filter: Filter | None = None) -> int:
        self._call("POST", f"/{self.collection}/_refresh")
        clauses = lucene.filter_clauses(filter)
        body = {"query": {"bool": {"filter": clauses}}} if clauses else None
        return int(self._call("POST", f"/{self.collection}/_count", body)["count"])

    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        fields = ["source", "payload"] if with_payload else ["source"]
        body = {"docs": [{"_id": str(name), "_source": fields} for name in ids]}
        found = [entry for entry in self._call("POST", f"/{self.collection}/_mget", body)["docs"] if entry.get("found")]
        return [(int(entry["_id"]), entry["_source"].get("source", ""), entry["_source"].get("payload", {})) for entry in found]

    def delete(self, ids: Sequence[int]) -> None:
        if len(ids):
            self._bulk(json.dumps({"delete": {"_id": str(int(name))}}) for name in ids)

    def drop(self) -> None:
        self._call("DELETE", f"/{self.collection}", missing={})
        self._known = None

    def finish(self) -> None:
        """Make what was loaded visible to searches."""
        self._call("POST", f"/{self.collection}/_refresh")

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        path = f"/{self.collection}/_search?allow_partial_search_results=false"  # else a shard that fails is left out silently
        answer = self._call("POST", path, lucene.search_body(query, top_k, filter, self.flavour))
        lift = lucene.lift_of(query)
        return [(int(hit["_id"]), hit["_score"] - lift) for hit in answer["hits"]["hits"]]

    def _call(self, method: str, path: str, body: dict[str, Any] | str | None = None, missing: Any = None) -> Any:
        """The server's answer; ``missing`` for 404, if it is given."""
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        text = body if isinstance(body, str) or body is None else json.dumps(body, ensure_ascii=False)
        headers = {"Accept": "application/json", **({"Content-Type": kind} if text is not None else {})}
        status, answer = self._request(method, path, text, headers)
        if status < 300:
            return answer
        if status == 404 and missing is not None:
            return missing
        words = f"{self.name} at {self._shown}"
        if status in (401, 403):
            raise BSAError(f"{words} refuses access ({status}); check the user, the password or the API key")
        reason = " ".join(_reason(answer).split())[:200]
        if "media_type_header" in reason:
            raise BSAError(f"{words} is of another major version than the Python client; install the client of the server's")
        raise (Unavailable if status in BUSY else BSAError)(f"{words} answers {status}: {reason}")


def _reason(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        return f"{error.get('type', '')}: {error.get('reason', '')}"
    return str(error)
