"""All measurements of interpretability, each written to the results as soon as it is there."""

from __future__ import annotations

import csv
import logging
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from bsa_st import BSAError, DistillSettings
from bsa_st.concepts.dictionary import Candidates, NamedDictionary, fit_dictionary
from bsa_st.concepts.explain import MOST, explain_vectors
from bsa_st.concepts.names import HIDDEN_DIM, MOST_TEXTS, SPARE, most_used
from bsa_st.concepts.vocabulary import LEAST_AUC, Vocabulary
from bsa_st.demo.hpo import load_concepts
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, MPNET, WORDLLAMA, load_encoder
from evaluation.interpretability.detection import MATCHED_RATE, judge, summary
from evaluation.interpretability.methods import Features, Texts, csr, learnt, named, refined, topics
from evaluation.jsonfiles import read_json, write_json
from evaluation.neighbours import general_texts

logger = logging.getLogger("evaluation.interpretability")

JUDGED = 1_000
"""Features of each method that are judged, drawn at random."""
POOL, HPO_POOL = 3_000, 2_000
"""Held-out texts that the slow judge reads."""
HPO_TRAINING, HPO_DEFINITIONS, HPO_SYNONYMS = 12_000, 6_000, 12_000
SETTINGS = DistillSettings(hidden_dim=4096, k=12, steps=300, refit_rounds=0)


class Judges:
    """Two encoders that had no part in the features, with the held-out texts that each reads.

    Args:
        test: Held-out texts.
        pool: Positions of those that the slow judge reads.
        cache_dir: Folder of the embedding cache.
    """

    def __init__(self, test: list[str], pool: np.ndarray, cache_dir: Path | None) -> None:
        self.rows = {WORDLLAMA: np.arange(len(test)), MPNET: pool}
        self.stores = {name: EmbeddingStore(load_encoder(name), cache_dir, show_progress_bar=False) for name in self.rows}
        self.texts = {name: self.stores[name].evaluation([test[row] for row in rows]) for name, rows in self.rows.items()}

    def __call__(self, features: Features) -> dict[str, Any]:
        """Figures of up to 1,000 features that have a label."""
        labelled = np.flatnonzero([bool(label) for label in features.labels])
        chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:JUDGED])
        columns = sparse.csc_matrix(features.strengths)[:, chosen]
        counts = np.diff(sparse.csc_matrix(features.strengths).indptr)
        texts = features.strengths.shape[0]
        found: dict[str, Any] = {
            "features": len(features.labels),
            "labelled": len(labelled),
            "active": round(float(counts.sum() / texts), 2),
            "highest_rate": round(float(counts.max() / texts), 4),
            "never": int((counts == 0).sum()),
        }
        for name, rows in self.rows.items():
            labels = self.stores[name].evaluation([features.labels[feature] for feature in chosen])
            part = sparse.csc_matrix(columns.tocsr()[rows])
            found[name] = summary(judge(part, labels, self.texts[name]))
            found[f"{name}_matched"] = summary(judge(part, labels, self.texts[name], MATCHED_RATE))
        return found


def measure(data: Path, output: Path, cache_dir: Path | None) -> None:
    """Measure what the results file lacks.

    Args:
        data: Folder with ``text_mix`` and ``sts_stsbenchmark``.
        output: The results, JSON; what is in it stays.
        cache_dir: Folder of the embedding cache.

    Raises:
        BSAError: If the data folder lacks something.
    """
    found: dict[str, Any] = read_json(output) if output.is_file() else {}
    found.setdefault("encoder", MINILM)
    store = EmbeddingStore(load_encoder(MINILM), cache_dir, show_progress_bar=False)

    def keep(place: str, name: str, make: Callable[[], Any]) -> None:
        if name not in found.setdefault(place, {}):
            logger.info("%s: %s", place, name)
            found[place][name] = make()
            write_json(output, found)

    queries, documents, training = general_texts(data)
    train, test = Texts(training, store.evaluation(training)), Texts(documents, store.evaluation(documents))
    dictionary = general_dictionary(store, train)
    pool = np.sort(np.random.default_rng(0).permutation(len(documents))[:POOL])
    judges = Judges(documents, pool, cache_dir)
    keep("general", "named", lambda: judges(named(dictionary, test)))
    everything = np.concatenate([train.embeddings, test.embeddings, store.evaluation(queries)])
    keep("bounds", "rates", lambda: rates(dictionary, everything))
    keep("bounds", "tags", lambda: tag_seconds(dictionary, test.embeddings[:1000]))
    keep("explained", "sts", lambda: explained(data, store, dictionary))
    hpo = hpo_texts()
    names, judged_texts = hpo
    embedded = store.evaluation(judged_texts)
    held_out = np.sort(np.random.default_rng(1).permutation(len(judged_texts))[HPO_TRAINING:])
    in_pool = np.sort(held_out[np.random.default_rng(2).permutation(len(held_out))[:HPO_POOL]])
    learnt_from = np.setdiff1d(np.arange(len(judged_texts)), held_out)
    concepts = hpo_dictionary(names, store.evaluation(names), embedded[learnt_from])
    hpo_test = [judged_texts[row] for row in held_out]
    hpo_judges = Judges(hpo_test, np.searchsorted(held_out, in_pool), cache_dir)
    keep("hpo", "named", lambda: hpo_judges(named(concepts, Texts(hpo_test, embedded[held_out]))))
    peers: dict[str, Callable[[], Features]] = {
        "nmf": lambda: topics("nmf", train, test),
        "topk": lambda: learnt("topk", SETTINGS, train, test),
        "bsa": lambda: learnt("bsa", SETTINGS, train, test),
        "refined": lambda: refined(dictionary, test),
        "lda": lambda: topics("lda", train, test),
        "csr": lambda: csr(SETTINGS, train, test),
    }
    for name, make in peers.items():
        keep("general", name, partial(_judged, judges, make))


