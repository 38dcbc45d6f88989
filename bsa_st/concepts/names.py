"""Giving a model named features, and keeping them in its folder: ``bsa/names.json`` and ``bsa/names.safetensors``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from bsa_st.atomic import atomic_file
from bsa_st.concepts.dictionary import HIGHEST_RATE, Candidates, NamedDictionary, fit_dictionary, unit
from bsa_st.concepts.dictionary import K as DEFAULT_K
from bsa_st.concepts.vocabulary import LEAST_AUC, Vocabulary
from bsa_st.encoding.encode import split_model
from bsa_st.errors import BSAError
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.texts import Texts, read_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from bsa_st.head.layer import BinarySparsityAlignment

logger = logging.getLogger("bsa_st.concepts")

FILE, WEIGHTS = "names.json", "names.safetensors"
FORMAT_VERSION = 1
HIDDEN_DIM = 4096
MOST_TEXTS = 20_000
"""Texts that thresholds and words are learnt from; more are sampled down to so many."""
SPARE = 1.5
"""Candidates that are embedded for each feature wanted: some are merged, some badly embedded."""
LARGE = 20_000
"""Names from which on the memory that they take is said before."""

Names = Iterable[str] | Mapping[str, Iterable[str]]


def name_features(
    model: SentenceTransformer,
    texts: Texts,
    names: Names | None = None,
    *,
    hidden_dim: int | None = None,
    k: int = DEFAULT_K,
    add_words: bool = False,
    embeddings: np.ndarray | None = None,
    batch_size: int = 32,
    seed: int = 0,
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
        add_words: Fill up given names with words of the corpus.
        embeddings: Dense embeddings of the texts, float (n, d); default: computed.
        batch_size: Texts per forward pass.
        seed: Seed of the sample.
        show_progress_bar: Show progress of encoding.

    Raises:
        BSAError: If the model has no BSA head, a name is empty or has no letter or digit, fewer than two names can be told apart, or the texts offer no names.
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
    chosen = np.sort(np.random.default_rng(seed).permutation(len(corpus))[:MOST_TEXTS])
    corpus = [corpus[place] for place in chosen]
    wanted = hidden_dim or (HIDDEN_DIM if names is None or add_words else len(given))
    if len(given) >= LARGE:
        size = 4e-6 * len(given)
        logger.warning(
            "%d names of %d dimensions take %.0f MB in memory and on disk, and about %.0f MB while they are made",
            *(len(given), head.input_dim, size * head.input_dim, size * (3 * head.input_dim + HIGHEST_RATE * MOST_TEXTS)),
        )
    found: list[str] = []
    parts: list[np.ndarray] = []
    if given:
        flat = [text for group in given.values() for text in group]
        rows = unit(embed(flat))
        starts = np.concatenate([[0], np.cumsum([len(group) for group in given.values()])[:-1]])
        found, parts = list(given), [np.add.reduceat(rows, starts, axis=0)]
    dense = embed(corpus) if embeddings is None else np.array(embeddings[chosen], dtype=np.float32)
    if given and len(given) > wanted:
        used = most_used(Candidates(found, parts[0]), dense)
        found, parts = list(used.names), [used.embeddings]
    if names is None or add_words:
        words = Vocabulary(corpus, round(SPARE * wanted))
        embedded = embed(words.names)
        good = np.flatnonzero(words.auc(embedded, dense) >= LEAST_AUC)
        found, parts = [*found, *(words.names[place] for place in good)], [*parts, embedded[good]]
    dictionary = fit_dictionary(Candidates(found, np.concatenate(parts)), dense, max(2, wanted), k)
    head.names = dictionary
    return dictionary


def names_of(model: SentenceTransformer) -> NamedDictionary:
    """The named features of a model.

    Raises:
        BSAError: If the model has no BSA head, or its features have no names yet.
    """
    _, head = split_model(model)
    if head.names is None:
        raise BSAError(
            "the model has no named features yet; bsa_st.name_features(model, texts) or bsa-st names MODEL TEXTS makes them"
        )
    return head.names


def write_names(dictionary: NamedDictionary, folder: Path) -> None:
    """Write both files into a ``bsa`` folder, each atomically.

    Raises:
        BSAError: If the folder is none of a BSA model, or the disk fails.
    """
    if not (folder / "config.json").is_file():
        raise BSAError(f"{folder}: no folder of a BSA head; save the model first")
    (folder / FILE).unlink(missing_ok=True)  # so that names never stand beside weights of others
    aside = folder / f".{WEIGHTS}.new"
    try:
        arrays = {name: np.ascontiguousarray(getattr(dictionary, name)) for name in _shapes(0, 0)}
        save_file(arrays, aside)
        aside.replace(folder / WEIGHTS)
    except OSError as error:
        raise BSAError(f"cannot write {folder / WEIGHTS}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    content = {"format_version": FORMAT_VERSION, "k": dictionary.k, "names": dictionary.names, "aliases": dictionary.aliases}
    with atomic_file(folder / FILE) as file:
        file.write((json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def read_names(folder: Path, head: BinarySparsityAlignment) -> NamedDictionary | None:
    """What :func:`write_names` has written for a head; None where a folder has no names.

    Raises:
        BSAError: If a file is missing, damaged, of a newer version or of another width; the message names it.
    """
    from bsa_st.hub.checks import check_header, read_json  # hub builds on this module

    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path, dict)
    version = content.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise BSAError(
            f"{path}: format version {version!r} is not one that this bsa_st reads ({FORMAT_VERSION}); update bsa_st"
        )
    names, aliases, k = (content.get(key) for key in ("names", "aliases", "k"))
    if not (_strings(names) and isinstance(aliases, list) and len(aliases) == len(names) and all(map(_strings, aliases))):
        raise BSAError(f"{path}: damaged (names and aliases must be lists of texts, of one length)")
    if type(k) is not int or k < 1 or len(names) < 2 or len(set(names)) < len(names):
        raise BSAError(f"{path}: damaged (k must be at least 1, and names at least two that differ)")
    check_header(folder / WEIGHTS, _shapes(len(names), head.input_dim))
    arrays = load_file(folder / WEIGHTS)
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise BSAError(f"{folder / WEIGHTS}: holds NaN or infinite values")
    weights = {name: arrays[name] for name in _shapes(0, 0)}
    return NamedDictionary(names=tuple(names), aliases=tuple(map(tuple, aliases)), k=k, **weights)


def _shapes(count: int, width: int) -> dict[str, tuple[int, ...]]:
    return {"atoms": (count, width), "mean": (width,), "thresholds": (count,), "rates": (count,)}


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


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
        best = np.argpartition(-scores, min(DEFAULT_K, len(atoms)) - 1, axis=1)[:, :DEFAULT_K]
        counts += np.bincount(best.ravel(), minlength=len(atoms))
    order = np.argsort(-counts, kind="stable")
    return Candidates([candidates.names[place] for place in order.tolist()], candidates.embeddings[order])
