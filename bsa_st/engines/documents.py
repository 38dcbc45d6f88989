"""What a collection holds, documents on their way into it, and filters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError

FORMAT_VERSION = 1
"""Of what a collection holds; a collection of a newer format is refused."""

Payload = Mapping[str, Any]
Filter = Mapping[str, Any]
"""Fields of the payload and what they must equal: a string, an integer or a boolean, or a list of which one must match."""


class Unavailable(BSAError):
    """The server does not answer, or says that it cannot now: the same call may succeed later."""


class Layout(NamedTuple):
    """What a collection holds.

    Attributes:
        hidden_dim: Number D of features.
        asymmetric: Whether every document carries its factor, which float queries need.
        form: Column type in PostgreSQL: ``sparsevec`` or ``bit``.
    """

    hidden_dim: int
    asymmetric: bool = False
    form: str = "sparsevec"

    def to_json(self) -> dict[str, Any]:
        return {"bsa_st_format": FORMAT_VERSION, **self._asdict()}

    @classmethod
    def from_json(cls, record: Any, where: str) -> Layout:
        """Inverse of :meth:`to_json`; raises :class:`BSAError` naming ``where`` if a newer or another program wrote it."""
        if not isinstance(record, dict) or type(record.get("bsa_st_format")) is not int:
            raise BSAError(f"{where} was not made by bsa_st; choose another collection")
        if record["bsa_st_format"] > FORMAT_VERSION:
            newer = record["bsa_st_format"]
            raise BSAError(f"{where} has format {newer}, newer than this bsa_st reads ({FORMAT_VERSION}); update bsa_st")
        return cls(int(record["hidden_dim"]), bool(record["asymmetric"]), str(record.get("form", "sparsevec")))


class Documents(NamedTuple):
    """Checked documents on their way into an engine.

    Attributes:
        ids: int64 (n,), distinct, not negative.
        codes: n codes.
        factors: What the float query's sum is multiplied by, float32 (n,); None where the layout has none.
        payloads: One mapping each.
        source: Name of the content that they come from.
    """

    ids: list[int]
    codes: BinaryCodes
    factors: list[float] | None
    payloads: Sequence[Payload]
    source: str

    def features(self, row: int) -> list[int]:
        """Active features of a document."""
        return self.codes.ids[self.codes.indptr[row] : self.codes.indptr[row + 1]].tolist()


def check_name(collection: str) -> str:
    """A collection name that every engine takes: small letters, digits, ``_`` and ``-``, a letter first, at most 48."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,47}", collection):
        raise BSAError(
            f"a collection's name has small letters, digits, _ and -, a letter first, at most 48; got {collection!r}"
        )
    return collection


def filter_values(filter: Filter | None) -> dict[str, list[Any]]:
    """A filter with a list of values for each field.

    Raises:
        BSAError: If a value is neither a string, an integer nor a boolean.
    """
    wanted = {}
    for field, value in (filter or {}).items():
        values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not values or not all(isinstance(entry, (str, int)) for entry in values):
            raise BSAError(f"filter {field!r} must be a string, an integer, a boolean or a list of these, got {value!r}")
        wanted[str(field)] = values
    return wanted


def described(layout: Layout) -> str:
    with_factors = "with" if layout.asymmetric else "without"
    return f"codes of {layout.hidden_dim} features {with_factors} factors ({layout.form})"
