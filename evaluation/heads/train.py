"""Training of the heads that ship, and their files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import DistillSettings
from bsa_st.head.unrolled import StepSchedule
from bsa_st.inputs.embeddings import cached_embeddings
from bsa_st.inputs.prompts import document_prompt, under_prompt
from bsa_st.shipped.attach import fingerprint
from bsa_st.shipped.packed import HeadFacts, write_head
from bsa_st.training import train_head
from evaluation.data.encoders import MINILM, MPNET, WORDLLAMA, load_encoder
from evaluation.heads.texts import SOURCES

HELD_OUT = 0.05
"""Share of the texts."""

logger = logging.getLogger("evaluation")


@dataclass(frozen=True)
class Encoder:
    """A known encoder: its name on the Hub, what its own card says, the texts it embeds here, and its heads (None: the sparse one)."""

    name: str
    license: str
    texts: int
    sizes: tuple[int | None, ...]


ENCODERS = {
    MINILM: Encoder("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0", 30_000, (64, 32, 48, 96, None)),
    WORDLLAMA: Encoder("dleemiller/wordllama-l2-supercat", "mit", 30_000, (64,)),
    MPNET: Encoder("sentence-transformers/all-mpnet-base-v2", "apache-2.0", 8_000, (64,)),
}
"""Fewer texts where they take eight times as long to embed."""


def train(name: str, texts: list[str], sizes: tuple[int | None, ...] = (), limit: int | None = None) -> Iterator[Path]:
    """Train and write the heads of an encoder, all its sizes or these, on at most ``limit`` of its texts; yields the path of each one's weights."""
    known = ENCODERS[name]
    encoder = load_encoder(name)
    prompted = under_prompt(encoder, document_prompt(encoder))
    rows = np.array(cached_embeddings(prompted, texts[: known.texts])[:limit], dtype=np.float32)
    mark = fingerprint(encoder)
    for size in sizes or known.sizes:
        settings = DistillSettings(held_out=HELD_OUT) if size is None else DistillSettings.of_bytes(size, held_out=HELD_OUT)
        head = train_head(rows, settings, show_progress_bar=False)
        logger.info("%s", head.report["figures"])
        yield write_head(head, facts_of(head, known, size), mark)


def facts_of(head: BinarySparsityAlignment, encoder: Encoder, code_bytes: int | None) -> HeadFacts:
    """What the metadata of a head say; ``code_bytes`` is None for a sparse one."""
    assert head.unrolled is not None
    report = dict(head.report)
    unrolled = report.pop("unrolled")
    return HeadFacts(
        encoder=encoder.name,
        license=encoder.license,
        language="en",
        code_bytes=code_bytes,
        input_dim=head.input_dim,
        hidden_dim=head.hidden_dim,
        k=head.k,
        damping=report["refit"][-1]["damping"],
        constant=unrolled["constant"],
        schedule=StepSchedule(**unrolled["schedule"]),
        softening=head.unrolled.softening,
        report=report | {"texts_from": SOURCES},
    )
