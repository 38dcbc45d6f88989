"""The heads whose features are compared: BSA in both modes and CSR, at equal width and k, each with two seeds.

A trained head is kept in the work folder and read from there by the next run.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from scipy import sparse
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

from bsa_st import DistillSettings, encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import Selection
from bsa_st.inputs.embeddings import texts_fingerprint
from bsa_st.training import train_head
from evaluation.interpretability.csr import CSR

FAMILIES = ("bsa-threshold", "bsa-topk", "csr")
SEEDS = (0, 1)


class TrainedHead(ABC):
    """One trained head.

    Attributes:
        family: One of :data:`FAMILIES`.
        decoder: Direction of each feature in the dense space, float32 (D, d).
    """

    def __init__(self, family: str) -> None:
        self.family = family

    @property
    @abstractmethod
    def decoder(self) -> np.ndarray: ...

    @abstractmethod
    def encode(self, dense: np.ndarray) -> sparse.csr_matrix:
        """Features of embeddings, float32 (n, D): 0 or 1 for BSA, strengths for CSR."""


class BSAHead(TrainedHead):
    """A :class:`~bsa_st.head.layer.BinarySparsityAlignment`."""

    def __init__(self, head: BinarySparsityAlignment) -> None:
        super().__init__(f"bsa-{head.selection}")
        self.head = head

    @property
    def decoder(self) -> np.ndarray:
        return self.head.decoder_weight.detach().numpy()

    def encode(self, dense: np.ndarray) -> sparse.csr_matrix:
        return encode_embeddings(self.head, dense, refine=False).to_scipy()


class CSRHead(TrainedHead):
    """A ``SparseAutoEncoder`` trained by :class:`evaluation.interpretability.csr.CSR`; its decoder is its encoder's weight."""

    def __init__(self, method: CSR) -> None:
        super().__init__("csr")
        self.method = method

    @property
    def decoder(self) -> np.ndarray:
        return self.method.coder.encoder.get_parameter("weight").detach().numpy()

    def encode(self, dense: np.ndarray) -> sparse.csr_matrix:
        return self.method.encode(dense)


def trained_head(family: str, settings: DistillSettings, texts: list[str], training: np.ndarray, work: Path) -> TrainedHead:
    """A head of a family, from the work folder or trained now.

    Args:
        family: One of :data:`FAMILIES`.
        settings: Sizes, steps and seed; the selection follows from the family.
        texts: The training texts, which with the settings name the file.
        training: Their embeddings, float (n, d).
        work: Folder of finished heads.
    """
    selection: Selection = "threshold" if family == "bsa-threshold" else "topk"
    settings = dataclasses.replace(settings, selection=selection)
    name = "-".join(
        map(str, (family, settings.hidden_dim, settings.k, settings.steps, settings.seed, texts_fingerprint(texts)[:12]))
    )
    path = work / f"{name}.safetensors"
    width = training.shape[1]
    if family == "csr":
        method = CSR(settings)
        if path.is_file():
            method.unit = 1 / math.sqrt(width)
            method.coder = SparseAutoEncoder(width, settings.hidden_dim, settings.k, k_aux=min(512, settings.hidden_dim))
            load_model(method.coder, path)
            method.coder.eval()
        else:
            method.fit(training)
            _save(method.coder, path)
        return CSRHead(method)
    if path.is_file():
        head = BinarySparsityAlignment(width, settings.hidden_dim, settings.k, settings.selection)
        load_model(head, path)
        return BSAHead(head.eval())
    head = train_head(training, settings, show_progress_bar=False)
    _save(head, path)
    return BSAHead(head)


def _save(module: torch.nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    save_model(module, str(aside))  # knows that the decoder of CSR is its encoder
    aside.replace(path)
