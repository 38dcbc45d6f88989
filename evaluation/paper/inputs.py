"""What cells measure with: the encoder, cached embeddings of training texts, and tasks with their embeddings."""

from __future__ import annotations

import random
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError
from bsa_st.demo.hpo import load_concepts, synonym_task
from bsa_st.inputs.texts import read_texts
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, load_encoder
from evaluation.folders import RetrievalData, read_pairs
from evaluation.tasks import HPO, EvaluationTask, hpo_task, local_folders, resolve_tasks, retrieval_task, sts_task
from evaluation.training import SHORT_TEXTS

QUICK_CONCEPTS = 150
PART_TEXTS = 31_000
"""Training texts per cache entry: a cell encodes only the parts that it needs."""

RETRIEVAL = ("med", "cranfield", "cisi", "scifact")
"""Collections whose mean nDCG@10 stands for retrieval quality where one number is wanted."""

TERMS = "bio_term_similarity"
MAX_QUERIES = 1000
"""More queries than these are sampled."""


class Collection(NamedTuple):
    """A retrieval task with its embeddings.

    Attributes:
        task: The mteb task, loaded.
        documents: float32 (n, d), unit norm.
        queries: float32 (m, d), unit norm.
    """

    task: EvaluationTask
    documents: np.ndarray
    queries: np.ndarray


class Inputs:
    """Everything that cells share; nothing is loaded or encoded before it is needed.

    Args:
        data: Folder with ``text_mix``, task folders and biomedical term pairs; ``None`` leaves only the HPO ontology.
        quick: Tiny inputs from the HPO ontology only, whatever ``data`` is.
        cache_dir: Folder of the embedding cache.
    """

    def __init__(self, data: Path | None = None, *, quick: bool = False, cache_dir: Path | None = None) -> None:
        if data is not None and not data.is_dir():
            raise BSAError(f"data folder not found: {data}")
        self.data = None if quick else data
        self.quick = quick
        self.cache_dir = cache_dir
        self._collections: dict[str, Collection] = {}

    @cached_property
    def encoder(self) -> SentenceTransformer:
        """all-MiniLM-L6-v2 from its package, frozen."""
        return load_encoder(MINILM)

    @cached_property
    def store(self) -> EmbeddingStore:
        """Its embeddings of any texts: ``store.evaluation(texts)`` float32 unit norm, cached on disk and in memory."""
        return EmbeddingStore(self.encoder, self.cache_dir, show_progress_bar=not self.quick)

    def training(self, limit: int) -> np.ndarray:
        """Embeddings of the first ``limit`` training texts, float16 (n, d), n smaller only if there are fewer texts."""
        parts = range(0, min(limit, len(self.texts)), PART_TEXTS)
        return np.concatenate([self.store.training(self.texts[start : start + PART_TEXTS]) for start in parts])[:limit]

    def training_texts(self, limit: int) -> list[str]:
        """The texts of :meth:`training`, in the same order."""
        return self.texts[:limit]

    @cached_property
    def texts(self) -> list[str]:
        """General passages in random order; without them the training texts of the HPO task, whose queries are not among them."""
        if self.data is None:
            concepts = load_concepts()[:QUICK_CONCEPTS] if self.quick else load_concepts()
            texts = synonym_task(concepts).training
        else:
            path = self.data.joinpath(*SHORT_TEXTS)
            if not path.is_file():
                raise BSAError(f"training texts not found: {path}")
            texts = read_texts(path)
        return [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]

    @property
    def retrieval(self) -> tuple[str, ...]:
        """Names of the collections for one number of retrieval quality: :data:`RETRIEVAL`, or without data HPO alone."""
        return RETRIEVAL if self.data is not None else (HPO,)

    def collection(self, name: str) -> Collection:
        """A local retrieval task, or ``hpo``, by name, e.g. ``scifact``; raises :class:`BSAError` if it is not there."""
        if name not in self._collections:
            if name == HPO:
                task = hpo_task(QUICK_CONCEPTS if self.quick else None)
            else:
                task = resolve_tasks([name], self._folder(name))[0]
            data = getattr(task.task, "data", None)
            if not isinstance(data, RetrievalData):
                raise BSAError(f"{name} is no retrieval task")
            if len(data.queries) > MAX_QUERIES:
                data = _sampled(data)
                task = retrieval_task(name, data)
            task.task.load_data()
            embeddings = self.store.evaluation(data.documents), self.store.evaluation(list(data.queries.values()))
            self._collections[name] = Collection(task, *embeddings)
        return self._collections[name]

    def pairs(self, name: str) -> EvaluationTask:
        """Rated pairs of texts: a local STS task, or a file of biomedical term pairs, e.g. ``mayosrs``."""
        data = self._folder(name)
        if (data / TERMS / f"{name}.tsv").is_file():
            return sts_task(name, read_pairs(data / TERMS, name))
        return resolve_tasks([name], data)[0]

    def _folder(self, name: str) -> Path:
        if self.data is None:
            raise BSAError(f"{name} needs --data")
        if name not in _local_names(self.data) and not (self.data / TERMS / f"{name}.tsv").is_file():
            raise BSAError(f"{name} is not in the data folder")
        return self.data


def _sampled(data: RetrievalData) -> RetrievalData:
    chosen = random.Random(0).sample(sorted(data.queries), MAX_QUERIES)
    return RetrievalData(data.corpus, {key: data.queries[key] for key in chosen}, {key: data.qrels[key] for key in chosen})


@cache
def _local_names(data: Path) -> frozenset[str]:
    return frozenset(local_folders(data))
