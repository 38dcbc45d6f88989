"""The recipe that all engines share: packed bits in, Hamming candidates out, scored here by the float query.

An engine keeps, of every document, its id, its bits in the engine's own bit vector type, a list of keywords and a payload. A query asks it for the
200 documents or so whose bits are nearest to the signs of ``w = V q``, with the engine's own filter, and these are scored from their bits as
:func:`bsa_st.codes.scoring.asymmetric_scores` scores them.
"""

from __future__ import annotations

import abc
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import as_decoder, asymmetric_scores
from bsa_st.errors import BSAError
from bsa_st.search.queries import check_counts, prepared
from bsa_st.search.rescoring import Ranking, best
from bsa_st.search.segment import check_ids

CANDIDATES = 200
INDEX_FROM = 100_000
MOST_FEATURES = 1024  # codes of more bits stay out: D / 8 bytes each would be many times what their few active features need
TIMEOUT = 60  # seconds that a request to a server may take
BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which the same request may succeed
LONGEST_KEYWORD = 256  # longer strings are text, not keywords; they stay in the payload only

T = TypeVar("T")
Payload = Mapping[str, Any]
Filter = Mapping[str, Any]
"""Fields and what they must hold: a string, an integer or a boolean, or a list of these of which one must match. All fields must match."""


class Unavailable(BSAError):
    """The server does not answer, or says that it cannot now: the same call may succeed later."""


def shown_url(url: str) -> str:
    """The address, or libpq's connection string, without its password."""
    hidden = re.sub(r"(//[^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]*)", r"\1***", hidden)


