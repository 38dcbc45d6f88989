"""General training texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from bsa_st.inputs.texts import read_texts
from evaluation.folders import read_retrieval

SHORT_TEXTS = ("text_mix", "mix.txt.gz")
LONG_TEXTS = "retrieval_medquad"


def general_texts(data: Path | None, files: Sequence[Path], limit: int, seed: int = 0) -> list[str]:
    """General texts.

    Args:
        data: Folder with ``text_mix/mix.txt.gz`` (short passages) and ``retrieval_medquad`` (long passages), used when no
            ``files`` are given; a part that is not there is left out.
        files: Text files in any form that :func:`bsa_st.inputs.texts.read_texts` takes.
        limit: At most so many texts of each file, and of the short passages, drawn at random.
        seed: Seed of the draw.

    Returns:
        Distinct texts; none if there is no source.
    """
    if files:
        return list(dict.fromkeys(text for path in files for text in _some(read_texts(path), limit, seed)))
    if data is None:
        return []
    texts: list[str] = []
    if (data.joinpath(*SHORT_TEXTS)).is_file():
        texts += _some(read_texts(data.joinpath(*SHORT_TEXTS)), limit, seed)
    if (data / LONG_TEXTS).is_dir():
        texts += read_retrieval(data / LONG_TEXTS).documents
    return list(dict.fromkeys(texts))


def _some(texts: list[str], limit: int, seed: int) -> list[str]:
    if len(texts) <= limit:
        return texts
    chosen = sorted(random.Random(seed).sample(range(len(texts)), limit))
    return [texts[place] for place in chosen]
