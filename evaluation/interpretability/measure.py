"""All measurements of interpretability, each written to the results as soon as it is there."""

from __future__ import annotations

import logging
import random
import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from bsa_st import DistillSettings
from bsa_st.concepts.dictionary import Candidates, NamedDictionary, fit_dictionary
from bsa_st.concepts.explain import MOST, explain_vectors
from bsa_st.concepts.names import HIDDEN_DIM, MOST_TEXTS, SPARE, most_used
from bsa_st.concepts.vocabulary import LEAST_AUC, Vocabulary
from bsa_st.shipped.packed import read_names
from demo.hpo import load_concepts
from evaluation.data.embeddings import EmbeddingStore
from evaluation.data.encoders import MINILM, MPNET, WORDLLAMA, load_encoder
from evaluation.data.folders import read_classes, read_pairs
from evaluation.data.neighbours import general_texts
from evaluation.interpretability.csr import csr
from evaluation.interpretability.detection import MATCHED_RATE, judge, summary
from evaluation.interpretability.methods import Features, Texts, learnt, learnt_names, named, refined, topics
from evaluation.interpretability.probing import probe
from evaluation.interpretability.stability import stability
from evaluation.jsonfiles import read_json, write_json
from evaluation.study.baselines import OBJECTIVES

logger = logging.getLogger("evaluation.interpretability")

JUDGED = 1_000
"""Features of each method that are judged, drawn at random."""
POOL, HPO_POOL = 3_000, 2_000
"""Held-out texts that the slow judge reads."""
HPO_TRAINING, HPO_DEFINITIONS, HPO_SYNONYMS = 12_000, 6_000, 12_000
SHORT = DistillSettings(hidden_dim=4096, k=12, steps=300, refit_rounds=0)
"""Fewer steps than the 2,000 that were published: what fits one core; the rows say so."""
CLASSES = "banking77"


class Judges:
    """Two encoders that had no part in the features, with the held-out texts that each reads.

    Args:
        test: Held-out texts.
        pool: Positions of those that the slow judge reads.
    """

    def __init__(self, test: Texts, pool: np.ndarray) -> None:
        self.test = test
        self.rows = {WORDLLAMA: np.arange(len(test.texts)), MPNET: pool}
        self.stores = {name: EmbeddingStore(load_encoder(name)) for name in self.rows}
        self.texts = {name: self.stores[name].evaluation([test.texts[row] for row in rows]) for name, rows in self.rows.items()}

    def __call__(self, features: Features) -> dict[str, Any]:
        """Figures of up to 1,000 features that have a label."""
        labelled = np.flatnonzero([bool(label) for label in features.labels])
        chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:JUDGED])
        strengths = sparse.csc_matrix(features.strengths(self.test))
        columns, counts, texts = strengths[:, chosen], np.diff(strengths.indptr), len(self.test.texts)
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


def measure(data: Path, output: Path) -> None:
    """Measure what the results file lacks.

    Args:
        data: Folder with ``text_mix`` and ``sts_stsbenchmark``.
        output: The results, JSON; what is in it stays.

    Raises:
        BSAError: If the data folder lacks something.
    """
    found: dict[str, Any] = read_json(output) if output.is_file() else {}
    found.setdefault("encoder", MINILM)
    store = EmbeddingStore(load_encoder(MINILM))

    def keep(place: str, name: str, make: Callable[[], Any]) -> None:
        if name not in found.setdefault(place, {}):
            logger.info("%s: %s", place, name)
            found[place][name] = make()
            write_json(output, found)

    queries, documents, training = general_texts(data)
    train, test = Texts(training, store.evaluation(training)), Texts(documents, store.evaluation(documents))
    dictionary = general_dictionary(store, train)
    pool = np.sort(np.random.default_rng(0).permutation(len(documents))[:POOL])
    judges = Judges(test, pool)
    keep("general", "named", lambda: judges(named(dictionary)))
    shipped = read_names(MINILM)
    assert shipped is not None
    keep("general", "shipped", lambda: judges(named(shipped)))
    everything = np.concatenate([train.embeddings, test.embeddings, store.evaluation(queries)])
    keep("bounds", "rates", lambda: rates(dictionary, everything))
    keep("bounds", "tags", lambda: tag_seconds(dictionary, test.embeddings[:1000]))
    keep("explained", "sts", lambda: explained(data, store, dictionary))
    keep("hpo", "named", lambda: hpo(store))
    fitting, asked = (labelled(data, split, store) for split in ("train", "test"))

    def probed(make: Callable[[int], Features]) -> dict[str, float]:
        features = make(0)
        return probe(features.strengths(fitting[0]), fitting[1], features.strengths(asked[0]), asked[1])

    dense = Features(lambda texts: sparse.csr_matrix(texts.embeddings), [])
    keep("probing", "dense", lambda: probed(lambda seed: dense))
    peers: dict[str, tuple[DistillSettings | None, Callable[[int], Features]]] = {
        "named": (None, lambda seed: named(general_dictionary(store, train, seed))),
        "nmf": (None, lambda seed: topics("nmf", train)),
        "lda": (None, lambda seed: topics("lda", train)),
        "learnt_names": (
            SHORT,
            lambda seed: learnt_names(general_dictionary(store, train, seed), replace(SHORT, seed=seed), train),
        ),
        "bsa": (SHORT, lambda seed: learnt(replace(SHORT, seed=seed), train)),
        "topk": (SHORT, lambda seed: learnt(replace(SHORT, seed=seed), train, OBJECTIVES["topk"]())),
        "csr": (SHORT, lambda seed: csr(replace(SHORT, seed=seed), train)),
        "refined": (None, lambda seed: refined(dictionary)),
    }

    def judged(make: Callable[[int], Features], settings: DistillSettings | None) -> dict[str, Any]:
        return judges(make(0)) | ({} if settings is None else {"steps": settings.steps})

    def stable(make: Callable[[int], Features]) -> dict[str, float]:
        one, two = make(0).directions, make(1).directions
        assert one is not None
        assert two is not None
        return stability(one, two)

    made = {name: cache(make) for name, (_, make) in peers.items()}
    for name, (settings, _) in peers.items():
        keep("general", name, partial(judged, made[name], settings))
        keep("probing", name, partial(probed, made[name]))
    for name in ("named", "learnt_names", "bsa", "topk", "csr"):
        keep("stability", name, partial(stable, made[name]))


