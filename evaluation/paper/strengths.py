"""Codes with their continuous values: what binarisation gives up."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from bsa_st import BinaryCodes
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives import Objective
from evaluation.embeddings import unit_rows
from evaluation.paper.methods.base import DecodedMethod, Encoded, sample_rows
from evaluation.paper.methods.sparse import SparseValues

RIDGE = 1.0
SAMPLE = 20_000
CHUNK = 1024


class Strengths(DecodedMethod):
    """A head's active features with half-precision strengths; the decoder is fitted to them by ridge least squares.

    ``symmetric`` is the cosine of two sparse vectors, ``asymmetric`` scores a float query against decoded documents.

    Args:
        head: A trained head.
        objective: The objective that trained it; ``None`` for BSA, whose strengths are the probabilities of active features.
    """

    family = "strengths"

    def __init__(self, head: BinarySparsityAlignment, objective: Objective | None) -> None:
        super().__init__("strengths", ("symmetric", "asymmetric"))
        self.head = head
        self.objective = objective

    def fit(self, training: np.ndarray) -> None:
        rows = sample_rows(training, SAMPLE)
        strengths = self.encode(rows).to_scipy()
        self.offset = rows.mean(axis=0)
        products = (strengths.T @ strengths).toarray() + RIDGE * np.eye(self.head.hidden_dim)
        self.decoder = np.linalg.solve(products, strengths.T @ (rows - self.offset)).astype(np.float32)

    @torch.no_grad()
    def encode(self, dense: np.ndarray) -> SparseValues:
        parts = []
        for x in torch.from_numpy(np.array(dense, dtype=np.float32)).split(CHUNK):
            if self.objective is None:
                logits = self.head.logits(x)
                values = torch.sigmoid(self.head.log_scale.exp() * logits) * self.head.select(logits)
            else:
                values = self.objective.values(self.head, x)
            parts.append(sparse.csr_matrix(values.numpy()))
        matrix = sparse.vstack(parts, format="csr")
        matrix.sort_indices()
        return SparseValues(BinaryCodes(matrix.indices, matrix.indptr, matrix.shape[1]), matrix.data.astype(np.float16))

    def decode(self, codes: SparseValues) -> np.ndarray:
        return unit_rows(codes.to_scipy() @ self.decoder + self.offset)

    def vectors(self, texts: Encoded, scoring: str, *, query: bool) -> np.ndarray:
        if scoring == "symmetric":
            return unit_rows(texts.codes.to_scipy().toarray())
        return super().vectors(texts, scoring, query=query)
