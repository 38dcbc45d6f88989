"""Choosing the number format in which the frozen encoder runs while its embeddings are cached."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from bsa_st.errors import BSAError

logger = logging.getLogger(__name__)

SAMPLE_TEXTS = 128
LEAST_MEAN_COSINE, LEAST_COSINE = 0.995, 0.98


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has matrix units for bfloat16 (AMX tiles on a CPU, Ampere or newer on CUDA)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def encoder_for_caching(
    encoder: SentenceTransformer, texts: list[str], precision: str = "auto"
) -> tuple[SentenceTransformer, str]:
    """The encoder to cache embeddings of texts with, and its number format: ``"float32"``, the encoder as it is, or ``"bfloat16"``, a copy.

    With ``"auto"``, the copy is taken where the device computes it fast and where, on up to 128 of the texts, its embeddings point where the
    original's do: mean cosine at least 0.995 and no single one below 0.98. Raises :class:`BSAError` if the precision is unknown.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise BSAError(f"precision must be auto, float32 or bfloat16, got {precision!r}")
    if precision == "float32" or (precision == "auto" and not has_fast_bfloat16(encoder.device)):
        return encoder, "float32"
    fast = copy.deepcopy(encoder).to(torch.bfloat16)
    if precision == "auto":
        sample = [texts[place] for place in np.linspace(0, len(texts) - 1, min(SAMPLE_TEXTS, len(texts))).astype(int)]
        options: dict[str, Any] = {"convert_to_tensor": True, "show_progress_bar": False}
        exact, rounded = (model.encode(sample, **options).float() for model in (encoder, fast))
        cosine = F.cosine_similarity(exact, rounded, dim=1)
        if not (cosine.mean() >= LEAST_MEAN_COSINE and cosine.min() >= LEAST_COSINE):
            logger.warning("caching in float32: bfloat16 reaches only a mean cosine of %.4f", cosine.mean())
            return encoder, "float32"
        logger.info("caching in bfloat16: mean cosine to float32 %.4f, lowest %.4f", cosine.mean(), cosine.min())
    return fast, "bfloat16"