def one_line(error: object) -> str:
    """What an error says, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


class Documents(NamedTuple):
    """Checked documents: ids, int64 (n,); bits, uint8 (n, D / 8); and of each the keywords that it can be filtered by and its payload."""

    ids: np.ndarray
    bits: np.ndarray
    keywords: list[list[str]]
    payloads: Sequence[Payload]

    def json(self) -> list[str | None]:
        """Payloads as JSON, None for empty ones."""
        return [json.dumps(payload, ensure_ascii=False) if payload else None for payload in self.payloads]


class Found(NamedTuple):
    """Documents from an engine: ids, int64 (m,), and bits, uint8 (m, D / 8)."""

    ids: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, ids: Iterable[Any], bits: Iterable[bytes], width: int) -> Found:
        """From the bytes of each document."""
        packed = np.frombuffer(b"".join(bits), np.uint8).reshape(-1, width)
        return cls(np.array([int(one) for one in ids], np.int64), packed)


class Engine(AbstractContextManager["Engine"]):
    """A collection of codes in an engine. Sending documents again, and deleting what is not there, changes nothing.

    Args:
        url: The address, as :func:`bsa_st.engines.connect` takes it.
        collection: Name of the collection, table or index; it need not exist yet.
        index: Whether :meth:`finish` builds the engine's index over the bits, and searches use it; default from 100,000 documents on.
        **server: Where the engine has such ``options``: ``api_key``; ``shards`` of a new collection, and ``replicas``, copies of each of them.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ("index",)  # that it has
    batch_size: ClassVar[int] = 2000  # documents that are best sent at once
    errors: ClassVar[tuple[type[Exception], ...]] = (Exception,)  # that its package raises

    def __init__(self, url: str, collection: str, *, index: bool | None = None, **server: Any) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", collection):
            raise BSAError(f"a collection's name is up to 48 small letters, digits and _, a letter first; got {collection!r}")
        self.url, self.collection, self.index, self.server = url, collection, index, server
        scheme, self.place = url.split("://", 1)
        self.transport = scheme.partition("+")[2]
        self.where = f"{self.name} at {shown_url(url)}"
        self._width: int | None = None
        self._ask(self._connect)

    def _connect(self) -> None:  # some connect when they are first asked
        """Reach the server; raise :class:`BSAError` where it is another or too old."""

    @abc.abstractmethod
    def _hidden_dim(self) -> int | None:
        """Number D of bits; None where there is no such collection, 0 where it was made by something else."""

    @abc.abstractmethod
    def _create(self, hidden_dim: int) -> None: ...

    @abc.abstractmethod
    def _upsert(self, documents: Documents) -> None: ...

    @abc.abstractmethod
    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        """The ``count`` nearest to bits, uint8 (D / 8,), among the documents that have a keyword of every group."""

    @abc.abstractmethod
    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]: ...

    @abc.abstractmethod
    def _count(self, groups: list[list[str]]) -> int: ...

    @abc.abstractmethod
    def _delete(self, ids: list[int]) -> None: ...

    @abc.abstractmethod
    def _drop(self) -> None: ...

    def _finish(self) -> None:  # some have nothing to do
        """Make what was loaded durable and quick to search."""

    def _error(self, error: Exception) -> BSAError:
        """What an error of the engine's package means: :class:`Unavailable` where the same call may succeed later."""
        return BSAError(f"{self.where}: {one_line(error)}")

    def _check_version(self, version: str, oldest: tuple[int, int], hint: str = "") -> None:
        """Raise :class:`BSAError` where what a server says of its version is older."""
        number = re.search(r"(\d+)\.(\d+)", version)
        if number and (int(number[1]), int(number[2])) < oldest:
            raise BSAError(f"{version} at {self.where} is too old; bsa_st needs {oldest[0]}.{oldest[1]} or newer{hint}")

    def _refusal(self, status: int, text: str) -> BSAError:
        """What an HTTP status of a server means, which says this text."""
        if status in (401, 403):
            return BSAError(f"{self.where} refuses access ({status}); check the user, the password or the API key")
        return (Unavailable if status in BUSY else BSAError)(f"{self.where} answers {status}: {one_line(text)}")

    def close(self) -> None:
        """Release connections and files; the next call opens them again."""
        if (opened := vars(self).pop("_opened", None)) is not None:
            opened.close()

    def _ask(self, method: Callable[..., T], *values: Any) -> T:
        """One call of the engine: its errors become ours."""
        try:
            return method(*values)
        except BSAError:
            raise
        except self.errors as error:
            raise self._error(error) from error

    def hidden_dim(self) -> int | None:
        """Number D of bits of the documents; None where there is no such collection.

        Raises:
            BSAError: If the server refuses or does not answer (:class:`Unavailable`; so does every method), or something else made the collection.
        """
        found = self._ask(self._hidden_dim)
        if found == 0:
            raise BSAError(f"{self.collection} at {shown_url(self.url)} was not made by bsa_st; choose another collection")
        return found

    def create(self, hidden_dim: int) -> None:
        """Create the collection, if there is none; raises :class:`BSAError` where there is one of another D, or D is above 1,024 or no multiple of 8."""
        if hidden_dim > MOST_FEATURES:
            wide = f"engines hold codes of at most {MOST_FEATURES} bits, these have {hidden_dim}"
            raise BSAError(f"{wide}: distil a head of at most so many, or search them with bsa_st.Index")
        if hidden_dim % 8:
            raise BSAError(f"engines hold whole bytes: hidden_dim must be a multiple of 8, got {hidden_dim}")
        self._width = self.hidden_dim()
        if self._width is None:
            self._ask(self._create, hidden_dim)
            self._width = hidden_dim
        self._check_fits(hidden_dim)

    def upsert(self, ids: npt.ArrayLike, codes: BinaryCodes, payloads: Sequence[Payload] | None = None) -> None:
        """Add documents, replacing those with the same ids.

        Args:
            ids: Distinct, int (n,), from 0 to 2^63 - 1.
            codes: n codes.
            payloads: n mappings that JSON can hold. Strings, integers and booleans, and lists of these, can be filtered by; ``text`` is kept only.

        Raises:
            BSAError: If the documents do not fit the collection.
        """
        self._check_fits(codes.hidden_dim)
        checked = check_ids(np.asarray(ids), len(codes))
        fields: Sequence[Payload] = [{}] * len(codes) if payloads is None else payloads
        if len(fields) != len(codes):
            raise BSAError(f"{len(codes)} documents need {len(codes)} payloads, got {len(fields)}")
        documents = Documents(checked, codes.to_packed(), [keywords(one) for one in fields], fields)
        if len(codes):
            self._ask(self._upsert, documents)

    def search(
        self,
        queries: str | Sequence[str] | npt.ArrayLike,
        top_k: int = 10,
        *,
        model: Any,
        filter: Filter | None = None,
        candidates: int = CANDIDATES,
        prompt_name: str | None = None,
    ) -> list[Ranking]:
        """Best documents of each query by ``(w . h + q . c) / sqrt(|x_hat|^2 + softening)``.

        Args:
            queries: Texts, or embeddings, float (n, d).
            top_k: Documents per query; a ranking is shorter where there are fewer.
            model: The model that made the codes; for embeddings its head or its decoder (V, c, softening) will do.
            filter: Only documents with these fields, e.g. ``{"tags": ["a", "b"], "lang": "en"}``.
            candidates: Documents that the engine names and that are scored here.
            prompt_name: For texts; default the model's prompt for queries.

        Raises:
            BSAError: If the queries do not fit the collection, or an argument is out of range.
        """
        check_counts(top_k=top_k, candidates=candidates)
        width, groups = self._existing(), keyword_groups(filter)
        decoder = as_decoder(model, width)
        encoder: Any = model if hasattr(model, "encode") else None
        _, dense = prepared(queries, "asymmetric", encoder, decoder, width, prompt_name)
        rankings = []
        for query, bits in zip(dense, np.packbits(dense @ decoder.weight.T > 0, axis=1), strict=True):
            found = self._ask(self._candidates, bits, max(int(candidates), int(top_k)), groups)
            codes = BinaryCodes.from_packed(found.bits, width)
            rankings.append(best(found.ids, asymmetric_scores(query[None], codes, *decoder)[0], int(top_k)))
        return rankings

    def fetch(self, ids: npt.ArrayLike) -> tuple[Found, list[dict[str, Any]]]:
        """Those of these documents that are there, in any order: ids and bits, and their payloads."""
        width, wanted = self._existing(), check_ids(np.asarray(ids)).tolist()
        return self._ask(self._fetch, wanted) if wanted else (Found.of([], [], width // 8), [])

    def payloads(self, ids: npt.ArrayLike) -> list[dict[str, Any]]:
        """Payloads of documents in the order of ``ids``, empty where there is none."""
        found, payloads = self.fetch(ids)
        by_id = dict(zip(found.ids.tolist(), payloads, strict=True))
        return [by_id.get(int(one), {}) for one in np.asarray(ids).ravel()]

    def count(self, filter: Filter | None = None) -> int:
        """Number of documents, or of those that match."""
        self._existing()
        return self._ask(self._count, keyword_groups(filter))

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents; ids that are not there are passed over."""
        self._existing()
        if wanted := check_ids(np.asarray(ids)).tolist():
            self._ask(self._delete, wanted)

    def drop(self) -> None:
        """Delete the collection, if there is one; raises :class:`BSAError` where something else made it."""
        if self.hidden_dim() is not None:
            self._ask(self._drop)
        self._width = None

    def finish(self) -> None:
        """Make what was loaded durable and quick to search, after the last batch."""
        self._ask(self._finish)

    def _existing(self) -> int:
        if self._width is None:
            self._width = self.hidden_dim()
        if self._width is None:
            raise BSAError(f"there is no collection {self.collection}; load it first")
        return self._width

    def _check_fits(self, hidden_dim: int) -> None:
        if hidden_dim != self._existing():
            held = f"{self.collection} holds codes of {self._width} bits"
            raise BSAError(f"{held}, not of {hidden_dim}; choose another collection")

    def _wants_index(self) -> bool:
        return self._count([]) >= INDEX_FROM if self.index is None else self.index

    def __exit__(self, *_: object) -> None:
        self.close()


def keywords(payload: Payload) -> list[str]:
    """What a document can be filtered by: its ``tags``, and ``field=value`` for every other field of strings, integers or booleans but ``text``."""
    found: dict[str, None] = {}
    for field, value in payload.items():
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if field == "tags" and not all(isinstance(one, str) for one in values):
            raise BSAError(f"tags must be a list of strings, got {value!r}")
        usable = [one for one in values if isinstance(one, (str, int)) and len(str(one)) <= LONGEST_KEYWORD]
        found |= {} if field == "text" else dict.fromkeys(_keyword(field, one) for one in usable)
    return list(found)


def keyword_groups(filter: Filter | None) -> list[list[str]]:
    """A filter as keywords: of each group a document must have one."""
    groups = []
    for field, value in (filter or {}).items():
        values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not values or not all(isinstance(one, (str, int)) for one in values):
            raise BSAError(f"filter {field!r} must be a string, an integer, a boolean or a list of these, got {value!r}")
        groups.append([_keyword(str(field), one) for one in values])
    return groups


def _keyword(field: str, value: str | int) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if field == "tags" else f"{field}={text}"
