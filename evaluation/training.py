"""Training texts of the two settings: *general* knows nothing of the tasks, *adapted* adds their collections, never a query."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bsa_st import BSAError
from bsa_st.texts import read_texts
from evaluation.embeddings import EmbeddingStore
from evaluation.folders import read_retrieval
from evaluation.tasks import EvaluationTask

SETTINGS = ("general", "adapted")
SHORT_TEXTS = ("text_mix", "mix.txt.gz")
LONG_TEXTS = "retrieval_medquad"


def general_texts(data: Path | None, files: Sequence[Path], limit: int, seed: int = 0) -> list[str]:
    """Texts of the *general* setting.

    Args:
        data: Folder with ``text_mix/mix.txt.gz`` (short passages) and ``retrieval_medquad`` (long passages), used when no
            ``files`` are given; a part that is not there is left out.
        files: Text files in any form that :func:`bsa_st.texts.read_texts` takes.
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


def check_settings(settings: Sequence[str], general: list[str], tasks: Sequence[EvaluationTask]) -> None:
    """Raise :class:`BSAError` if a setting is unknown or has nothing to train on."""
    for setting in settings:
        if setting not in SETTINGS:
            raise BSAError(f"unknown setting {setting!r}; use {' or '.join(SETTINGS)}")
    if "general" in settings and not general:
        raise BSAError(
            f"the general setting needs training texts: give --train-texts FILE, or a --data folder with {'/'.join(SHORT_TEXTS)}"
        )
    if "adapted" in settings and not adaptation_texts(tasks):
        raise BSAError("the adapted setting needs a task with a collection; none of the tasks has one")


def adaptation_texts(tasks: Sequence[EvaluationTask]) -> list[str]:
    """Distinct, non-empty documents of all tasks; sentence pairs add nothing."""
    return [text for text in dict.fromkeys(text for task in tasks for text in task.corpus) if text]


def training_embeddings(store: EmbeddingStore, setting: str, general: list[str], tasks: Sequence[EvaluationTask]) -> np.ndarray:
    """Embeddings that every trained method of a setting learns from: float (n, d)."""
    if setting == "general":
        return store.training(general)
    collections = [task.corpus for task in tasks if task.corpus]
    rows = np.concatenate([store.documents(corpus) for corpus in collections])  # in the cache already, or needed soon
    place = {text: number for number, text in enumerate(text for corpus in collections for text in corpus)}
    adaptation = rows[[place[text] for text in adaptation_texts(tasks)]].astype(np.float16)
    return np.concatenate([store.training(general), adaptation]) if general else adaptation


def _some(texts: list[str], limit: int, seed: int) -> list[str]:
    if len(texts) <= limit:
        return texts
    chosen = sorted(random.Random(seed).sample(range(len(texts)), limit))
    return [texts[place] for place in chosen]
