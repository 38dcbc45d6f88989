"""A head that ships put behind its encoder, which is known by what it outputs and not by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bsa_st.encoding.encode import put_behind
from bsa_st.errors import BSAError
from bsa_st.shipped.packed import read_fingerprint, read_head, read_names, shipped_heads
from bsa_st.training.distill import load_teacher

SENTENCE = "The quick brown fox jumps over the lazy dog, and 12 doctors measured the height of 7 children in Geneva."
"""What an encoder is known by: its embedding of this sentence, without a prompt."""

LEAST_COSINE = 0.99
"""Half precision and dynamic int8 stay above it; another encoder, also one trained further from the same weights, lies far below."""

CODE_BYTES = 64


def attach(
    encoder: SentenceTransformer | str | Path, *, code_bytes: int | None = None, sparse: bool = False
) -> SentenceTransformer:
    """Put a head that ships with the package behind an encoder.

    Heads were trained on dictionary definitions and examples, news and debates (``bsa_st/shipped/heads/*.md`` say on what, and what they find). Texts of a
    special kind are worth a head of their own: :func:`bsa_st.distill`.

    Args:
        encoder: A model, its name on the Hub or its folder. It is known by what it outputs: copies under other names are fine, also in half precision.
        code_bytes: Bytes of a code, of a compact head; default 64.
        sparse: The sparse head instead, few of 1,024 features active: the form that can be read. It comes with named features (words and pairs of words of
            those texts), which :func:`bsa_st.tags` and :func:`bsa_st.explain` read.

    Returns:
        The encoder's modules, ``Normalize`` unless they end in one, and the head, in evaluation mode: what :func:`bsa_st.distill` returns. Documents that
        plain sentence-transformers encodes after :func:`bsa_st.save` have codes that may differ in single bits between machines which attached the head; share the folder.

    Raises:
        BSAError: If the encoder cannot be loaded, no head ships for it, or none of this size.

    Example: ``model = bsa_st.attach("sentence-transformers/all-MiniLM-L6-v2", code_bytes=64)``
    """
    if sparse and code_bytes is not None:
        raise BSAError("give code_bytes or sparse, not both")
    model = load_teacher(encoder)
    name = recognise(model)
    heads = {facts.code_bytes: facts for facts in shipped_heads() if facts.encoder == name}
    wanted = None if sparse else CODE_BYTES if code_bytes is None else code_bytes
    if wanted not in heads:
        sizes = ", ".join(map(str, sorted(filter(None, heads)))) + " bytes" + " and a sparse one" * (None in heads)
        asked = "sparse head" if wanted is None else f"head of {wanted!r} bytes"
        raise BSAError(f"no {asked} ships for {name}, only of {sizes}; train one with bsa_st.distill")
    chosen, card = heads[wanted], model.model_card_data
    card.base_model = card.base_model or chosen.encoder
    card.license = card.license or chosen.license
    card.language = card.language or chosen.language
    head = read_head(chosen).to(model.device)
    if sparse:
        head.names = read_names(name)
    return put_behind(model, head)


def recognise(model: SentenceTransformer) -> str:
    """The name of the known encoder that a model is; raises :class:`BSAError` if no head ships for it."""
    row, known = fingerprint(model), {facts.encoder: facts for facts in shipped_heads()}
    cosines = {name: float(row @ read_fingerprint(facts)) for name, facts in known.items() if facts.input_dim == len(row)}
    best = max(cosines, key=lambda name: cosines[name], default=None)
    if best is not None and cosines[best] >= LEAST_COSINE:
        return best
    why = f"an encoder of width {len(row)}: heads ship for {', '.join(known)}"
    if best is not None:
        why = f"this encoder: it has the width of {best}, but its embedding of a test sentence has cosine {cosines[best]:.3f} with that encoder's"
    raise BSAError(f"no head ships for {why}; train one with bsa_st.distill(encoder, texts)")


def fingerprint(model: SentenceTransformer) -> np.ndarray:
    """A dense model's embedding of :data:`SENTENCE`, float32 (d,) of length 1."""
    with torch.inference_mode():
        row = model.encode([SENTENCE], prompt="", convert_to_tensor=True, show_progress_bar=False)[0].float().cpu().numpy()
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-12), dtype=np.float32)
