"""Codes and embeddings for the benchmark of engines: real ones, and larger sets grown from them by resampling with noise."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save

from bsa_st import BinaryCodes, DistillSettings, encode_embeddings
from bsa_st.atomic import atomic_file
from bsa_st.training import train_head
from evaluation.embeddings import unit_rows

LOG = logging.getLogger(__name__)
QUERIES = 500
REPLACED = 0.15
"""Share of a copied document's active features that are replaced by those of another document."""
NOISE = 0.3
"""Length of the noise added to a copied document's embedding."""
TRAINING = 100_000


class Sample(NamedTuple):
    """One configuration's data.

    Attributes:
        documents: Refined codes.
        queries: Plain codes.
        dense: Query embeddings, float32 (n, d).
        decoder: V and c.
    """

    documents: BinaryCodes
    queries: BinaryCodes
    dense: np.ndarray
    decoder: tuple[np.ndarray, np.ndarray]


class Configuration(NamedTuple):
    """A head and its real documents.

    Attributes:
        hidden_dim: D.
        k: Active features per text.
        real: Documents that are encoded.
        steps: Training steps.
        collection: Name of the collection; empty for the general texts.
    """

    hidden_dim: int
    k: int
    real: int
    steps: int
    collection: str = ""

    @property
    def group(self) -> str:
        """The name of its contenders' group."""
        return f"D={self.hidden_dim} k={self.k}"


def held_out(embeddings: np.ndarray, real: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows, float32, of ``real`` documents drawn at random, in the order of their codes, and of 500 queries."""
    queries, documents = _drawn(len(embeddings), real)
    return unit_rows(np.asarray(embeddings[documents])), unit_rows(np.asarray(embeddings[queries]))


def _drawn(count: int, real: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries and of the documents; fewer documents are always a part of more."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[:QUERIES]), np.sort(order[QUERIES : QUERIES + real])


def sample(embeddings: np.ndarray, configuration: Configuration, work: Path) -> Sample:
    """Codes of the real documents and of 500 further texts as queries; kept in ``work``, so that it is done once.

    Args:
        embeddings: float (n, d).
        configuration: Which.
        work: Folder.
    """
    hidden_dim, k, real, steps, collection = configuration
    name = "-".join(filter(None, [collection, f"{hidden_dim}-{k}-{steps}-{real}"]))
    dense = unit_rows(embeddings[_drawn(len(embeddings), real)[0]])
    paths = [work / f"{name}.{part}" for part in ("documents.codes", "queries.codes", "decoder.safetensors")]
    if not all(path.is_file() for path in paths):
        work.mkdir(parents=True, exist_ok=True)
        LOG.info("training D=%d k=%d", hidden_dim, k)
        training = np.asarray(embeddings[_drawn(len(embeddings), TRAINING)[1]])
        settings = DistillSettings(hidden_dim=hidden_dim, k=k, selection="topk", steps=steps)
        head = train_head(training, settings, show_progress_bar=False)
        rows, _ = held_out(embeddings, real)
        LOG.info("encoding %d documents", len(rows))
        encode_embeddings(head, rows, refine=True).save(paths[0])
        encode_embeddings(head, dense, refine=False).save(paths[1])
        arrays = {"weight": head.decoder_weight.detach().numpy(), "offset": head.decoder_bias.detach().numpy()}
        with atomic_file(paths[2]) as file:
            file.write(save(arrays))
    arrays = load_file(paths[2])
    return Sample(BinaryCodes.load(paths[0]), BinaryCodes.load(paths[1]), dense, (arrays["weight"], arrays["offset"]))


def grow_codes(codes: BinaryCodes, count: int, seed: int = 0) -> BinaryCodes:
    """``count`` codes: the given ones, then copies of random ones in which 15 % of the active features come from another document."""
    if count <= len(codes):
        return codes[:count]
    rng = np.random.default_rng(seed)
    width = int(codes.counts.min())
    table = codes.ids.reshape(len(codes), width) if (codes.counts == width).all() else None
    assert table is not None, "a top-k head gives every document the same number of active features"
    parts = [codes]
    for start in range(len(codes), count, 1 << 17):
        rows = rng.integers(0, len(codes), min(1 << 17, count - start))
        others = table[rng.integers(0, len(codes), len(rows))]
        mixed = np.sort(np.where(rng.random(others.shape) < REPLACED, others, table[rows]), axis=1)
        first = np.concatenate([np.ones((len(mixed), 1), bool), mixed[:, 1:] != mixed[:, :-1]], axis=1)
        indptr = np.concatenate([[0], np.cumsum(first.sum(axis=1))])
        parts.append(BinaryCodes(mixed[first], indptr, codes.hidden_dim))
    return BinaryCodes.concatenate(parts)
