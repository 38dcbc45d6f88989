"""Training of the heads that ship, and their files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bsa_st.encoding.encode import refined_codes
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import DistillSettings
from bsa_st.shipped.attach import fingerprint
from bsa_st.shipped.packed import HeadFacts, halve, linear_encoder, shared_decoder, unrolled_encoder, write_head
from bsa_st.training import train_head
from bsa_st.training.budgets import measure_budgets
from bsa_st.training.monitor import code_statistics
from bsa_st.training.statistics import best_softening, choose_softening
from bsa_st.training.unroll import fit_schedule
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, MPNET, WORDLLAMA, load_encoder
from evaluation.heads.texts import SOURCES

HELD_OUT = 1_500
QUERIES = 500
DOCUMENTS = 10_000
SAMPLE = 8_192
DAMPINGS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

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
    rows = np.array(EmbeddingStore(encoder).training(texts[: known.texts])[:limit], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mark = fingerprint(encoder)
    for size in sizes or known.sizes:
        settings = DistillSettings() if size is None else DistillSettings.of_bytes(size)
        head, rest = fit(rows, settings)
        facts = HeadFacts(known.name, known.license, "en", size, head.input_dim, head.hidden_dim, head.k, **rest)
        yield write_head(head, facts, mark)


def fit(rows: np.ndarray, settings: DistillSettings) -> tuple[BinarySparsityAlignment, dict[str, Any]]:
    """A head whose decoder half precision holds, everything else fitted to that; and the rest of its :class:`~bsa_st.shipped.packed.HeadFacts`.

    Args:
        rows: float32 (n, d) of length 1, in random order: the first 1,500 are held out.
        settings: How it is trained.
    """
    started = time.perf_counter()
    held_out, sample = rows[:HELD_OUT], rows[HELD_OUT:]
    head = train_head(sample, replace(settings, unroll_trials=0), show_progress_bar=False)
    halve(head)
    damping, cosines = fit_linear(head, sample, held_out)
    head.calibrate(torch.from_numpy(sample), keep_decoder=True)
    measure_budgets(head, sample)
    queries, documents = held_out[:QUERIES], np.concatenate([held_out[QUERIES:], sample[:DOCUMENTS]])
    found = choose_softening(head, queries, documents)
    searched = fit_schedule(head, sample, settings.unroll_trials, settings.seed)
    assert searched is not None  # all sizes here are unrolled
    steps, schedule = searched
    head.unrolled = unrolled_encoder(head, steps.constant, schedule, 0.0)
    there = torch.from_numpy(documents)
    decoded = head.unrolled.codes(there).float() @ shared_decoder(head, steps.constant)
    softening, found_unrolled = best_softening(torch.from_numpy(queries), there, decoded)
    figures = code_statistics(head, held_out) | cosines | {"found_at_10": found, "found_at_10_unrolled": found_unrolled}
    rates = code_statistics(head, sample)
    figures |= {name: rates[name] for name in ("never_fired", "highest_rate")}
    report = head.report | {
        "settings": settings.to_dict(),
        "texts": len(rows),
        "texts_from": SOURCES,
        "texts_held_out": len(held_out),
        "seconds_training": round(time.perf_counter() - started, 1),
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }
    logger.info("%s", report["figures"])
    return head, {
        "damping": damping,
        "constant": steps.constant,
        "schedule": schedule,
        "softening": softening,
        "report": report,
    }


@torch.no_grad()
def fit_linear(head: BinarySparsityAlignment, sample: np.ndarray, held_out: np.ndarray) -> tuple[float, dict[str, float]]:
    """Put the computed linear encoder into a head, each feature firing as often as in refined codes.

    Returns:
        The damping whose plain codes decode best on held-out rows; and their cosine beside that of the encoder fitted to the data.
    """
    x, there = torch.from_numpy(sample[:SAMPLE]), torch.from_numpy(held_out)
    rates = torch.cat([refined_codes(head, part) for part in x.split(4096)]).float().mean(dim=0)

    def cosine() -> float:
        return float(F.cosine_similarity(head.decode(head.select(head.logits(there))), there).mean())

    fitted = cosine()
    tried = {}
    for damping in DAMPINGS:
        head.weight.copy_(linear_encoder(head.decoder_weight, damping))
        head.set_rates(x, rates)
        tried[damping] = cosine()
    best = max(tried, key=lambda damping: tried[damping])
    head.weight.copy_(linear_encoder(head.decoder_weight, best))
    head.set_rates(x, rates)
    return best, {"plain_cosine": tried[best], "plain_cosine_fitted": fitted}
