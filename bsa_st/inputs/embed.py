"""Dense embeddings of many texts: batches of texts that are equally long in tokens, and as many tokens in each.

``SentenceTransformer.encode`` sorts texts by their characters and puts as many texts into every batch. Texts of equal characters differ in tokens, and a batch is
padded to its longest: of short definitions more than a quarter of what is computed is padding, here hardly any (``tests/test_embed.py``). A batch of few tokens also
stays in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

CPU_TOKENS, DEVICE_TOKENS = 2048, 8192
"""Tokens of a batch, on a CPU and elsewhere."""


def embed(
    encoder: SentenceTransformer, texts: list[str], tokens: int | None = None, done: Callable[[int], object] | None = None
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
        if done is not None:
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
