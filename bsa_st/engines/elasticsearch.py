"""An index on an Elasticsearch server; what it holds is told in :mod:`bsa_st.engines.lucene`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import elasticsearch

from bsa_st.engines.documents import Unavailable
from bsa_st.engines.rest import RestEngine
from bsa_st.errors import BSAError


class ElasticsearchEngine(RestEngine):
    """Elasticsearch from 8.0 on, through its own client, which checks that the server is one; see :class:`RestEngine`."""

    name = "Elasticsearch"
    flavour = "elasticsearch"
    oldest = 8

    def _connect(self, url: str, api_key: str | None, timeout: float) -> None:
        try:
            self.client = elasticsearch.Elasticsearch(url, api_key=api_key, request_timeout=timeout, max_retries=0)
        except ValueError as error:
            raise BSAError(f"{self._shown}: {error}") from error

    def _request(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        try:
            answer = self.client.perform_request(method, path, headers=headers, body=body)
        except elasticsearch.UnsupportedProductError as error:
            raise BSAError(f"{self._shown} answers, but is not Elasticsearch; check the address and --engine") from error
        except elasticsearch.ApiError as error:
            return error.meta.status, error.body
        except elasticsearch.SerializationError as error:
            raise BSAError(f"{self._shown} answers, but not as Elasticsearch does; check the address") from error
        except elasticsearch.TransportError as error:
            raise Unavailable(f"Elasticsearch at {self._shown} does not answer ({error.message})") from error
        return answer.meta.status, answer.body

    def close(self) -> None:
        self.client.close()
