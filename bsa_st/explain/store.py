"""``bsa/features.json``: the labels of a model's features, beside its head.

Texts are stored once, in ``strings``, and named by their position. Reading checks everything that a page or an explanation relies on, as
the file may come from anywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bsa_st.atomic import atomic_file
from bsa_st.errors import BSAError
from bsa_st.explain.atlas import Family, Feature, FeatureAtlas, Neighbour, Term, head_fingerprint
from bsa_st.head.layer import BinarySparsityAlignment

FILE = "features.json"
FORMAT_VERSION = 1
KINDS = ("strongest", "borderline", "just_off", "nearest")


def write_features(atlas: FeatureAtlas, folder: Path) -> Path:
    """Write ``features.json`` into a ``bsa`` folder, atomically, and return its path.

    Raises:
        BSAError: If the folder is none of a BSA model, or the disk fails.
    """
    if not (folder / "config.json").is_file():
        raise BSAError(f"{folder}: no folder of a BSA head; save the model first")
    path = folder / FILE
    with atomic_file(path) as file:
        file.write(json.dumps(to_json(atlas), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    return path


def read_features(path: Path, head: BinarySparsityAlignment) -> FeatureAtlas:
    """Read a file of :func:`write_features` for a head.

    Raises:
        BSAError: If it is missing, damaged, of a newer version or about another head; the message names the file.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BSAError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BSAError(f"{path}: damaged ({error})") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int:
        raise BSAError(f"{path}: damaged (no format_version)")
    if version > FORMAT_VERSION:
        raise BSAError(f"{path}: format version {version} is newer than this bsa_st reads ({FORMAT_VERSION}); update bsa_st")
    if content.get("head") != head_fingerprint(head):
        raise BSAError(f"{path}: these labels are of another head; remove the file or run bsa-st explore again")
    try:
        atlas = from_json(content)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise BSAError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    if len(atlas.features) != head.hidden_dim:
        raise BSAError(f"{path}: labels of {len(atlas.features)} features, the head has {head.hidden_dim}")
    return atlas


def to_json(atlas: FeatureAtlas) -> dict[str, Any]:
    """The atlas as plain JSON values, every text once."""
    strings: dict[str, int] = {}

    def place(text: str) -> int:
        return strings.setdefault(text, len(strings))

    features = [
        {
            "count": feature.count,
            "label": feature.label,
            "auc": feature.auc,
            "terms": [list(term) for term in feature.terms],
            **{kind: [[place(text), value] for text, value in getattr(feature, kind)] for kind in KINDS},
            "neighbours": [list(neighbour) for neighbour in feature.neighbours],
            "family": feature.family,
            "place": list(feature.place),
        }
        for feature in atlas.features
    ]
    examples = [[place(text), list(ids)] for text, ids in atlas.examples]
    return {
        "format_version": FORMAT_VERSION,
        "head": atlas.head,
        "texts": atlas.texts,
        "sampled": atlas.sampled,
        "active": list(atlas.active),
        "groups": list(atlas.groups),
        "families": [[family.label, family.group] for family in atlas.families],
        "features": features,
        "examples": examples,
        "strings": list(strings),
    }


def from_json(content: dict[str, Any]) -> FeatureAtlas:
    """Inverse of :func:`to_json`; a value that does not fit raises one of Python's own errors."""
    strings = [_text(text) for text in content["strings"]]
    hidden_dim = len(content["features"])
    families = [Family(_text(label), _below(group, len(content["groups"]))) for label, group in content["families"]]
    features = [
        Feature(
            id=number,
            count=_whole(entry["count"]),
            label=_text(entry["label"]),
            auc=None if entry["auc"] is None else _real(entry["auc"]),
            terms=[Term(_text(term), _whole(count), _real(lift)) for term, count, lift in entry["terms"]],
            **{kind: [(strings[_below(at, len(strings))], _real(value)) for at, value in entry[kind]] for kind in KINDS},
            neighbours=[
                Neighbour(_below(other, hidden_dim), _whole(together), _real(cosine))
                for other, together, cosine in entry["neighbours"]
            ],
            family=_below(entry["family"], len(families)),
            place=(_real(entry["place"][0]), _real(entry["place"][1])),
        )
        for number, entry in enumerate(content["features"])
    ]
    return FeatureAtlas(
        head=_text(content["head"]),
        texts=_whole(content["texts"]),
        sampled=_whole(content["sampled"]),
        features=features,
        families=families,
        groups=[_text(label) for label in content["groups"]],
        active=[_whole(count) for count in content["active"]],
        examples=[
            (strings[_below(at, len(strings))], [_below(feature, hidden_dim) for feature in ids])
            for at, ids in content["examples"]
        ],
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.40}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a count, got {value!r:.40}")
    return value


def _below(value: Any, limit: int) -> int:
    if _whole(value) >= limit:
        raise ValueError(f"{value} is not below {limit}")
    return int(value)


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return float(value)
