"""One pass over a corpus: what fires each feature, and a uniform sample. Memory does not depend on the number of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.codes import BinaryCodes
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.inputs.unit_rows import unit_rows

SAMPLE_TEXTS = 100_000
SAMPLE_CHARACTERS = 1000
"""About what an encoder of 256 tokens reads of a text."""

SPARE = 3
"""Candidates kept for each text shown, as a corpus holds texts that differ in nothing but case."""


class Ranked(NamedTuple):
    """Some texts of a feature, best first: the texts and their values."""

    texts: list[str]
    values: list[float]


@dataclass
class Collected:
    """What one pass found.

    Attributes:
        texts: Number N of texts.
        counts: Texts that fire each feature, int64 (D,).
        active: Number of texts with 0, 1, 2... active features, int64.
        strongest: Per feature the texts that fire it with the largest logit margin.
        borderline: Those that just fire it.
        just_off: Those that just do not.
        nearest: Those whose dense embedding, less the decoder's offset, points most along its decoder direction (cosine).
        sample: Uniform sample of the texts, cut to 1,000 characters, in the order of the corpus.
        codes: Their codes.
    """

    texts: int
    counts: np.ndarray
    active: np.ndarray
    strongest: list[Ranked]
    borderline: list[Ranked]
    just_off: list[Ranked]
    nearest: list[Ranked]
    sample: list[str]
    codes: BinaryCodes


class Extremes:
    """The ``size`` rows with the largest value in each column, over any number of batches: float32 (columns, size)."""

    def __init__(self, columns: int, size: int) -> None:
        self.values = torch.full((columns, size), -torch.inf)
        self.rows = torch.full((columns, size), -1, dtype=torch.int64)

    def add(self, values: Tensor, first_row: int) -> None:
        """Enter a batch, float32 (n, columns), whose rows are numbered from ``first_row``; minus infinity never enters."""
        size = self.values.shape[1]
        best = values.topk(min(size, len(values)), dim=0)
        merged = torch.cat([self.values, best.values.T.cpu()], dim=1)
        rows = torch.cat([self.rows, best.indices.T.cpu() + first_row], dim=1)
        self.values, order = merged.topk(size, dim=1)
        self.rows = rows.gather(1, order)
        self.rows[torch.isinf(self.values)] = -1


class Reservoir:
    """A uniform sample of at most ``size`` items of a stream of unknown length.

    Source: J. S. Vitter, "Random sampling with a reservoir" (1985), algorithm R.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seen = 0
        self.items: list[tuple[int, str, np.ndarray]] = []
        self._random = np.random.default_rng(seed)

    def add(self, text: str, ids: np.ndarray) -> None:
        """Offer one text with its active features."""
        if self.seen < self.size:
            self.items.append((self.seen, text[:SAMPLE_CHARACTERS], ids))
        else:
            slot = int(self._random.integers(self.seen + 1))
            if slot < self.size:
                self.items[slot] = (self.seen, text[:SAMPLE_CHARACTERS], ids)
        self.seen += 1


class Collector:
    """Takes texts batch by batch with their dense embeddings; :meth:`finish` gives the result."""

    def __init__(self, head: BinarySparsityAlignment, shown: int, sample: int, characters: int) -> None:
        self.head = head
        self.shown = shown
        self.characters = characters
        self.texts = 0
        self.counts = np.zeros(head.hidden_dim, dtype=np.int64)
        self.active = np.zeros(head.hidden_dim + 1, dtype=np.int64)
        self.tables = {
            name: Extremes(head.hidden_dim, SPARE * shown) for name in ("strongest", "borderline", "just_off", "nearest")
        }
        self.reservoir = Reservoir(sample)
        self._kept: dict[int, str] = {}

    @torch.no_grad()
    def add(self, texts: Sequence[str], x: Tensor) -> None:
        """Enter n texts with their dense embeddings, float32 (n, d)."""
        head, x = self.head, unit_rows(x)
        logits = head.logits(x)
        fires = head.select(logits).bool()
        margins = logit_margins(head, logits)
        self.tables["strongest"].add(margins.masked_fill(~fires, -torch.inf), self.texts)
        self.tables["borderline"].add((-margins).masked_fill(~fires, -torch.inf), self.texts)
        self.tables["just_off"].add(margins.masked_fill(fires, -torch.inf), self.texts)
        directions = F.normalize(head.decoder_weight, dim=1)
        self.tables["nearest"].add(F.normalize(x - head.decoder_bias, dim=1) @ directions.T, self.texts)
        codes = BinaryCodes.from_dense(fires)
        self.counts += np.bincount(codes.ids, minlength=head.hidden_dim)
        self.active += np.bincount(codes.counts, minlength=head.hidden_dim + 1)
        for text, start, stop in zip(texts, codes.indptr[:-1], codes.indptr[1:], strict=True):
            self.reservoir.add(text, codes.ids[start:stop])
        self._keep_texts(texts)
        self.texts += len(texts)

    def finish(self) -> Collected:
        """What was found in all texts so far, at least one."""
        items = sorted(self.reservoir.items, key=lambda item: item[0])
        indptr = np.concatenate([[0], np.cumsum([len(ids) for _, _, ids in items])])
        ids = np.concatenate([ids for _, _, ids in items])
        signs = {"strongest": 1.0, "borderline": -1.0, "just_off": 1.0, "nearest": 1.0}
        ranked = {
            name: [self._ranked(name, feature, sign) for feature in range(len(self.counts))] for name, sign in signs.items()
        }
        return Collected(
            texts=self.texts,
            counts=self.counts,
            active=np.trim_zeros(self.active, "b"),
            sample=[text for _, text, _ in items],
            codes=BinaryCodes(ids, indptr, len(self.counts)),
            **ranked,
        )

    def _keep_texts(self, batch: Sequence[str]) -> None:
        """Keep the beginning of those texts only that a table still points to."""
        rows = np.unique(np.concatenate([table.rows.numpy().ravel() for table in self.tables.values()]))
        kept = self._kept
        self._kept = {
            row: kept[row] if row < self.texts else clip(batch[row - self.texts], self.characters)
            for row in rows[rows >= 0].tolist()
        }

    def _ranked(self, name: str, feature: int, sign: float) -> Ranked:
        """The first texts that differ in more than case."""
        table = self.tables[name]
        found: dict[str, tuple[str, float]] = {}
        for row, value in zip(table.rows[feature].tolist(), table.values[feature].tolist(), strict=True):
            if row >= 0 and len(found) < self.shown:
                text = self._kept[row]
                found.setdefault(text.casefold(), (text, round(sign * value, 4)))
        return Ranked([text for text, _ in found.values()], [value for _, value in found.values()])


def logit_margins(head: BinarySparsityAlignment, logits: Tensor) -> Tensor:
    """How far each logit lies above what it takes to fire: positive where the feature is active.

    In threshold mode that is the logit itself; in topk mode its distance from the middle between the k-th and the next.

    Args:
        head: The trained layer.
        logits: float32 (n, D).
    """
    if head.selection == "threshold":
        return logits
    if head.k == head.hidden_dim:
        return logits - logits.min(dim=1, keepdim=True).values + torch.finfo(logits.dtype).tiny
    best = logits.topk(head.k + 1, dim=1).values
    return logits - best[:, -2:].mean(dim=1, keepdim=True)


def clip(text: str, characters: int) -> str:
    """The text on one line, cut after so many characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def chunks(texts: Iterable[str], size: int) -> Iterable[list[str]]:
    """Lists of at most ``size`` consecutive texts."""
    stream = iter(texts)
    return (list(chain([first], islice(stream, size - 1))) for first in stream)
