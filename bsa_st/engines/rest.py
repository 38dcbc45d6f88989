"""Requests to Elasticsearch and OpenSearch, through httpx: every failure as one line."""

from __future__ import annotations

import json
from typing import Any

import httpx

from bsa_st.engines.base import Unavailable
from bsa_st.engines.url import one_line, shown_url
from bsa_st.errors import BSAError

BUSY = (408, 429, 500, 502, 503, 504)


class RestServer:
    """A server that has answered and is what it should be.

    Args:
        url: ``elasticsearch+https://user:password@host:9200``; without ``+https`` there is no encryption.
        flavour: Scheme of the address, and the distribution that the server names.
        name: For messages.
        oldest: The first version that will do.
        api_key: Of the server.
        timeout: Seconds that a request may take.

    Raises:
        Unavailable: If the server does not answer.
        BSAError: If the address is none, or the server is another product or too old.
    """

    def __init__(self, url: str, flavour: str, name: str, oldest: tuple[int, int], api_key: str | None, timeout: float) -> None:
        self._name, self._shown = name, shown_url(url)
        transport, place = url.removeprefix(flavour).split("://", 1)
        headers = {"Authorization": f"ApiKey {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(base_url=f"{transport[1:] or 'http'}://{place}", headers=headers, timeout=timeout)
        except (httpx.InvalidURL, ValueError) as error:
            raise BSAError(f"{self._shown}: {one_line(error)}") from error
        answer = self.call("GET", "/")
        version = answer.get("version") if isinstance(answer, dict) else None
        number = str(version.get("number", "")) if isinstance(version, dict) else ""
        product = str(version.get("distribution", "elasticsearch")) if isinstance(version, dict) else ""
        if not number[:1].isdigit() or product != flavour:
            raise BSAError(f"{self._shown} answers, but is not {name}; check the address")
        if tuple(int(part) for part in number.split(".")[:2]) < oldest:
            raise BSAError(f"{name} {number} at {self._shown} is too old; bsa_st needs {oldest[0]}.{oldest[1]} or newer")

    def call(self, method: str, path: str, body: dict[str, Any] | str | None = None, missing: Any = None) -> Any:
        """The server's answer; ``missing`` for 404, if it is given.

        Args:
            method: ``GET``, ``POST``, ...
            path: From the root.
            body: JSON, or lines of it.
            missing: What stands for something that is not there.
        """
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        content = body if isinstance(body, str) or body is None else json.dumps(body)
        try:
            answer = self._client.request(method, path, content=content, headers={"Content-Type": kind} if content else None)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._name} at {self._shown} does not answer ({one_line(error)})") from error
        if answer.status_code == 404 and missing is not None:
            return missing
        words = f"{self._name} at {self._shown}"
        if answer.status_code in (401, 403):
            raise BSAError(f"{words} refuses access ({answer.status_code}); check the user, the password or the API key")
        if answer.status_code >= 300:
            kind_of = Unavailable if answer.status_code in BUSY else BSAError
            raise kind_of(f"{words} answers {answer.status_code}: {one_line(answer.text)}")
        try:
            return answer.json()
        except ValueError as error:
            raise BSAError(f"{self._shown} answers, but not as {self._name} does; check the address") from error

    def close(self) -> None:
        """Release connections."""
        self._client.close()
