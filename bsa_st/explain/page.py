"""The page: everything about a model's features in one HTML file, which loads nothing from elsewhere.

Texts cannot run anything: the data is gzip in base64, the script builds text nodes only, and the page's content security policy allows
this one script and style sheet, by their hashes, and no connection at all.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from bsa_st.atomic import atomic_file
from bsa_st.explain.atlas import Feature, FeatureAtlas
from bsa_st.explain.collect import clip
from bsa_st.explain.store import KINDS, to_json

SCRIPTS = ("dom.js", "data.js", "charts.js", "features.js", "texts.js", "main.js")
MAX_BYTES = 5_000_000
CHARACTERS = (240, 160, 110, 80, 50)
"""Lengths that texts are cut to, the longest first whose page stays under the limit."""


def write_page(atlas: FeatureAtlas, path: Path, title: str = "Binary sparse codes") -> int:
    """Write the page, atomically, and return its size in bytes.

    Args:
        atlas: From :func:`bsa_st.label_features`.
        path: The HTML file; its folder is created.
        title: Title of the page, e.g. the model's name.

    Raises:
        BSAError: If the file cannot be written.
    """
    content = render_page(atlas, title).encode()
    with atomic_file(path) as file:
        file.write(content)
    return len(content)


def render_page(atlas: FeatureAtlas, title: str, limit: int = MAX_BYTES) -> str:
    """The page as text; texts are cut shorter until it stays under ``limit`` bytes, or is as short as it gets."""
    page = ""
    for characters in CHARACTERS:
        page = _render(atlas if characters == CHARACTERS[0] else shorten(atlas, characters), title)
        if len(page.encode()) <= limit:
            break
    return page


def shorten(atlas: FeatureAtlas, characters: int) -> FeatureAtlas:
    """The same with all texts cut to so many characters."""

    def cut(feature: Feature) -> Feature:
        shorter: dict[str, Any] = {
            kind: [(clip(text, characters), value) for text, value in getattr(feature, kind)] for kind in KINDS
        }
        return dataclasses.replace(feature, **shorter)

    examples = [(clip(text, characters), ids) for text, ids in atlas.examples]
    return dataclasses.replace(atlas, features=[cut(feature) for feature in atlas.features], examples=examples)


def _render(atlas: FeatureAtlas, title: str) -> str:
    folder = files("bsa_st.explain") / "template"
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "\n".join(['"use strict";', *((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)])
    raw = json.dumps(to_json(atlas), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'; "
        "img-src data:"
    )
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        script=script,
        data=base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode(),
    )


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
