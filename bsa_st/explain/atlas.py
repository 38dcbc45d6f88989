"""What is known about the features of a head, as data: the content of ``bsa/features.json``."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bsa_st.head.layer import BinarySparsityAlignment

RELIABLE_AUC = 0.8
"""A label whose terms predict firing on held-out texts at least so well (AUC) is called reliable."""


class Term(NamedTuple):
    """A word or pair of words of a feature.

    Attributes:
        term: The words, lower case.
        texts: Texts that fire the feature and hold the term, among those that terms are chosen from.
        lift: How many times more often a text holds the term if it fires the feature than a text of the corpus does.
    """

    term: str
    texts: int
    lift: float


class Neighbour(NamedTuple):
    """A feature that fires on the same texts: ``together`` texts of the sample, cosine of the two columns of the codes."""

    feature: int
    together: int
    cosine: float


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        id: Its number.
        count: Texts of the corpus that fire it.
        label: A short name from its terms; empty where none can be given.
        auc: How well the terms predict firing on held-out texts (area under the ROC curve; 0.5 is chance); ``None`` where too few fire.
        terms: Distinctive terms, best first.
        strongest: Texts that fire it with the largest logit margin, with the margin, best first; likewise
        borderline: those that just fire it;
        just_off: those that just do not (negative margins);
        nearest: those whose embedding points most along its decoder direction, with the cosine.
        neighbours: Features that fire on the same texts.
        family: Number of its family.
        place: Where it stands on the map, both in [0, 1].
    """

    id: int
    count: int
    label: str
    auc: float | None
    terms: Sequence[Term]
    strongest: Sequence[tuple[str, float]]
    borderline: Sequence[tuple[str, float]]
    just_off: Sequence[tuple[str, float]]
    nearest: Sequence[tuple[str, float]]
    neighbours: Sequence[Neighbour]
    family: int
    place: tuple[float, float]

    @property
    def name(self) -> str:
        """The label, or the number where there is none."""
        return self.label or f"feature {self.id}"

    @property
    def reliable(self) -> bool:
        """Whether the label was shown to predict firing."""
        return self.auc is not None and self.auc >= RELIABLE_AUC


@dataclass(frozen=True)
class Family:
    """Features that belong together; several families form a group."""

    label: str
    group: int


@dataclass(frozen=True)
class FeatureAtlas:
    """All features of a head, as a corpus shows them.

    Attributes:
        head: Fingerprint of the head (:func:`head_fingerprint`) that this is about.
        texts: Number N of texts of the corpus.
        sampled: Texts that terms, quality and neighbours come from.
        features: All D features.
        families: Families, by number.
        groups: Labels of the groups, by number.
        active: Number of texts with 0, 1, 2... active features.
        examples: Some texts with their active features.
    """

    head: str
    texts: int
    sampled: int
    features: Sequence[Feature]
    families: Sequence[Family]
    groups: Sequence[str]
    active: Sequence[int]
    examples: Sequence[tuple[str, Sequence[int]]] = field(default_factory=list)

    def idf(self) -> np.ndarray:
        """Inverse document frequency of every feature in the corpus, as :func:`bsa_st.codes.scoring.idf`: float64 (D,)."""
        counts = np.array([feature.count for feature in self.features], dtype=np.float64)
        return np.log((self.texts + 1) / (counts + 1))

    def share_reliable(self) -> float:
        """Share of all features whose label predicts firing on held-out texts with an AUC of at least 0.8."""
        return sum(feature.reliable for feature in self.features) / len(self.features)


def head_fingerprint(head: BinarySparsityAlignment) -> str:
    """CRC-32 of the weights that decide what the features mean, as 8 hex digits."""
    checksum = 0
    for tensor in (head.mean, head.weight, head.bias, head.decoder_weight):
        checksum = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), checksum)
    return f"{checksum:08x}"
