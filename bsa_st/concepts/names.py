"""Giving a model named features, and texts as short lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.concepts.dictionary import Candidates, K, NamedDictionary, fit_dictionary, unit
from bsa_st.concepts.vocabulary import LEAST_AUC, Vocabulary
from bsa_st.encoding.encode import split_model
from bsa_st.errors import BSAError
from bsa_st.head.layer import head_of
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.texts import Texts, read_texts, stream_texts

CHUNK_TEXTS = 1024
HIDDEN_DIM = 4096
MOST_TEXTS = 20_000  # texts that thresholds and words are learnt from; more are sampled down to so many
SPARE = 1.5  # candidates that are embedded for each feature wanted: some are merged, some badly embedded

Names = Iterable[str] | Mapping[str, Iterable[str]]
TagList = list[tuple[str, float]]


def name_features(
    model: SentenceTransformer,
    texts: Texts,
    names: Names | None = None,
    *,
    hidden_dim: int | None = None,
    k: int = K,
    embeddings: np.ndarray | None = None,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> NamedDictionary:
    """Give a BSA model named features: what :func:`bsa_st.tags` and :func:`bsa_st.explain` read. :func:`bsa_st.save` keeps them.

    The head and its codes stay as they are: what is searched is refined, what is read is plain, two codes of one text.

    Args:
        model: A model with a BSA head; its ``names`` become the result.
        texts: A corpus of the kind that will be read, in any form that :func:`bsa_st.inputs.texts.read_texts` takes; 20,000 are drawn from it.
        names: What features may be called: a list of names, or for each name other texts that mean the same, such as synonyms and a definition,
            whose embeddings are averaged. Default: the words and pairs of words of the corpus.
        hidden_dim: Most features; default 4,096, and with given names all of them.
        k: Names that a text is told to have at most, and has on average; fewer on average where there are few names.
        embeddings: Dense embeddings of the texts, float (n, d); default: computed.
        batch_size, show_progress_bar: As in :func:`bsa_st.encode`.

    Raises:
        BSAError: If the model has no BSA head, a name is empty or has no letter or digit, fewer than two names can be told apart, or the texts offer no names.

    Example: ``names = bsa_st.name_features(model, texts, ["stature", "seizure", "hearing loss"], k=1)``
    """
    encoder, head = split_model(model)
    prompt = document_prompt(encoder)

    def embed(rows: list[str]) -> np.ndarray:
        shown = encoder.encode(rows, batch_size=batch_size, prompt_name=prompt, show_progress_bar=show_progress_bar)
        return np.asarray(shown, dtype=np.float32)

    corpus = read_texts(texts)
    given = _read_names(names)
    if embeddings is not None and len(embeddings) != len(corpus):
        raise BSAError(f"there are {len(embeddings)} embeddings for {len(corpus)} texts")
    chosen = np.sort(np.random.default_rng(0).permutation(len(corpus))[:MOST_TEXTS])
    corpus = [corpus[place] for place in chosen]
    dense = embed(corpus) if embeddings is None else np.array(embeddings[chosen], dtype=np.float32)
    wanted = hidden_dim or len(given) or HIDDEN_DIM
    if given:
        rows = unit(embed([text for group in given.values() for text in group]))
        starts = np.cumsum([0, *map(len, given.values())])[:-1]
        candidates = Candidates(list(given), np.add.reduceat(rows, starts, axis=0))
        candidates = most_used(candidates, dense) if len(given) > wanted else candidates
    else:
        words = Vocabulary(corpus, round(SPARE * wanted))
        embedded = embed(words.names)
        good = np.flatnonzero(words.auc(embedded, dense) >= LEAST_AUC)
        candidates = Candidates([words.names[place] for place in good], embedded[good])
    head.names = fit_dictionary(candidates, dense, max(2, wanted), k)
    return head.names


def names_of(model: SentenceTransformer) -> NamedDictionary:
    """The named features of a model; raises :class:`BSAError` if it has no BSA head, or no names yet."""
    names = head_of(model).names
    if names is None:
        made = "bsa_st.name_features(model, texts) or bsa-st names MODEL TEXTS makes them"
        raise BSAError(f"the model has no named features yet; {made}")
    return names


def tags(model: SentenceTransformer, texts: Texts, **options: Any) -> list[TagList]:
    """The named features of each text, strongest first, at most ``k`` of the dictionary; none where no name fits.

    Args:
        model: A model with names, from :func:`bsa_st.name_features` or its folder.
        texts: n texts, in any form that :func:`bsa_st.inputs.texts.read_texts` takes.
        **options: ``batch_size`` 32, texts per forward pass; ``prompt_name``, one of the model's prompts, by default the one for documents.

    Returns:
        For each text pairs (name, strength). The strength is the projection of the text's embedding, less the mean, on the name's direction, at most about 1.

    Raises:
        BSAError: If the model has no names, or a text is empty.

    Example: ``bsa_st.tags(named, texts)[0]``
    """
    return list(stream_tags(model, texts, **options))


def stream_tags(
    model: SentenceTransformer, texts: Texts, *, batch_size: int = 32, prompt_name: str | None = None
) -> Iterator[TagList]:
    """:func:`tags` one after the other: at most 1,024 texts are held at a time."""
    encoder, _ = split_model(model)
    dictionary = names_of(model)
    prompt, stream = document_prompt(encoder, prompt_name), stream_texts(texts)
    while chunk := list(islice(stream, CHUNK_TEXTS)):
        rows = encoder.encode(chunk, batch_size=batch_size, prompt_name=prompt, show_progress_bar=False)
        for ids, strengths in dictionary.fires(np.asarray(rows)):
            yield [(dictionary.names[name], float(value)) for name, value in zip(ids, strengths, strict=True)]


def _read_names(names: Names | None) -> dict[str, list[str]]:
    """Distinct names with the texts that stand for each, the name itself first."""
    if names is None:
        return {}
    if isinstance(names, str):
        raise BSAError(f"names must be a list of names, or names with other texts for each, got the text {names!r}")
    pairs: Iterable[tuple[str, Iterable[str]]] = names.items() if isinstance(names, Mapping) else ((name, ()) for name in names)
    read: dict[str, list[str]] = {}
    for name, others in pairs:
        if not isinstance(name, str) or not any(character.isalnum() for character in name):
            raise BSAError(f"a name must be a text with a letter or digit, got {name!r} as number {len(read) + 1}")
        read.setdefault(" ".join(name.split()), [name, *(text for text in others if text.strip() and text != name)])
    if not read:
        raise BSAError("there are no names; leave them out to use the words of the corpus")
    return read


def most_used(candidates: Candidates, texts: np.ndarray) -> Candidates:
    """The same names, those first that are most often among the twelve nearest of a text; texts: their embeddings, float (n, d)."""
    rows, raw = unit(texts), unit(candidates.embeddings)
    mean, atoms = rows.mean(axis=0), unit(raw - raw.mean(axis=0))
    counts = np.zeros(len(atoms), dtype=np.int64)
    step = max(1, (1 << 24) // len(atoms))
    for start in range(0, len(rows), step):
        scores = (rows[start : start + step] - mean) @ atoms.T
        best = np.argpartition(-scores, min(K, len(atoms)) - 1, axis=1)[:, :K]
        counts += np.bincount(best.ravel(), minlength=len(atoms))
    order = np.argsort(-counts, kind="stable")
    return Candidates([candidates.names[place] for place in order.tolist()], candidates.embeddings[order])
