"""Training from cached embeddings: an input module that takes row numbers where an encoder takes texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule

from bsa_st.inputs.row_shards import Embeddings
from bsa_st.inputs.unit_rows import unit_rows


class Student(SentenceTransformer):
    """Cached rows and a head while they are trained. Its checkpoints carry no model card, which would need texts to run on."""

    def save_pretrained(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().save_pretrained(path, *args, **{**kwargs, "create_model_card": False})


class CachedRows(InputModule):
    """Stands in for the frozen encoder while the head is trained: row numbers in, cached dense embeddings out, read when they are needed.

    Args:
        embeddings: float (n, d), usually a memory map; ``None`` after loading a checkpoint, which holds no data.
        unit: Rows are brought to length 1 and then divided by this.
        noise: Length of the Gaussian noise added to each row in training, relative to the row's length; the row keeps its length. It stands
            for texts that are not there, and keeps a wide head from learning a small collection by heart.
    """

    save_in_root = False

    def __init__(self, embeddings: Embeddings | None = None, unit: float = 1.0, noise: float = 0.0) -> None:
        super().__init__()
        self.embeddings, self.unit, self.noise = embeddings, unit, noise

    def preprocess(self, inputs: Sequence[int], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        assert self.embeddings is not None, "a checkpoint holds no embeddings to read rows from"
        rows = torch.from_numpy(np.asarray(self.embeddings[np.asarray(inputs)], dtype=np.float32))
        return {"sentence_embedding": unit_rows(rows) / self.unit}

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        if self.training and self.noise > 0:
            rows = features["sentence_embedding"]
            length = rows.norm(dim=1, keepdim=True)
            noisy = rows + torch.randn_like(rows) * (self.noise * length / math.sqrt(rows.shape[1]))
            features["sentence_embedding"] = noisy * (length / noisy.norm(dim=1, keepdim=True))
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        self.save_config(output_path)
