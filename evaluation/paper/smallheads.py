"""Small heads that several cells share: trained once in a minute and kept beside the cached embeddings."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from safetensors.torch import load, save

from bsa_st import DistillSettings
from bsa_st.atomic import atomic_file
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.inputs.embeddings import default_cache_dir
from bsa_st.training import train_head
from evaluation.embeddings import EmbeddingStore, unit_rows
from evaluation.encoders import MINILM, load_encoder
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.bsa import BSA, Variant

TEXTS = 31_000
STEPS, QUICK_STEPS = 300, 5


@dataclass(frozen=True)
class HeadKind:
    """What tells small heads apart; all are of the topk form.

    Attributes:
        hidden_dim: D.
        k: Active features per text.
        seed: Seed of weights, split and order.
        encoder: Name as in :func:`evaluation.encoders.load_encoder`.
    """

    hidden_dim: int = 1024
    k: int = 64
    seed: int = 0
    encoder: str = MINILM

    def settings(self, quick: bool) -> DistillSettings:
        """How the head is trained."""
        steps, rounds = (QUICK_STEPS, 0) if quick else (STEPS, 1)
        recipe = DistillSettings(hidden_dim=self.hidden_dim, k=self.k, seed=self.seed, selection="topk")
        return replace(recipe, steps=steps, refit_rounds=rounds)


@cache
def small_head(inputs: Inputs, kind: HeadKind) -> BinarySparsityAlignment:
    """The trained head, from an earlier run where there was one."""
    settings, training = kind.settings(inputs.quick), training_rows(inputs, kind.encoder)
    recipe = json.dumps([settings.to_dict(), kind.encoder, len(training), zlib.crc32(training[-1].tobytes())])
    folder = (inputs.cache_dir or default_cache_dir()) / "heads"
    path = folder / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.safetensors"
    if path.is_file():
        head = BinarySparsityAlignment(training.shape[1], settings.hidden_dim, settings.k, settings.selection)
        head.load_state_dict(load(path.read_bytes()))
        return head.eval()
    head = train_head(training, settings, show_progress_bar=False)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(save({name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}))
    return head


@cache
def small_method(inputs: Inputs, kind: HeadKind, k: int | None = None, refine: bool = True) -> BSA:
    """The head as a method of the evaluation; documents are refined unless told otherwise, and k may be smaller than trained."""
    budget = None if k is None else (kind.hidden_dim, k)
    method = BSA(Variant(kind.settings(inputs.quick), {"refine": True} if refine else {}, budget=budget))
    method.whole_head = small_head(inputs, kind)
    method.fit(training_rows(inputs, kind.encoder))
    return method


@cache
def training_rows(inputs: Inputs, encoder: str = MINILM) -> np.ndarray:
    """Embeddings of the first general texts, float32 (n, d), unit norm; row numbers mean the same text for every encoder."""
    if encoder == MINILM:
        return unit_rows(inputs.training(TEXTS))
    return unit_rows(store(inputs, encoder).training(inputs.training_texts(TEXTS)))


@cache
def store(inputs: Inputs, encoder: str) -> EmbeddingStore:
    """Cached embeddings of any texts by an encoder."""
    if encoder == MINILM:
        return inputs.store
    return EmbeddingStore(load_encoder(encoder), inputs.cache_dir, show_progress_bar=False)
