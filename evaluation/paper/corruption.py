"""Ways to spoil an embedding or a text, each with a seed."""

from __future__ import annotations

import random
import string

import numpy as np

SHORTEST_WORD = 4


def with_noise(dense: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Embeddings with Gaussian noise in all directions, scaled back to unit norm.

    Args:
        dense: float32 (n, d), unit norm.
        level: Expected length of the noise, relative to that of the embedding.
        seed: Seed of the noise.
    """
    noise = np.random.default_rng(seed).normal(size=dense.shape) * (level / np.sqrt(dense.shape[1]))
    noisy = dense + noise
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


def with_typos(text: str, rate: float, seed: int) -> str:
    """Every word of four letters or more gets, with probability ``rate``, one slip: two letters swapped, one lost, doubled or wrong.

    The first letter of a word stays, as it mostly does in typing.
    """
    rng = random.Random(f"{seed} {text}")
    words = text.split(" ")
    return " ".join(_slip(word, rng) if len(word) >= SHORTEST_WORD and rng.random() < rate else word for word in words)


def truncated(text: str, share: float) -> str:
    """The first words of a text, ``share`` of them, at least one."""
    words = text.split()
    return " ".join(words[: max(1, round(share * len(words)))])


def _slip(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    kind = rng.choice(("swap", "lose", "double", "wrong"))
    if kind == "swap":
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "lose":
        return word[:place] + word[place + 1 :]
    letter = word[place] * 2 if kind == "double" else rng.choice(string.ascii_lowercase)
    return word[:place] + letter + word[place + 1 :]