def labelled(data: Path, split: str, store: EmbeddingStore) -> tuple[Texts, np.ndarray]:
    """Texts of the labelled set with their classes, (n,); raises :class:`BSAError` where the file is not in the data folder."""
    texts, classes = read_classes(data / f"cls_{CLASSES}", split)
    return Texts(texts, store.evaluation(texts)), np.array(classes)


def hpo(store: EmbeddingStore) -> dict[str, Any]:
    """4,096 names of the phenotype ontology, those that its own definitions and synonyms use most, on others of these."""
    names, texts = hpo_texts()
    embedded = store.evaluation(texts)
    held_out = np.sort(np.random.default_rng(1).permutation(len(texts))[HPO_TRAINING:])
    in_pool = np.sort(held_out[np.random.default_rng(2).permutation(len(held_out))[:HPO_POOL]])
    learnt_from = np.setdiff1d(np.arange(len(texts)), held_out)
    test = Texts([texts[row] for row in held_out], embedded[held_out])
    candidates, training = Candidates(names, store.evaluation(names)), embedded[learnt_from]
    concepts = fit_dictionary(most_used(candidates, training), training, HIDDEN_DIM)
    return Judges(test, np.searchsorted(held_out, in_pool))(named(concepts))


def general_dictionary(store: EmbeddingStore, train: Texts, seed: int = 0) -> NamedDictionary:
    """What :func:`bsa_st.name_features` makes of the first 20,000 training texts, or of the last."""
    chosen = slice(-MOST_TEXTS, None) if seed else slice(MOST_TEXTS)
    texts, rows = train.texts[chosen], train.embeddings[chosen]
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


def rates(dictionary: NamedDictionary, embeddings: np.ndarray) -> dict[str, Any]:
    """Firing rates of the tags on all texts there are, those that thresholds were set on included."""
    fired = named(dictionary).strengths(Texts([], embeddings))
    counts, texts = np.bincount(fired.indices, minlength=len(dictionary)), len(embeddings)
    return {
        "texts": texts,
        "highest_rate": round(float(counts.max() / texts), 4),
        "never": int((counts == 0).sum()),
        "never_share": round(float((counts == 0).mean()), 4),
        "without_a_tag": round(float((np.diff(fired.indptr) == 0).mean()), 4),
        "names": len(dictionary),
    }


def tag_seconds(dictionary: NamedDictionary, embeddings: np.ndarray) -> dict[str, Any]:
    """Seconds of tags from embeddings, the best of three runs."""
    seconds = timeit.repeat(lambda: list(dictionary.fires(embeddings)), number=1, repeat=3)
    return {"texts": len(embeddings), "seconds": round(min(seconds), 3)}


def explained(data: Path, store: EmbeddingStore, dictionary: NamedDictionary) -> dict[str, Any]:
    """How much of the cosine of true pairs (rating at least 4, test part of STSBenchmark) the names explain."""
    rated = read_pairs(data / "sts_stsbenchmark")
    alike = [place for place, score in enumerate(rated.score) if score >= 4]
    one, two = (store.evaluation([side[place] for place in alike]) for side in (rated.sentence1, rated.sentence2))
    told = [
        explain_vectors(dictionary, left.astype(np.float64), right.astype(np.float64))
        for left, right in zip(one, two, strict=True)
    ]
    shares = np.array([explanation.named_share for explanation in told])
    sums = [abs(sum(part.value for part in each.parts) + each.rest - each.score) for each in told]
    return {
        "pairs": len(alike),
        "names": MOST,
        "at_least_half": round(float((shares >= 0.5).mean()), 4),
        "median_share": round(float(np.median(shares)), 4),
        "tenth_percentile": round(float(np.quantile(shares, 0.1)), 4),
        "largest_error": float(f"{max(sums):.1e}"),
    }
