"""Reading and writing the files of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bsa_st import BSAError
from bsa_st.atomic import atomic_file


def read_json(path: Path) -> Any:
    """Content of a JSON file; raises :class:`BSAError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BSAError(f"cannot read {path}: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON; lists of dicts take one line per dict, so that differences between runs can be read."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(item) for item in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    write(path, text.encode())


def write(path: Path, content: bytes) -> None:
    """Put a file in place whole, in a folder that is made if it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BSAError(f"cannot write in {path.parent}: {error.strerror}") from error
    with atomic_file(path) as file:
        file.write(content)
