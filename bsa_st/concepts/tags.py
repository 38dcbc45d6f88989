"""Texts as short lists of named features."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

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
