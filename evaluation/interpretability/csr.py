"""Sparse codes that are no BSA: the CSR recipe of sentence-transformers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy import sparse
from sentence_transformers.sparse_encoder import SparseEncoder
from sentence_transformers.sparse_encoder.losses import CSRLoss, SparseMultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from bsa_st.head.settings import DistillSettings
from bsa_st.inputs.precision import has_fast_bfloat16
from bsa_st.training.trainer import CachedRows


class ScaledRows(CachedRows):
    """Cached rows whose entries, not their lengths, are near 1: divided by ``unit``."""

    def __init__(self, embeddings: np.ndarray, unit: float, noise: float) -> None:
        super().__init__(embeddings, noise)
        self.unit = unit

    def preprocess(self, inputs: Sequence[int], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {name: rows / self.unit for name, rows in super().preprocess(inputs, prompt).items()}


class CSR:
    """Contrastive Sparse Representation: sentence-transformers' ``SparseAutoEncoder`` trained with its ``CSRLoss``.

    Training is like BSA's: the same embeddings, steps, batch size, learning rate and input noise. Without labelled pairs the two
    views of the contrastive part are two noisy copies of a text. Inputs are scaled to unit variance, without which the mean squared
    error of unit-norm embeddings vanishes beside the contrastive loss.

    Source: Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (2025).
    """

    def __init__(self, settings: DistillSettings) -> None:
        self.recipe = settings

    def fit(self, training: np.ndarray) -> None:
        """Learn from training embeddings, float (n, d)."""
        recipe, width = self.recipe, training.shape[1]
        set_seed(recipe.seed)
        self.unit = 1 / math.sqrt(width)
        self.width = width
        self.coder = self._new_coder()
        modules: list[torch.nn.Module] = [ScaledRows(training, self.unit, recipe.noise), self.coder]
        model = SparseEncoder(modules=modules, device="cpu", similarity_fn_name="dot")
        rows = np.arange(len(training))
        with tempfile.TemporaryDirectory() as scratch:
            trainer = SparseEncoderTrainer(
                model=model,
                args=SparseEncoderTrainingArguments(
                    output_dir=scratch,
                    max_steps=recipe.steps,
                    per_device_train_batch_size=recipe.batch_size,
                    learning_rate=recipe.learning_rate,
                    warmup_steps=max(1, round(recipe.steps * 0.05)),
                    use_cpu=True,
                    bf16=has_fast_bfloat16(torch.device("cpu")),
                    save_strategy="no",
                    report_to="none",
                    seed=recipe.seed,
                    disable_tqdm=True,
                ),
                train_dataset=Dataset.from_dict({"anchor": rows, "positive": rows}),
                loss=CSRLoss(model, SparseMultipleNegativesRankingLoss(model, scale=20.0), gamma=0.1),
            )
            trainer.remove_callback(trainer.model_card_callback_class)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.coder.eval()

    def _new_coder(self) -> SparseAutoEncoder:
        size, k = self.recipe.hidden_dim, self.recipe.k
        return SparseAutoEncoder(self.width, size, k, k_aux=min(512, size))

    @torch.inference_mode()
    def encode(self, dense: np.ndarray) -> sparse.csr_matrix:
        """Strengths of the features of embeddings, float32 (n, d): float32 (n, D)."""
        parts = []
        for start in range(0, len(dense), 2048):
            x = torch.from_numpy(dense[start : start + 2048] / np.float32(self.unit))
            active, _ = self.coder.top_k(self.coder.encode_pre_act(x), compute_aux=False)
            parts.append(sparse.csr_matrix(active.numpy()))
        return sparse.vstack(parts, format="csr")
