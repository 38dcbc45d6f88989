"""Named features that ship: the named dictionary of an encoder, its atoms in eight bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from bsa_st.concepts.dictionary import NamedDictionary, fit_thresholds, unit
from bsa_st.shipped.packed import FOLDER

NAMES = "names"
"""Key of the metadata that holds names, aliases and ``k`` as JSON."""


def names_file(encoder: str, folder: Path = FOLDER) -> Path:
    """Where the names of an encoder ship, by its name on the Hub."""
    return folder / f"{encoder.rsplit('/', 1)[-1]}-names.safetensors"


def write_names(dictionary: NamedDictionary, texts: np.ndarray, encoder: str, folder: Path = FOLDER) -> Path:
    """Write a dictionary; returns the path of its file.

    Args:
        dictionary: D named features.
        texts: Embeddings that thresholds are fitted to once more, for the rounded atoms: float (n, d).
        encoder: The encoder's name on the Hub.
        folder: Where to write.
    """
    atoms = np.round(127 * dictionary.atoms / np.abs(dictionary.atoms).max(axis=1, keepdims=True)).astype(np.int8)
    thresholds, rates = fit_thresholds(unit(texts), dictionary.mean, unit(atoms), dictionary.k)
    arrays = {"atoms": atoms, "mean": dictionary.mean, "thresholds": thresholds, "rates": rates}
    content = {"names": dictionary.names, "aliases": dictionary.aliases, "k": dictionary.k}
    save_file(arrays, names_file(encoder, folder), {NAMES: json.dumps(content)})
    return names_file(encoder, folder)


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
