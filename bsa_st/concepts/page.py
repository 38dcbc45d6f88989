"""The page: a model's named features in one HTML file, which loads nothing from elsewhere.

Texts cannot run anything: the data is gzip in base64, the script builds text nodes only, and the page's content security policy allows
this one script and style sheet, by their hashes, and no connection at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from bsa_st.atomic import atomic_file
from bsa_st.concepts.atlas import clip

SCRIPTS = ("dom.js", "data.js", "charts.js", "features.js", "pairs.js", "main.js")
MAX_BYTES = 3_000_000
BEGINNING = b"<!doctype html>\n<!-- named features, by bsa_st -->"  # by which a page of ours is known
CHARACTERS = (200, 160, 110, 80, 50)  # lengths that texts are cut to, the longest first whose page stays under the limit


def write_page(atlas: dict[str, Any], path: Path, title: str = "Named features") -> int:
    """Write the page of an atlas to an HTML file, atomically, and return its size in bytes."""
    content = render_page(atlas, title).encode()
    with atomic_file(path) as file:
        file.write(content)
    return len(content)


def render_page(atlas: dict[str, Any], title: str, limit: int = MAX_BYTES) -> str:
    """The page as text; texts are cut shorter until it stays under ``limit`` bytes, or is as short as it gets."""
    folder = files("bsa_st.concepts") / "template"
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "\n".join(['"use strict";', *((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)])
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
    policy += "base-uri 'none'; form-action 'none'; img-src data:"
    template = Template((folder / "page.html").read_text(encoding="utf-8"))
    page = ""
    for characters in CHARACTERS:
        shown = {**atlas, "strings": [clip(text, characters) for text in atlas["strings"]]}
        raw = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        data = base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
        page = template.substitute(policy=policy, title=html.escape(title), style=style, script=script, data=data)
        if len(page.encode()) <= limit:
            break
    return page


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
