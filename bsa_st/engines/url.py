"""Addresses of engines: which engine they name, and as they may be shown."""

from __future__ import annotations

import re


def shown_url(url: str) -> str:
    """The address, or libpq's connection string, without its password."""
    hidden = re.sub(r"(//[^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]*)", r"\1***", hidden)


def one_line(error: object) -> str:
    """What an error says, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
