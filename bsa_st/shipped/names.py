"""Named features that ship: the named dictionary of an encoder, its atoms in eight bits."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from bsa_st.concepts.dictionary import NamedDictionary, unit
from bsa_st.shipped.packed import FOLDER

NAMES = "names"
"""Key of the metadata that holds names, aliases and ``k`` as JSON."""


def names_file(encoder: str, folder: Path = FOLDER) -> Path:
    """Where the names of an encoder ship, by its name on the Hub."""
    return folder / f"{encoder.rsplit('/', 1)[-1]}-names.safetensors"


def read_names(encoder: str, folder: Path = FOLDER) -> NamedDictionary | None:
    """The named features that ship for an encoder; None where there are none."""
    path = names_file(encoder, folder)
    if not path.is_file():
        return None
    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()[NAMES])
        arrays = {name: file.get_tensor(name) for name in ("atoms", "mean", "thresholds", "rates")}
    arrays["atoms"] = unit(arrays["atoms"])
    aliases = tuple(map(tuple, content["aliases"]))
    return NamedDictionary(names=tuple(content["names"]), aliases=aliases, k=content["k"], **arrays)
