"""An index on an OpenSearch server; what it holds is told in :mod:`bsa_st.engines.lucene`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import opensearchpy

from bsa_st.engines.documents import Unavailable
from bsa_st.engines.rest import RestEngine
from bsa_st.errors import BSAError


class OpenSearchEngine(RestEngine):
    """OpenSearch from 2.11 on, with its neural search plugin, through ``opensearch-py``; see :class:`RestEngine`."""

    name = "OpenSearch"
    flavour = "opensearch"
    oldest = 2

    def _connect(self, url: str, api_key: str | None, timeout: float) -> None:
        headers = {"Authorization": f"ApiKey {api_key}"} if api_key else None
        self.client = opensearchpy.OpenSearch(url, timeout=timeout, max_retries=0, headers=headers)

    def _request(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        try:
            return 200, self.client.transport.perform_request(method, path, body=body, headers=dict(headers))
        except opensearchpy.ConnectionError as error:
            raise Unavailable(f"OpenSearch at {self._shown} does not answer ({error.error})") from error
        except opensearchpy.SerializationError as error:
            raise BSAError(f"{self._shown} answers, but not as OpenSearch does; check the address") from error
        except opensearchpy.TransportError as error:
            return int(error.status_code), error.info
        except opensearchpy.ImproperlyConfigured as error:
            raise BSAError(f"{self._shown}: {error}") from error

    def close(self) -> None:
        self.client.close()
