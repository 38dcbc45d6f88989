"""LangChain's ``VectorStore`` over any engine: ``pip install bsa-st[langchain]``.

LangChain's stores of engines hold floats; this one holds the bits and asks with floats. There is none for LlamaIndex and Haystack: a retriever there is a
few lines around :meth:`bsa_st.engines.Engine.search`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from sentence_transformers import SentenceTransformer

from bsa_st.encoding.encode import encode
from bsa_st.engines import connect
from bsa_st.engines.base import CANDIDATES, Engine, Filter
from bsa_st.errors import BSAError
from bsa_st.head.layer import head_of

ID = "document_id"  # field of the payload that keeps an id which is no whole number


class BSAVectorStore(VectorStore):
    """Documents of a collection, encoded and searched with a BSA model.

    ``BSAVectorStore(model, connect("lancedb:///folder")).as_retriever(search_kwargs={"k": 5, "filter": {"tags": "growth"}})``. Documents that ``bsa-st
    engine load`` brought are found too; their ids are numbers. Metadata of strings, integers and booleans can be filtered by.

    Args:
        model: From :func:`bsa_st.load` or :func:`bsa_st.distill`.
        engine: The collection; created if there is none.

    Raises:
        BSAError: If the collection holds codes of another D.
    """

    def __init__(self, model: SentenceTransformer, engine: Engine) -> None:
        self.model, self.engine = model, engine
        engine.create(int(head_of(model).hidden_dim))

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: list[str],
        embedding: SentenceTransformer,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        url: str,
        **kwargs: Any,
    ) -> BSAVectorStore:
        """A store with these texts at an engine's address (:func:`bsa_st.engines.connect`); ``embedding`` is the BSA model, not LangChain's wrapper."""
        store = cls(embedding, connect(url, **kwargs))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Encode texts and add them, replacing those with the same ids; returns the ids, by default new ones."""
        lines = list(texts)
        names = [name or str(uuid4()) for name in ids or [""] * len(lines)]
        fields: list[dict[str, Any]] = [{}] * len(lines) if metadatas is None else metadatas
        if not len(lines) == len(names) == len(fields):
            raise BSAError(f"{len(lines)} texts need as many ids and metadatas, got {len(names)} and {len(fields)}")
        if taken := {"text", ID} & set().union(*fields):
            raise BSAError(f"metadata must not have the field {taken.pop()!r}, which the store uses itself")
        numbers = [_number(name) for name in names]
        payloads = [
            {**own, "text": text, **({} if str(number) == name else {ID: name})}
            for text, name, number, own in zip(lines, names, numbers, fields, strict=True)
        ]
        if lines:
            self.engine.upsert(numbers, encode(self.model, lines), payloads)
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; ids that are not there are passed over, and no ids at all are an error."""
        if ids is None:
            raise BSAError("say which ids to delete; engine.drop() deletes the collection")
        self.engine.delete([_number(name) for name in ids])
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Those of these documents that are there."""
        found, payloads = self.engine.fetch([_number(name) for name in ids])
        return list(map(_document, found.ids.tolist(), payloads))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, candidates: int = CANDIDATES, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The ``k`` best documents with their scores, nearly cosines; arguments as of :meth:`bsa_st.engines.Engine.search`."""
        (ranking,) = self.engine.search(query, k, model=self.model, filter=filter, candidates=candidates)
        documents = map(_document, ranking.ids.tolist(), self.engine.payloads(ranking.ids))
        return list(zip(documents, ranking.scores.tolist(), strict=True))

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The ``k`` best documents."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda score: min(1.0, max(0.0, score))


def _number(name: str) -> int:
    """LangChain's ids are strings, engines' are numbers: a whole number stands for itself, other strings for 63 bits of their hash."""
    if re.fullmatch(r"0|[1-9]\d{0,18}", name, re.ASCII) and int(name) < 1 << 63:
        return int(name)
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def _document(number: int, payload: dict[str, Any]) -> Document:
    rest = dict(payload)
    return Document(id=str(rest.pop(ID, number)), page_content=str(rest.pop("text", "")), metadata=rest)
