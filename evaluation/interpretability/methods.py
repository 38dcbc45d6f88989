"""The methods whose features are judged: each gives every text strengths of features, and every feature a label.

The labels of learnt features are what topic models use: the terms that distinguish the texts that fire a feature (class-based TF-IDF; M. Grootendorst,
"BERTopic", 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from bsa_st import DistillSettings
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.losses import BSALoss
from bsa_st.training.trainer import train_head
from evaluation.study.baselines import Objective, train_by

TERMS = 3
LEAST_TEXTS, LEAST_LIFT = 3, 2.0
TOPICS = 100
WORDS = {"min_df": 5, "max_df": 0.05, "stop_words": "english", "token_pattern": r"(?u)\b[^\W\d_][\w'-]*[^\W_]\b"}


class Texts(NamedTuple):
    """Texts with their embeddings, float32 (n, d)."""

    texts: list[str]
    embeddings: np.ndarray


class Features(NamedTuple):
    """A method's features.

    Attributes:
        strengths: Gives texts strengths of the features, CSR (n, D), 0 where a feature does not fire.
        labels: D labels, empty where there is none.
        directions: Of the features in the space of the embeddings, float32 (D, d); None for topics.
    """

    strengths: Callable[[Texts], sparse.csr_matrix]
    labels: list[str]
    directions: np.ndarray | None = None


@torch.no_grad()
def take_atoms(head: BinarySparsityAlignment, dictionary: NamedDictionary) -> None:
    """Give a head the dictionary's atoms; the decoder's are of the length at which ``k`` of them make up an embedding."""
    head.mean.copy_(torch.from_numpy(dictionary.mean))
    head.weight.copy_(torch.from_numpy(dictionary.atoms))
    head.bias.copy_(torch.from_numpy(-dictionary.thresholds))
    head.decoder_weight.copy_(head.weight / np.sqrt(head.k))
    head.decoder_bias.copy_(head.mean)


def named(dictionary: NamedDictionary) -> Features:
    """Tags by the dictionary's names."""

    def strengths(texts: Texts) -> sparse.csr_matrix:
        found = list(dictionary.fires(texts.embeddings))
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in found])])
        values = np.concatenate([values for _, values in found]), np.concatenate([ids for ids, _ in found]), starts
        return sparse.csr_matrix(values, shape=(len(found), len(dictionary)))

    return Features(strengths, list(dictionary.names), dictionary.atoms)


def refined(dictionary: NamedDictionary) -> Features:
    """The same atoms as a decoder with refined codes; all strengths are 1."""
    head = BinarySparsityAlignment(len(dictionary.mean), len(dictionary), min(dictionary.k, len(dictionary))).eval()
    take_atoms(head, dictionary)

    def strengths(texts: Texts) -> sparse.csr_matrix:
        return sparse.csr_matrix(encode_embeddings(head, texts.embeddings, refine=True).to_scipy())

    return Features(strengths, list(dictionary.names), dictionary.atoms)


def learnt_names(dictionary: NamedDictionary, settings: DistillSettings, train: Texts) -> Features:
    """The named dictionary after training by BSA's losses from its atoms and firing rates on; a feature keeps its name while its atom is nearest to that
    name's own."""

    def prepared(model: SentenceTransformer, sample: torch.Tensor) -> BSALoss:
        take_atoms(head_of(model), dictionary)
        head_of(model).set_rates(sample, torch.from_numpy(dictionary.rates))
        return BSALoss(model)

    head = train_head(train.embeddings, settings, loss=prepared, show_progress_bar=False)
    found = directions(head.weight)
    own = (found @ dictionary.atoms.T).argmax(axis=1) == np.arange(len(dictionary))
    labels = [name if kept else "" for name, kept in zip(dictionary.names, own, strict=True)]
    return Features(partial(_strengths, head), labels, found)


def learnt(settings: DistillSettings, train: Texts, objective: Objective | None = None) -> Features:
    """A head trained by BSA's losses, or with exactly k active features by another objective, labelled afterwards."""
    if objective is None:
        head = train_head(train.embeddings, replace(settings, selection="threshold"), show_progress_bar=False)
    else:
        head = train_by(objective, train.embeddings, replace(settings, selection="topk"))
    strengths = partial(_strengths, head)
    return Features(strengths, distinctive_terms(strengths(train), train), directions(head.decoder_weight))


def topics(kind: str, train: Texts) -> Features:
    """Topics of NMF (on TF-IDF) or LDA (on counts), labelled by their heaviest words; a text has the topics above their 95th percentile."""
    vectorizer = (TfidfVectorizer if kind == "nmf" else CountVectorizer)(max_features=10_000, **WORDS)
    counts = vectorizer.fit_transform(train.texts)
    model = (
        NMF(TOPICS, init="nndsvd", max_iter=100, random_state=0)
        if kind == "nmf"
        else LatentDirichletAllocation(TOPICS, learning_method="online", max_iter=3, random_state=0)
    )
    least = np.maximum(np.quantile(model.fit_transform(counts), 0.95, axis=0), 1e-9)

    def strengths(texts: Texts) -> sparse.csr_matrix:
        weights = np.asarray(model.transform(vectorizer.transform(texts.texts)))
        return sparse.csr_matrix(weights * (weights > least))

    words = vectorizer.get_feature_names_out()
    return Features(strengths, [", ".join(words[np.argsort(-row)[:TERMS]]) for row in model.components_])


def directions(weights: torch.Tensor) -> np.ndarray:
    """Rows of length 1, float32 (D, d)."""
    return torch.nn.functional.normalize(weights.detach().float(), dim=1).numpy()


@torch.inference_mode()
def in_parts(encode: Callable[[torch.Tensor], torch.Tensor], texts: Texts) -> sparse.csr_matrix:
    """Strengths of texts, CSR (n, D), from a function of 2,048 embeddings at a time."""
    parts = torch.from_numpy(texts.embeddings).split(2048)
    return sparse.csr_matrix(sparse.vstack([sparse.csr_matrix(encode(part).numpy()) for part in parts]))


def _strengths(head: BinarySparsityAlignment, texts: Texts) -> sparse.csr_matrix:
    def margins(x: torch.Tensor) -> torch.Tensor:
        logits = head.logits(x)
        return (logits - (0 if head.selection == "threshold" else logits.min())) * head.select(logits)

    return in_parts(margins, texts)


def distinctive_terms(strengths: sparse.csr_matrix, train: Texts) -> list[str]:
    """A label of each feature from the training texts and their strengths: terms by the share of firing texts that hold them times ``log(lift)``."""
    vectorizer = CountVectorizer(binary=True, ngram_range=(1, 2), max_features=50_000, dtype=np.float32, **WORDS)
    present = vectorizer.fit_transform(train.texts)
    words = vectorizer.get_feature_names_out()
    fires = (strengths > 0).astype(np.float32).T.tocsr()
    share = np.asarray(present.mean(axis=0)).ravel()
    sizes = np.asarray(fires.sum(axis=1)).ravel()
    labels = []
    for feature in range(fires.shape[0]):
        together = fires[feature] @ present
        within = together.data / max(sizes[feature], 1)
        lift = within / share[together.indices]
        worth = np.where((together.data >= LEAST_TEXTS) & (lift >= LEAST_LIFT), within * np.log(np.maximum(lift, 1)), 0)
        best = np.argsort(-worth, kind="stable")[:TERMS]
        labels.append(", ".join(words[together.indices[at]] for at in best if worth[at] > 0))
    return labels
