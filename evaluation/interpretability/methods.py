"""The methods whose features are judged: each gives every text strengths of features, and every feature a label.

Learnt heads are small and trained for few steps, so that all fit one core; their own papers train longer. Their labels are what topic models use: the terms
that distinguish the texts that fire a feature (class-based TF-IDF; M. Grootendorst, "BERTopic", 2022).
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from bsa_st import DistillSettings
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.training import train_head
from evaluation.interpretability.csr import CSR

logger = logging.getLogger("evaluation.interpretability")

TERMS = 3
LEAST_TEXTS, LEAST_LIFT = 3, 2.0
TOPICS = 100
WORDS = {"min_df": 5, "max_df": 0.05, "stop_words": "english", "token_pattern": r"(?u)\b[^\W\d_][\w'-]*[^\W_]\b"}


class Features(NamedTuple):
    """What a method says about held-out texts: strengths, CSR (n, D), 0 where a feature does not fire, and D labels, empty where there is none."""

    strengths: sparse.csr_matrix
    labels: list[str]


class Texts(NamedTuple):
    """Texts with their embeddings, float32 (n, d)."""

    texts: list[str]
    embeddings: np.ndarray


def named(dictionary: NamedDictionary, test: Texts) -> Features:
    """Tags by the dictionary's names."""
    found = list(dictionary.fires(test.embeddings))
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in found])])
    values = np.concatenate([values for _, values in found]), np.concatenate([ids for ids, _ in found]), starts
    return Features(sparse.csr_matrix(values, shape=(len(found), len(dictionary))), list(dictionary.names))


def refined(dictionary: NamedDictionary, test: Texts) -> Features:
    """The same atoms as a decoder, with refined codes; all strengths are 1."""
    codes = encode_embeddings(fitted_decoder(dictionary), test.embeddings, refine=True)
    return Features(sparse.csr_matrix(codes.to_scipy()), list(dictionary.names))


def fitted_decoder(dictionary: NamedDictionary) -> BinarySparsityAlignment:
    """The dictionary's head with atoms of the length at which ``k`` of them make up an embedding."""
    head = dictionary.head()
    with torch.no_grad():
        head.decoder_weight.mul_(1 / np.sqrt(head.k))
    return head


def learnt(objective: str, settings: DistillSettings, train: Texts, test: Texts) -> Features:
    """A head trained by an objective of :mod:`bsa_st.head.objectives`, labelled afterwards."""
    logger.info("training %s", objective)
    import dataclasses

    settings = dataclasses.replace(settings, objective=objective, selection="threshold" if objective == "bsa" else "topk")
    head = train_head(train.embeddings, settings, show_progress_bar=False)
    return _labelled(_strengths(head, train.embeddings), _strengths(head, test.embeddings), train)


def csr(settings: DistillSettings, train: Texts, test: Texts) -> Features:
    """sentence-transformers' ``SparseAutoEncoder`` with ``CSRLoss``, labelled afterwards."""
    logger.info("training CSR")
    method = CSR(settings)
    method.fit(train.embeddings)
    return _labelled(method.encode(train.embeddings), method.encode(test.embeddings), train)


def topics(kind: str, train: Texts, test: Texts) -> Features:
    """Topics of NMF (on TF-IDF) or LDA (on counts), labelled by their heaviest words; a text has the topics above their 95th percentile."""
    logger.info("fitting %s", kind)
    vectorizer = (TfidfVectorizer if kind == "nmf" else CountVectorizer)(max_features=10_000, **WORDS)
    counts = vectorizer.fit_transform(train.texts)
    model = (
        NMF(TOPICS, init="nndsvd", max_iter=100, random_state=0)
        if kind == "nmf"
        else LatentDirichletAllocation(TOPICS, learning_method="online", max_iter=3, random_state=0)
    )
    own = model.fit_transform(counts)
    weights = np.asarray(model.transform(vectorizer.transform(test.texts)))
    weights = weights * (weights > np.maximum(np.quantile(own, 0.95, axis=0), 1e-9))
    words = vectorizer.get_feature_names_out()
    return Features(sparse.csr_matrix(weights), [", ".join(words[np.argsort(-row)[:TERMS]]) for row in model.components_])


@torch.inference_mode()
def _strengths(head: BinarySparsityAlignment, embeddings: np.ndarray) -> sparse.csr_matrix:
    parts = []
    for start in range(0, len(embeddings), 2048):
        logits = head.logits(torch.from_numpy(embeddings[start : start + 2048]))
        margins = (logits - (0 if head.selection == "threshold" else logits.min())) * head.select(logits)
        parts.append(sparse.csr_matrix(margins.numpy()))
    return sparse.csr_matrix(sparse.vstack(parts))


def _labelled(train_strengths: sparse.csr_matrix, strengths: sparse.csr_matrix, train: Texts) -> Features:
    """Labels from the training texts: terms by the share of firing texts that hold them times ``log(lift)``."""
    vectorizer = CountVectorizer(binary=True, ngram_range=(1, 2), max_features=50_000, dtype=np.float32, **WORDS)
    present = vectorizer.fit_transform(train.texts)
    words = vectorizer.get_feature_names_out()
    fires = (train_strengths > 0).astype(np.float32).T.tocsr()
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
    return Features(strengths, labels)
