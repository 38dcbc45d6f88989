"""Training of the heads that ship, and their files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from bsa_st.concepts.dictionary import NamedDictionary, fit_thresholds, unit
from bsa_st.concepts.names import name_features
from bsa_st.encoding.encode import put_behind
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import DistillSettings
from bsa_st.head.unrolled import StepSchedule
from bsa_st.inputs.embeddings import cached_embeddings
from bsa_st.inputs.prompts import document_prompt, under_prompt
from bsa_st.shipped.attach import fingerprint
from bsa_st.shipped.packed import COMPUTED, FACTS, FINGERPRINT, FOLDER, HALVED, SYMMETRIC, HeadFacts, names_file
from bsa_st.shipped.packed import NAMES as NAMES_KEY
from bsa_st.training.trainer import train_head
from evaluation.data.encoders import MINILM, MPNET, WORDLLAMA, load_encoder
from evaluation.heads.texts import SOURCES

HELD_OUT = 0.05
"""Share of the texts."""
NAMES = 2_048
"""Named features that ship for an encoder with a sparse head."""
LARGEST = 1_000_000
"""Bytes of tensors; where the layer of codes to compare does not fit in, the head goes without."""

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


def train_heads(name: str, texts: list[str], sizes: tuple[int | None, ...] = ()) -> Iterator[Path]:
    """Train and write the heads of an encoder, all its sizes or these; yields the path of each one's weights."""
    known, encoder = ENCODERS[name], load_encoder(name)
    rows, mark = _embedded(encoder, texts[: known.texts]), fingerprint(encoder)
    for size in sizes or known.sizes:
        settings = DistillSettings(held_out=HELD_OUT) if size is None else DistillSettings.of_bytes(size, held_out=HELD_OUT)
        head = train_head(rows, settings, show_progress_bar=False)
        logger.info("%s", head.report["figures"])
        yield write_head(head, facts_of(head, known, size), mark)


def train_names(name: str, texts: list[str]) -> Path:
    """Make and write the named features of an encoder: words and pairs of words of its texts; returns the path of their file."""
    known, encoder = ENCODERS[name], load_encoder(name)
    corpus = texts[: known.texts]
    rows = _embedded(encoder, corpus)
    head = BinarySparsityAlignment(rows.shape[1], 2 * rows.shape[1], rows.shape[1] // 8)
    dictionary = name_features(put_behind(encoder, head), corpus, hidden_dim=NAMES, embeddings=rows, show_progress_bar=True)
    return write_names(dictionary, rows, known.name)


def _embedded(encoder: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """Float32 (n, d), with the encoder's prompt for documents."""
    return np.array(cached_embeddings(under_prompt(encoder, document_prompt(encoder)), texts), dtype=np.float32)


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


def write_head(head: BinarySparsityAlignment, facts: HeadFacts, fingerprint: np.ndarray, folder: Path = FOLDER) -> Path:
    """Write a head whose linear encoder was computed by the refit; returns the path of its weights.

    Args:
        head: The layer; what is computed from the rest is left out.
        facts: What it is.
        fingerprint: The encoder's embedding of the test sentence, float (d,).
        folder: Where to write.
    """
    tensors = {name: tensor.detach().clone() for name, tensor in head.state_dict().items() if name != COMPUTED}
    tensors[HALVED] = tensors[HALVED].half()
    tensors[FINGERPRINT] = torch.from_numpy(fingerprint)
    layer = tensors.pop(SYMMETRIC, None)
    if layer is not None and layer.numel() + sum(tensor.nbytes for tensor in tensors.values()) < LARGEST:
        tensors[SYMMETRIC] = (127 * layer / layer.abs().amax(dim=1, keepdim=True)).round().to(torch.int8)
    path = folder / f"{facts.name}.safetensors"
    save_file(tensors, path, {FACTS: json.dumps(asdict(facts))})
    return path


def write_names(dictionary: NamedDictionary, texts: np.ndarray, encoder: str, folder: Path = FOLDER) -> Path:
    """Write a dictionary; returns the path of its file.

    Args:
        dictionary: D named features.
        texts: Embeddings that thresholds are fitted to once more, for the rounded atoms: float (n, d).
        encoder: The encoder's name on the Hub.
        folder: Where to write.
    """
    atoms = np.round(127 * dictionary.atoms / np.abs(dictionary.atoms).max(axis=1, keepdims=True)).astype(np.int8)
    thresholds, rates = fit_thresholds(unit(texts), dictionary.mean, unit(atoms), dictionary.k)
    arrays = {"atoms": atoms, "mean": dictionary.mean, "thresholds": thresholds, "rates": rates}
    content = {"names": dictionary.names, "aliases": dictionary.aliases, "k": dictionary.k}
    save_arrays(arrays, names_file(encoder, folder), {NAMES_KEY: json.dumps(content)})
    return names_file(encoder, folder)