def _judged(judges: Judges, make: Callable[[], Features]) -> dict[str, Any]:
    return judges(make())


def general_dictionary(store: EmbeddingStore, train: Texts) -> NamedDictionary:
    """What :func:`bsa_st.name_features` makes of the first 20,000 training texts."""
    texts, rows = train.texts[:MOST_TEXTS], train.embeddings[:MOST_TEXTS]
    words = Vocabulary(texts, round(SPARE * HIDDEN_DIM))
    embedded = store.evaluation(words.names)
    good = np.flatnonzero(words.auc(embedded, rows) >= LEAST_AUC)
    return fit_dictionary(Candidates([words.names[place] for place in good], embedded[good]), rows, HIDDEN_DIM)


def hpo_texts() -> tuple[list[str], list[str]]:
    """Names of the ontology, and definitions and synonyms as texts, shuffled; no name is among the texts."""
    concepts, draw = load_concepts(), random.Random(0)
    names = [concept.name for concept in concepts]
    own = {name.casefold() for name in names}
    definitions = [concept.definition for concept in concepts if concept.definition]
    synonyms = [text for concept in concepts for text in concept.synonyms if text.casefold() not in own]
    texts = list(dict.fromkeys(draw.sample(definitions, HPO_DEFINITIONS) + draw.sample(synonyms, HPO_SYNONYMS)))
    draw.shuffle(texts)
    return names, texts


def hpo_dictionary(names: list[str], embeddings: np.ndarray, texts: np.ndarray) -> NamedDictionary:
    """4,096 names of the ontology, those that the training texts use most."""
    return fit_dictionary(most_used(Candidates(names, embeddings), texts), texts, HIDDEN_DIM)


def rates(dictionary: NamedDictionary, embeddings: np.ndarray) -> dict[str, Any]:
    """Firing rates of the tags on all texts there are, those that thresholds were set on included."""
    counts = np.zeros(len(dictionary), dtype=np.int64)
    texts = none = 0
    for ids, _ in dictionary.fires(embeddings):
        counts[ids] += 1
        texts, none = texts + 1, none + (len(ids) == 0)
    return {
        "texts": texts,
        "highest_rate": round(float(counts.max() / texts), 4),
        "never": int((counts == 0).sum()),
        "never_share": round(float((counts == 0).mean()), 4),
        "without_a_tag": round(none / texts, 4),
        "names": len(dictionary),
    }


def tag_seconds(dictionary: NamedDictionary, embeddings: np.ndarray) -> dict[str, Any]:
    """Seconds of tags from embeddings, the best of three runs."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        list(dictionary.fires(embeddings))
        seconds.append(time.perf_counter() - started)
    return {"texts": len(embeddings), "seconds": round(min(seconds), 3)}


def explained(data: Path, store: EmbeddingStore, dictionary: NamedDictionary) -> dict[str, Any]:
    """How much of the cosine of true pairs (rating at least 4, test part of STSBenchmark) the names explain."""
    path = data / "sts_stsbenchmark" / "test.tsv"
    if not path.is_file():
        raise BSAError(f"file not found: {path}")
    with path.open(encoding="utf-8", newline="") as file:
        pairs = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if float(row["score"]) >= 4]
    one, two = (store.evaluation([row[side] for row in pairs]) for side in ("sentence1", "sentence2"))
    told = [
        explain_vectors(dictionary, left.astype(np.float64), right.astype(np.float64))
        for left, right in zip(one, two, strict=True)
    ]
    shares = np.array([explanation.named_share for explanation in told])
    sums = [abs(sum(part.value for part in each.parts) + each.rest - each.score) for each in told]
    return {
        "pairs": len(pairs),
        "names": MOST,
        "at_least_half": round(float((shares >= 0.5).mean()), 4),
        "median_share": round(float(np.median(shares)), 4),
        "tenth_percentile": round(float(np.quantile(shares, 0.1)), 4),
        "largest_error": float(f"{max(sums):.1e}"),
    }
