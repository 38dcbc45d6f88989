"""The methods whose features are judged: each gives every text strengths of features, and every feature a label.

The labels of learnt features are what topic models use: the terms that distinguish the texts that fire a feature (class-based TF-IDF; M. Grootendorst,
"BERTopic", 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from bsa_st import DistillSettings
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.losses import BSALoss
from bsa_st.training import train_head
from evaluation.interpretability.csr import CSR
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


class LearntNames(Objective):
    """BSA's losses, from the atoms and firing rates of a named dictionary on.

    Args:
        dictionary: The names.
    """

    real_valued: ClassVar[bool] = False

    def __init__(self, dictionary: NamedDictionary) -> None:
        super().__init__()
        self.dictionary = dictionary

    def values(self, head: BinarySparsityAlignment, x: torch.Tensor) -> torch.Tensor:
        return head.select(head.logits(x))

    def loss(self, head: BinarySparsityAlignment, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return BSALoss(head).head_loss(head({"sentence_embedding": x}))  # type: ignore[arg-type]

    @torch.no_grad()
    def prepare(self, head: BinarySparsityAlignment, sample: torch.Tensor) -> None:
        head.mean.copy_(torch.from_numpy(self.dictionary.mean))
        head.weight.copy_(torch.from_numpy(self.dictionary.atoms))
        head.decoder_weight.copy_(head.weight / np.sqrt(head.k))
        head.decoder_bias.copy_(head.mean)
        head.set_rates(sample, torch.from_numpy(self.dictionary.rates))


def named(dictionary: NamedDictionary) -> Features:
    """Tags by the dictionary's names."""

    def strengths(texts: Texts) -> sparse.csr_matrix:
        found = list(dictionary.fires(texts.embeddings))
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in found])])
        values = np.concatenate([values for _, values in found]), np.concatenate([ids for ids, _ in found]), starts
        return sparse.csr_matrix(values, shape=(len(found), len(dictionary)))

    return Features(strengths, list(dictionary.names), dictionary.atoms)


def refined(dictionary: NamedDictionary) -> Features:
    """The same atoms as a decoder, of the length at which ``k`` of them make up an embedding, with refined codes; all strengths are 1."""
    head = BinarySparsityAlignment(len(dictionary.mean), len(dictionary), min(dictionary.k, len(dictionary)))
    with torch.no_grad():
        head.mean.copy_(torch.from_numpy(dictionary.mean))
        head.weight.copy_(torch.from_numpy(dictionary.atoms))
        head.bias.copy_(torch.from_numpy(-dictionary.thresholds))
        head.decoder_weight.copy_(head.weight * (1 / np.sqrt(head.k)))
        head.decoder_bias.copy_(head.mean)
    head.eval()

    def strengths(texts: Texts) -> sparse.csr_matrix:
        return sparse.csr_matrix(encode_embeddings(head, texts.embeddings, refine=True).to_scipy())

    return Features(strengths, list(dictionary.names), dictionary.atoms)


def learnt_names(dictionary: NamedDictionary, settings: DistillSettings, train: Texts) -> Features:
    """The named dictionary after training by BSA's losses; a feature keeps its name while its atom is nearest to that name's own."""
    head = train_by(LearntNames(dictionary), train.embeddings, settings)
    directions = _directions(head.weight)
    own = (directions @ dictionary.atoms.T).argmax(axis=1) == np.arange(len(dictionary))
    labels = [name if kept else "" for name, kept in zip(dictionary.names, own, strict=True)]
    return Features(lambda texts: _strengths(head, texts.embeddings), labels, directions)


def learnt(settings: DistillSettings, train: Texts, objective: Objective | None = None) -> Features:
    """A head trained by BSA's losses, or with exactly k active features by another objective, labelled afterwards."""
    if objective is None:
        head = train_head(train.embeddings, replace(settings, selection="threshold"), show_progress_bar=False)
    else:
        head = train_by(objective, train.embeddings, replace(settings, selection="topk"))
    labels = distinctive_terms(_strengths(head, train.embeddings), train)
    return Features(lambda texts: _strengths(head, texts.embeddings), labels, _directions(head.decoder_weight))


def csr(settings: DistillSettings, train: Texts) -> Features:
    """sentence-transformers' ``SparseAutoEncoder`` with ``CSRLoss``, labelled afterwards."""
    method = CSR(settings)
    method.fit(train.embeddings)
    labels = distinctive_terms(method.encode(train.embeddings), train)
    return Features(lambda texts: method.encode(texts.embeddings), labels, _directions(next(method.coder.encoder.parameters())))


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


def _directions(weights: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(weights.detach().float(), dim=1).numpy()


@torch.inference_mode()
def _strengths(head: BinarySparsityAlignment, embeddings: np.ndarray) -> sparse.csr_matrix:
    parts = []
    for start in range(0, len(embeddings), 2048):
        logits = head.logits(torch.from_numpy(embeddings[start : start + 2048]))
        margins = (logits - (0 if head.selection == "threshold" else logits.min())) * head.select(logits)
        parts.append(sparse.csr_matrix(margins.numpy()))
    return sparse.csr_matrix(sparse.vstack(parts))


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
