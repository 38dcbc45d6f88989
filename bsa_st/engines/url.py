"""Addresses: checked, and as they may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bsa_st.errors import BSAError


def shown_url(url: str) -> str:
    """The address, or libpq's connection string, without its password."""
    hidden = re.sub(r"(//[^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]*)", r"\1***", hidden)


def check_url(url: str, name: str) -> str:
    """The address, if it is one of a web server.

    Args:
        url: ``http://host:port`` or ``https://...``.
        name: Of the engine, for the message.

    Raises:
        BSAError: If it is none.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)
        _ = parts.port  # raises if it is no port
    except ValueError:
        valid = False
    if not valid:
        raise BSAError(f"the address of {name} looks like http://host:port or https://host:port, got {shown_url(url)!r}")
    return url
