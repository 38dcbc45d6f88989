"""Texts as short lists of named features, and filters and counts by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.concepts.names import names_of
from bsa_st.encoding.encode import split_model
from bsa_st.errors import BSAError
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.texts import stream_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from bsa_st.inputs.texts import Texts

TagList = list[tuple[str, float]]

CHUNK_TEXTS = 1024


def tags(
    model: SentenceTransformer,
    texts: Texts,
    *,
    embeddings: np.ndarray | None = None,
    batch_size: int = 32,
    prompt_name: str | None = None,
) -> list[TagList]:
    """The named features of each text, strongest first, at most ``k`` of the dictionary; none where no name fits.

    Args:
        model: A model with names, from :func:`bsa_st.concepts.name_features` or its folder.
        texts: n texts, in any form that :func:`bsa_st.inputs.texts.read_texts` takes.
        embeddings: Their dense embeddings, float (n, d); default: computed.
        batch_size: Texts per forward pass.
        prompt_name: Name of one of the model's prompts; default the one for documents.

    Returns:
        For each text pairs (name, strength). The strength is the projection of the text's embedding, less the mean, on the name's direction, at most about 1.

    Raises:
        BSAError: If the model has no names, a text is empty, or there are not as many embeddings as texts.
    """
    return list(stream_tags(model, texts, embeddings=embeddings, batch_size=batch_size, prompt_name=prompt_name))


def stream_tags(
    model: SentenceTransformer,
    texts: Texts,
    *,
    embeddings: np.ndarray | None = None,
    batch_size: int = 32,
    prompt_name: str | None = None,
) -> Iterator[TagList]:
    """:func:`tags` one after the other: at most 1,024 texts are held at a time."""
    encoder, _ = split_model(model)
    dictionary = names_of(model)
    prompt = document_prompt(encoder, prompt_name)
    stream, done = stream_texts(texts), 0
    for first in stream:
        chunk = list(chain([first], islice(stream, CHUNK_TEXTS - 1)))
        if embeddings is None:
            rows = encoder.encode(chunk, batch_size=batch_size, prompt_name=prompt, show_progress_bar=False)
        else:
            rows = embeddings[done : done + len(chunk)]
        done += len(chunk)
        if embeddings is not None and len(rows) < len(chunk):
            raise BSAError(f"there are {len(embeddings)} embeddings and more texts than that")
        for ids, strengths in dictionary.fires(np.asarray(rows)):
            yield [(dictionary.names[name], float(value)) for name, value in zip(ids, strengths, strict=True)]
    if embeddings is not None and done != len(embeddings):
        raise BSAError(f"there are {len(embeddings)} embeddings for {done} texts")


class TagStore:
    """Which document has which name: masks for :meth:`bsa_st.Index.search` and counts of a result list.

    Args:
        dictionary: The names.
        documents: Tags of n documents, as :func:`tags` gives them, or lists of names alone.

    Raises:
        BSAError: If a tag is no name of the dictionary.
    """

    def __init__(self, dictionary: NamedDictionary, documents: Iterable[Sequence[tuple[str, float] | str]]) -> None:
        self.dictionary = dictionary
        numbers = {name: place for place, name in enumerate(dictionary.names)}
        ids: list[int] = []
        starts = [0]
        for document in documents:
            for tag in document:
                name = tag if isinstance(tag, str) else tag[0]
                if name not in numbers:
                    raise BSAError(f"{name!r} is no name of this dictionary")
                ids.append(numbers[name])
            starts.append(len(ids))
        shape = (len(starts) - 1, len(dictionary))
        self._rows = sparse.csr_matrix((np.ones(len(ids), dtype=bool), ids, starts), shape=shape)
        self._columns = self._rows.tocsc()

    def __len__(self) -> int:
        return int(self._rows.shape[0])

    def mask(self, with_tags: Sequence[str] = (), without_tags: Sequence[str] = ()) -> np.ndarray:
        """Documents that have all of some names and none of others, bool (n,): the ``filter`` of :meth:`bsa_st.Index.search`.

        Raises:
            BSAError: If a name is not in the dictionary, or a single text is given for a list of names.
        """
        kept = np.ones(len(self), dtype=bool)
        for wanted, names in ((True, with_tags), (False, without_tags)):
            if isinstance(names, str):
                raise BSAError(f"{'with' if wanted else 'without'}_tags is a list of names, got the text {names!r}")
            for name in names:
                column = self.dictionary.number(name)
                has = np.zeros(len(self), dtype=bool)
                has[self._columns.indices[self._columns.indptr[column] : self._columns.indptr[column + 1]]] = True
                kept &= has if wanted else ~has
        return kept

    def facets(self, rows: Iterable[int], top: int = 10) -> list[tuple[str, int]]:
        """The names that most of some documents have, with how many, most first.

        Args:
            rows: Positions of documents, e.g. of a result list.
            top: Names at most.
        """
        found = self._rows[np.asarray(list(rows), dtype=np.int64)]
        counts = Counter(found.indices.tolist())
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
        return [(self.dictionary.names[place], count) for place, count in ranked]
