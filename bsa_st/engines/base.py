"""The recipe that all engines share: packed bits in, Hamming candidates out, scored here by the float query.

An engine keeps, of every document, its id, its bits in the engine's own bit vector type, a list of keywords and a payload. A query asks it for the
200 documents or so whose bits are nearest to the signs of ``w = V q``, with the engine's own filter, and these are scored from their bits as
:func:`bsa_st.codes.scoring.asymmetric_scores` scores them.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder, as_decoder
from bsa_st.codes.scoring import asymmetric_scores
from bsa_st.errors import BSAError
from bsa_st.search.ids import check_ids
from bsa_st.search.queries import prepared
from bsa_st.search.rescoring import Ranking, best

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CANDIDATES = 200
MOST_FEATURES = 1024
"""Codes of more bits stay out: D / 8 bytes each would be many times what their few active features need."""
LONGEST_KEYWORD = 256
"""Longer strings are text, not keywords; they stay in the payload only."""

Payload = Mapping[str, Any]
Filter = Mapping[str, Any]
"""Fields and what they must hold: a string, an integer or a boolean, or a list of these of which one must match. All fields must match."""


class Unavailable(BSAError):
    """The server does not answer, or says that it cannot now: the same call may succeed later."""


class Documents(NamedTuple):
    """Checked documents on their way into an engine.

    Attributes:
        ids: int64 (n,), distinct, not negative.
        bits: uint8 (n, D / 8).
        keywords: What can be filtered by, a list per document (:func:`keywords`).
        payloads: One mapping per document, perhaps empty.
    """

    ids: np.ndarray
    bits: np.ndarray
    keywords: list[list[str]]
    payloads: Sequence[Payload]


class Found(NamedTuple):
    """Documents from an engine: ids, int64 (m,), and bits, uint8 (m, D / 8)."""

    ids: np.ndarray
    bits: np.ndarray


class Engine(abc.ABC):
    """A collection of codes in an engine. Sending documents again, and deleting what is not there, changes nothing.

    Args:
        collection: Name of the collection, table or index; it need not exist yet.
        index: Whether :meth:`finish` builds the engine's index over the bits, and searches use it; default from :attr:`index_from` documents on.
    """

    name: ClassVar[str]
    batch_size: ClassVar[int] = 2000
    """Documents that are best sent at once."""
    index_from: ClassVar[int] = 100_000

    def __init__(self, collection: str, *, index: bool | None = None) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", collection):
            raise BSAError(
                f"a collection's name has small letters, digits and _, a letter first, at most 48; got {collection!r}"
            )
        self.collection = collection
        self.index = index
        self._width: int | None = None

    # -- what each engine does --------------------------------------------------------------------------------------

    @abc.abstractmethod
    def hidden_dim(self) -> int | None:
        """Number D of bits of the documents; None where there is no such collection.

        Raises:
            Unavailable: If the server does not answer; so does every other method.
            BSAError: If it refuses, is too old, or the collection was made by something else.
        """

    @abc.abstractmethod
    def _create(self, hidden_dim: int) -> None: ...

    @abc.abstractmethod
    def _upsert(self, documents: Documents) -> None: ...

    @abc.abstractmethod
    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        """The ``count`` nearest to bits, uint8 (D / 8,), among the documents that have a keyword of every group."""

    @abc.abstractmethod
    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        """Those of these documents that are there, in any order, with their payloads."""

    @abc.abstractmethod
    def _count(self, groups: list[list[str]]) -> int: ...

    @abc.abstractmethod
    def _delete(self, ids: list[int]) -> None: ...

    @abc.abstractmethod
    def drop(self) -> None:
        """Delete the collection, if there is one."""

    def finish(self) -> None:  # noqa: B027  # some engines have nothing to do
        """Make what was loaded durable and quick to search, after the last batch."""

    def disk_bytes(self) -> dict[str, int]:
        """Bytes on disk by part (documents, index), for engines that can tell."""
        raise BSAError(f"{self.name} does not tell how much room a collection takes")

    def close(self) -> None:  # noqa: B027
        """Release connections and files."""

    # -- the recipe -------------------------------------------------------------------------------------------------

    def create(self, hidden_dim: int) -> None:
        """Create the collection; does nothing if it is there already.

        Raises:
            BSAError: If it is there with another D, or D is more than 1,024 or no multiple of 8.
        """
        check_width(hidden_dim)
        found = self.hidden_dim()
        if found is None:
            self._create(hidden_dim)
        elif found != hidden_dim:
            raise BSAError(f"{self.collection} holds codes of {found} bits, not of {hidden_dim}; choose another collection")
        self._width = hidden_dim

    def upsert(self, ids: npt.ArrayLike, codes: BinaryCodes, payloads: Sequence[Payload] | None = None) -> None:
        """Add documents, replacing those with the same ids.

        Args:
            ids: Distinct, int (n,), from 0 to 2^63 - 1.
            codes: n codes.
            payloads: n mappings that JSON can hold. Strings, integers and booleans, and lists of these, can be filtered by; ``text`` is kept only.

        Raises:
            BSAError: If the documents do not fit the collection.
        """
        width = self._existing()
        if codes.hidden_dim != width:
            raise BSAError(
                f"{self.collection} holds codes of {width} bits, not of {codes.hidden_dim}; choose another collection"
            )
        checked = check_ids(np.asarray(ids), len(codes))
        fields: Sequence[Payload] = [{}] * len(codes) if payloads is None else payloads
        if len(fields) != len(codes):
            raise BSAError(f"{len(codes)} documents need {len(codes)} payloads, got {len(fields)}")
        if len(codes):
            self._upsert(Documents(checked, codes.to_packed(), [keywords(one) for one in fields], fields))

    def search(
        self,
        queries: str | Sequence[str] | npt.ArrayLike,
        top_k: int = 10,
        *,
        model: SentenceTransformer | Decoder | tuple[np.ndarray, ...] | Any,
        filter: Filter | None = None,
        candidates: int = CANDIDATES,
        prompt_name: str | None = None,
    ) -> list[Ranking]:
        """Best documents of each query by ``(w . h + q . c) / sqrt(|x_hat|^2 + softening)``.

        Args:
            queries: Texts, or embeddings, float (n, d).
            top_k: Documents per query.
            model: The model that made the codes; for embeddings its head or its decoder (V, c, softening) will do.
            filter: Only documents with these fields, e.g. ``{"tags": ["a", "b"], "lang": "en"}``.
            candidates: Documents that the engine names and that are scored here.
            prompt_name: For texts; default the model's prompt for queries.

        Returns:
            One ranking per query: ids, int64, and scores, float32, best first; shorter where there are fewer documents.

        Raises:
            BSAError: If the queries do not fit the collection, or an argument is out of range.
        """
        for name, value in {"top_k": top_k, "candidates": candidates}.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")
        width, groups = self._existing(), keyword_groups(filter)
        decoder = as_decoder(model, width)
        encoder: Any = model if hasattr(model, "encode") else None
        _, dense = prepared(queries, "asymmetric", encoder, decoder, width, prompt_name)
        assert decoder is not None
        assert isinstance(dense, np.ndarray)
        signs = np.packbits(dense @ decoder.weight.T > 0, axis=1)
        rankings = []
        for query, bits in zip(dense, signs, strict=True):
            found = self._candidates(bits, max(int(candidates), int(top_k)), groups)
            codes = BinaryCodes.from_packed(found.bits, width)
            rankings.append(best(found.ids, asymmetric_scores(query[None], codes, *decoder)[0], int(top_k)))
        return rankings

    def fetch(self, ids: npt.ArrayLike) -> tuple[Found, list[dict[str, Any]]]:
        """Those of these documents that are there, in any order: ids and bits, and their payloads."""
        width, wanted = self._existing(), check_ids(np.asarray(ids))
        if not len(wanted):
            return Found(wanted, np.zeros((0, width // 8), np.uint8)), []
        return self._fetch(wanted.tolist())

    def payloads(self, ids: npt.ArrayLike) -> list[dict[str, Any]]:
        """Payloads of documents in the order of ``ids``, empty where there is none."""
        found, payloads = self.fetch(ids)
        by_id = dict(zip(found.ids.tolist(), payloads, strict=True))
        return [by_id.get(int(one), {}) for one in np.asarray(ids).ravel()]

    def count(self, filter: Filter | None = None) -> int:
        """Number of documents, or of those that match."""
        self._existing()
        return self._count(keyword_groups(filter))

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents; ids that are not there are passed over."""
        self._existing()
        wanted = check_ids(np.asarray(ids)).tolist()
        if wanted:
            self._delete(wanted)

    def _existing(self) -> int:
        if self._width is None:
            self._width = self.hidden_dim()
        if self._width is None:
            raise BSAError(f"there is no collection {self.collection}; load it first")
        return self._width

    def _wants_index(self) -> bool:
        return self._count([]) >= self.index_from if self.index is None else self.index

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_width(hidden_dim: int) -> None:
    """Raise :class:`BSAError` where codes do not go into engines as bits."""
    if hidden_dim > MOST_FEATURES:
        raise BSAError(
            f"engines hold codes of at most {MOST_FEATURES} bits, these have {hidden_dim}: distil a head with hidden_dim of at most "
            f"{MOST_FEATURES}, or search them with bsa_st.Index"
        )
    if hidden_dim % 8:
        raise BSAError(f"engines hold whole bytes: hidden_dim must be a multiple of 8, got {hidden_dim}")


