"""Addresses as they may be shown."""

from __future__ import annotations

import re


def shown_url(url: str) -> str:
    """The address without its password."""
    return re.sub(r"(//[^/@:]*):[^@/]*@", r"\1:***@", url)
