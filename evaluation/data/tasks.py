"""Local folders and collections as mteb tasks, and the HPO ontology as a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from demo.hpo import load_concepts, synonym_task
from evaluation.data.folders import PairData, RetrievalData, read_pairs, read_retrieval

HPO = "hpo"
HPO_QUERIES = 1000


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


def folder_task(folder: Path) -> AbsTask:
    """A folder ``retrieval_NAME`` or ``sts_NAME`` as a real mteb task; raises :class:`BSAError` on bad data."""
    read = read_pairs if folder.name.startswith("sts_") else read_retrieval
    return local_task(folder.name.partition("_")[2], read(folder))


def local_task(name: str, data: RetrievalData | PairData) -> AbsTask:
    """A collection, or sentence pairs, as an mteb task."""
    is_retrieval = isinstance(data, RetrievalData)
    kind, score = ("Retrieval", "ndcg_at_10") if is_retrieval else ("STS", "cosine_spearman")
    metadata = TaskMetadata(
        name=name,
        description=f"Local {kind} task {name}.",
        dataset={"path": f"local/{name}", "revision": "local"},
        type=kind,  # type: ignore[arg-type]
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
    )
    base = LocalRetrieval if is_retrieval else LocalSTS
    return type(f"Local{name}", (base,), {"metadata": metadata, "data": data})()


def task_texts(data: RetrievalData | PairData) -> tuple[list[str], list[str]]:
    """The two lists of texts that a local task has encoded."""
    if isinstance(data, RetrievalData):
        return data.documents, list(data.queries.values())
    return data.sentence1, data.sentence2


def hpo_collection() -> RetrievalData:
    """Synonym to concept in the Human Phenotype Ontology, 1,000 held-out synonyms."""
    parts = synonym_task(load_concepts())
    queries, relevant = parts.queries[:HPO_QUERIES], parts.relevant[:HPO_QUERIES]  # in random order already
    return RetrievalData(
        corpus={str(place): ("", text) for place, text in enumerate(parts.documents)},
        queries={f"q{place}": text for place, text in enumerate(queries)},
        qrels={f"q{place}": {str(target): 1} for place, target in enumerate(relevant)},
    )
