"""Local folders and the HPO ontology as mteb tasks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from bsa_st import BSAError
from bsa_st.demo.hpo import load_concepts, synonym_task
from evaluation.folders import (
    PairData,
    RetrievalData,
    is_retrieval_folder,
    is_sts_folder,
    read_pairs,
    read_retrieval,
)

HPO = "hpo"
PREFIXES = ("retrieval_", "sts_")
HPO_QUERIES = 1000


@dataclass(frozen=True)
class EvaluationTask:
    """A task and what the runner has to know about it.

    Attributes:
        name: Short name in the tables.
        task: What ``mteb.evaluate`` is given.
    """

    name: str
    task: AbsTask


class LocalRetrieval(AbsTaskRetrieval):
    """A retrieval task whose data is given, so that nothing is downloaded."""

    data: RetrievalData
    k_values = (1, 3, 5, 10, 20, 100)  # without 1,000, with which mteb would rank and write ten times as much

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Hand the collection to mteb in its own layout."""
        corpus = [{"id": key, "title": title, "text": text} for key, (title, text) in self.data.corpus.items()]
        queries = [{"id": key, "text": text} for key, text in self.data.queries.items()]
        self.dataset = {
            "default": {
                "test": {
                    "corpus": Dataset.from_list(corpus),
                    "queries": Dataset.from_list(queries),
                    "relevant_docs": self.data.qrels,
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True


class LocalSTS(AbsTaskSTS):
    """A sentence-similarity task whose data is given."""

    data: PairData

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Hand the pairs to mteb in its own layout."""
        self.dataset = DatasetDict({"test": Dataset.from_dict(vars(self.data))})
        self.data_loaded = True


def local_folders(data: Path) -> dict[str, Path]:
    """Short name to folder of every task below ``data``, or of ``data`` itself."""
    if not data.is_dir():
        raise BSAError(f"data folder not found: {data}")
    if is_retrieval_folder(data) or is_sts_folder(data):
        return {_short(data): data}
    inside = [folder for folder in sorted(data.iterdir()) if folder.is_dir()]
    found = {_short(folder): folder for folder in inside if is_retrieval_folder(folder) or is_sts_folder(folder)}
    if not found:
        raise BSAError(f"{data}: no task in it; a task folder holds corpus.jsonl, queries.jsonl and qrels.tsv, or test.tsv")
    return found


def folder_task(name: str, folder: Path) -> EvaluationTask:
    """A local folder as a real mteb task; raises :class:`BSAError` on bad data."""
    if is_retrieval_folder(folder):
        return retrieval_task(name, read_retrieval(folder))
    return sts_task(name, read_pairs(folder))


def retrieval_task(name: str, data: RetrievalData) -> EvaluationTask:
    """A collection as an mteb retrieval task."""
    members = {"metadata": _metadata(name, "Retrieval", "ndcg_at_10"), "data": data}
    task = type(f"Local{name}", (LocalRetrieval,), members)()
    return EvaluationTask(name, task)


def sts_task(name: str, data: PairData) -> EvaluationTask:
    """Sentence pairs as an mteb STS task."""
    task = type(f"Local{name}", (LocalSTS,), {"metadata": _metadata(name, "STS", "cosine_spearman"), "data": data})()
    return EvaluationTask(name, task)


def hpo_task(concepts: int | None = None, seed: int = 0) -> EvaluationTask:
    """Synonym to concept in the Human Phenotype Ontology, 1,000 held-out synonyms; ``concepts`` takes a random part of it."""
    everything = load_concepts()
    if concepts is not None:
        everything = random.Random(seed).sample(everything, min(concepts, len(everything)))
    parts = synonym_task(everything)
    queries, relevant = parts.queries[:HPO_QUERIES], parts.relevant[:HPO_QUERIES]  # in random order already
    data = RetrievalData(
        corpus={str(place): ("", text) for place, text in enumerate(parts.documents)},
        queries={f"q{place}": text for place, text in enumerate(queries)},
        qrels={f"q{place}": {str(target): 1} for place, target in enumerate(relevant)},
    )
    return retrieval_task(HPO, data)


def task_texts(item: EvaluationTask) -> list[list[str]]:
    """The lists of texts that a local task has encoded; none for another task."""
    data = getattr(item.task, "data", None)
    if isinstance(data, RetrievalData):
        return [data.documents, list(data.queries.values())]
    return [data.sentence1, data.sentence2] if isinstance(data, PairData) else []


def _short(folder: Path) -> str:
    name = folder.resolve().name
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)


def _metadata(name: str, kind: Any, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description=f"Local {kind} task {name}.",
        dataset={"path": f"local/{name}", "revision": "local"},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
    )
