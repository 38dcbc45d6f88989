"""Dense embeddings of many texts: batches of texts that are equally long in tokens, and as many tokens in each; the number format of the encoder.

``SentenceTransformer.encode`` sorts texts by their characters and puts as many texts into every batch. Texts of equal characters differ in tokens, and a batch is
padded to its longest: of short definitions more than a quarter of what is computed is padding, here hardly any (``tests/test_embed.py``). A batch of few tokens also
stays in a processor's cache.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from bsa_st.errors import BSAError

logger = logging.getLogger(__name__)

CPU_TOKENS, DEVICE_TOKENS = 2048, 8192  # of a batch, on a CPU and elsewhere
SAMPLE_TEXTS = 128
LEAST_MEAN_COSINE, LEAST_COSINE = 0.995, 0.98


def embed(
    encoder: SentenceTransformer, texts: list[str], tokens: int | None = None, done: Callable[[int], object] = lambda _: None
) -> np.ndarray:
    """Dense embeddings of n texts, n > 0, in their order, as ``encoder.encode`` gives them but for rounding: float32 (n, d). A batch has so many ``tokens``
    at most, 2,048 on a CPU and 8,192 elsewhere; ``done`` is called after each with its number of texts."""
    rows = np.empty((0, 0), np.float32)
    limit = tokens or (CPU_TOKENS if encoder.device.type == "cpu" else DEVICE_TOKENS)
    for batch in batches(token_counts(encoder, texts), limit):
        part = [texts[place] for place in batch]
        with torch.inference_mode():
            found = encoder.encode(part, batch_size=len(part), convert_to_tensor=True, show_progress_bar=False)
        if not rows.size:
            rows = np.empty((len(texts), found.shape[1]), np.float32)
        rows[batch] = found.float().cpu().numpy()
        done(len(batch))
    return rows


def token_counts(encoder: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """Tokens of each text, cut to the encoder's maximum, int64 (n,); a quarter of the characters where the encoder has no tokenizer of the usual kind."""
    limit = encoder.max_seq_length or np.iinfo(np.int64).max
    try:
        counts = [len(ids) for ids in encoder.tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"]]
    except Exception:  # tokenizers of all kinds: words, static embeddings, images
        counts = [1 + len(text) // 4 for text in texts]
    return np.minimum(np.array(counts, dtype=np.int64), limit)


def batches(counts: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    """Places of texts in batches, the longest texts first: a batch's texts times its longest one's tokens are at most ``limit``, or it is a single text."""
    order = np.argsort(-counts, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, int(limit // max(1, counts[order[start]])))
        yield order[start : start + size]
        start += size


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
