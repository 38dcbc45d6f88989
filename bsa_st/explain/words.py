"""Which words of a text make a feature fire, found by leaving out each word in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bsa_st.encoding.encode import split_model

MAX_WORDS = 64
"""Words beyond the first so many are not tried: each costs a forward pass."""
MOST = 3
SHARE = 0.5
"""Words are named whose removal lowers the logit at least by this share of what the most important word's removal does."""

WORD = re.compile(r"\w[\w'-]*", re.UNICODE)


@torch.no_grad()
def responsible_words(
    model: SentenceTransformer, text: str, features: Sequence[int], prompt_name: str | None = None
) -> dict[int, tuple[str, ...]]:
    """For each feature the words of a text without which its logit falls most.

    Args:
        model: A model with a BSA head.
        text: The text; its first 64 words are tried.
        features: Numbers of features.
        prompt_name: Name of the model's prompt that the text is encoded with.

    Returns:
        Up to three words for each feature, most important first, as they stand in the text; none where no removal lowers the logit.

    Source: occlusion, M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2, on words.
    """
    if not features:
        return {}
    found = list(WORD.finditer(text))[:MAX_WORDS]
    variants = [f"{text[: match.start()]}{text[match.end() :]}" for match in found]
    kept = [place for place, variant in enumerate(variants) if WORD.search(variant)]
    if not kept:
        return {number: tuple(match.group() for match in found) for number in features}
    encoder, head = split_model(model)
    tried = [text, *(variants[place] for place in kept)]
    dense = encoder.encode(tried, prompt_name=prompt_name, show_progress_bar=False, convert_to_tensor=True)
    logits = head.logits(dense.to(head.weight.device))[:, list(features)].cpu().numpy()
    drops = logits[0] - logits[1:]
    return {number: _named([found[place].group() for place in kept], drops[:, at]) for at, number in enumerate(features)}


def _named(words: list[str], drops: np.ndarray) -> tuple[str, ...]:
    least = max(SHARE * float(drops.max()), 1e-9)
    order = np.argsort(-drops, kind="stable")
    chosen = dict.fromkeys(words[at] for at in order.tolist() if drops[at] >= least)
    return tuple(chosen)[:MOST]