def keywords(payload: Payload) -> list[str]:
    """What a document can be filtered by: its ``tags``, and ``field=value`` for every other field of strings, integers or booleans.

    Raises:
        BSAError: If ``tags`` are no strings.
    """
    found: dict[str, None] = {}
    for field, value in payload.items():
        if field == "text":
            continue
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if field == "tags" and not all(isinstance(one, str) for one in values):
            raise BSAError(f"tags must be a list of strings, got {value!r}")
        for one in values:
            if isinstance(one, (str, int)) and len(str(one)) <= LONGEST_KEYWORD:
                found[_keyword(field, one)] = None
    return list(found)


def keyword_groups(filter: Filter | None) -> list[list[str]]:
    """A filter as keywords: of each group a document must have one.

    Raises:
        BSAError: If a value is neither a string, an integer nor a boolean.
    """
    groups = []
    for field, value in (filter or {}).items():
        values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not values or not all(isinstance(one, (str, int)) for one in values):
            raise BSAError(f"filter {field!r} must be a string, an integer, a boolean or a list of these, got {value!r}")
        groups.append([_keyword(str(field), one) for one in values])
    return groups


def _keyword(field: str, value: str | int) -> str:
    if field == "tags":
        return str(value)
    return f"{field}={str(value).lower() if isinstance(value, bool) else value}"
