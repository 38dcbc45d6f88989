"""From texts or dense embeddings to :class:`~bsa_st.codes.BinaryCodes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn
from tqdm.auto import tqdm

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.nested import truncate_head
from bsa_st.head.refine import RELAXED_STEPS, Problem, weigh_mean
from bsa_st.head.refine import refine as refine_batch
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.texts import Texts, read_texts
from bsa_st.inputs.unit_rows import batches

CHUNK_TEXTS = 4096
WIDE = 5  # features per dimension above which relaxed steps cost more than they find
BLOCK_CELLS = 1 << 18  # cells of a state that is refined at a time on a CPU: 1 MB, which stays in its cache
CARD_KEYS = ("base_model", "license", "language")  # what a model's card says about its encoder


def split_model(model: SentenceTransformer) -> tuple[SentenceTransformer, BinarySparsityAlignment]:
    """The dense encoder and the head of a BSA model, sharing its weights; raises what :func:`head_of` raises."""
    head = head_of(model)
    return rebuild(model, list(model)[:-1]), head


def rebuild(model: SentenceTransformer, modules: list[nn.Module]) -> SentenceTransformer:
    """A model of other modules with the device, prompts and card data of this one, scored by cosine, in evaluation mode."""
    rebuilt = SentenceTransformer(
        modules=modules,
        device=str(model.device),
        prompts={name: prompt for name, prompt in model.prompts.items() if prompt is not None},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name="cosine",
    )
    for name in CARD_KEYS:
        setattr(rebuilt.model_card_data, name, getattr(model.model_card_data, name))
    return rebuilt.eval()


def put_behind(encoder: SentenceTransformer, head: BinarySparsityAlignment) -> SentenceTransformer:
    """The encoder followed by a head; an encoder that does not end in ``Normalize`` gets one, since a head codes directions."""
    between = [] if isinstance(encoder[-1], Normalize) else [Normalize()]
    return rebuild(encoder, [*encoder, *between, head])


def encode(
    model: SentenceTransformer,
    texts: Texts,
    *,
    batch_size: int = 32,
    prompt_name: str | None = None,
    refine: bool = True,
    relaxed_steps: int | None = None,
    equal_lengths: bool = False,
    hidden_dim: int | None = None,
    max_active_dims: int | None = None,
    show_progress_bar: bool = False,
) -> BinaryCodes:
    """Codes of texts. Memory stays bounded: at most 4,096 texts are dense at a time.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`.
        texts: n texts, as in :func:`bsa_st.inputs.texts.stream_texts`: a ``str`` is one text, a ``Path`` a file.
        batch_size: Texts per forward pass.
        prompt_name: Name of one of the model's prompts; default the one for documents, if it has one.
        refine: Bring the codes closer to the dense embeddings (:mod:`bsa_st.head.refine`), as texts that are stored want it; for overlap scores
            leave at least the queries plain.
        relaxed_steps, equal_lengths: As in :func:`encode_embeddings`.
        hidden_dim: Use only so many features; one of the widths the head was trained for.
        max_active_dims: Another k than the head's. Decode and search such codes with the model that :func:`bsa_st.truncate` gives for the
            same budget.
        show_progress_bar: Show a bar over the texts.

    Returns:
        n codes, in the order of the texts.

    Raises:
        BSAError: If the model has no BSA head or was not trained for the budget, or there is no text, or a text is empty.

    Example: ``codes = bsa_st.encode(model, texts)``
    """
    refinement: dict[str, Any] = {"refine": refine, "relaxed_steps": relaxed_steps, "equal_lengths": equal_lengths}
    recipe = Recipe(model, batch_size, prompt_name, hidden_dim=hidden_dim, max_active_dims=max_active_dims, **refinement)
    texts = read_texts(texts)
    with tqdm(total=len(texts), desc="Encoding", unit="text", disable=not show_progress_bar) as bar:
        return recipe.encode(texts, bar.update)


class Recipe:
    """A model and everything else that decides the codes of a text. It encodes in chunks of 4,096 texts, so that codes do not depend on how texts are cut
    into shards; arguments as of :func:`encode`, ``others`` too."""

    def __init__(self, model: SentenceTransformer, batch_size: int = 32, prompt_name: str | None = None, **others: Any) -> None:
        if batch_size < 1:
            raise BSAError(f"batch_size must be at least 1, got {batch_size}")
        self.encoder, head = split_model(model)
        budget = {name: others.pop(name, None) for name in ("hidden_dim", "max_active_dims")}
        self.head = truncate_head(head, *budget.values())
        self.options: dict[str, Any] = {"batch_size": batch_size, "prompt_name": document_prompt(self.encoder, prompt_name)}
        self.refinement: dict[str, Any] = {"refine": True, **others}
        self.settings = {**self.options, **budget, **self.refinement}

    def dense(self, texts: list[str], **pool: Any) -> np.ndarray:
        """Dense embeddings, float32 (n, d)."""
        return np.asarray(self.encoder.encode(texts, show_progress_bar=False, **self.options, **pool))

    def codes(self, dense: np.ndarray) -> BinaryCodes:
        """Codes of dense embeddings."""
        parts = (dense[start : start + CHUNK_TEXTS] for start in range(0, len(dense), CHUNK_TEXTS))
        return BinaryCodes.concatenate(encode_embeddings(self.head, part, **self.refinement) for part in parts)

    def encode(self, texts: list[str], done: Callable[[int], object] = lambda _: None) -> BinaryCodes:
        """Codes of texts; ``done`` is told the texts of each chunk."""
        parts = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            parts.append(self.codes(self.dense(texts[start : start + CHUNK_TEXTS])))
            done(len(parts[-1]))
        return BinaryCodes.concatenate(parts)


@torch.no_grad()
def encode_embeddings(
    head: BinarySparsityAlignment | SentenceTransformer,
    embeddings: np.ndarray,
    *,
    refine: bool = True,
    relaxed_steps: int | None = None,
    equal_lengths: bool = False,
) -> BinaryCodes:
    """Codes of dense embeddings.

    Args:
        head: The trained layer, or the model that it is part of.
        embeddings: float (n, d) with n > 0; only their directions count.
        refine: As in :func:`encode`.
        relaxed_steps: Gradient steps of the refinement before its greedy moves; more find better codes, in proportional time. Default: 48, and none for
            wide heads, whose few active features moves alone find as well.
        equal_lengths: Refine towards decoded texts of one length, so that ``w . h`` alone ranks nearly as well as when it is divided by ``|x_hat|``.

    Raises:
        BSAError: If the embeddings have another width, hold NaN or infinite values or rows without a direction, or a setting is out of range.

    Example: ``codes = bsa_st.encode_embeddings(model[-1], encoder.encode(texts))``
    """
    if isinstance(head, SentenceTransformer):
        head = head_of(head)
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[1] != head.input_dim or len(embeddings) == 0:
        raise BSAError(f"embeddings must have shape (n, {head.input_dim}) with n > 0, got {embeddings.shape}")
    if embeddings.dtype.kind not in "fiu":
        raise BSAError(f"embeddings must be numbers, got {embeddings.dtype}")
    if relaxed_steps is not None and (type(relaxed_steps) is not int or relaxed_steps < 0):
        raise BSAError(f"relaxed_steps must be a whole number, at least 0, got {relaxed_steps!r}")
    parts = []
    for x in batches(embeddings, head.hidden_dim, head.weight.device):
        if not torch.isfinite(x).all():
            raise BSAError("the embeddings hold NaN or infinite values")
        codes = refined_codes(head, x, relaxed_steps, equal_lengths) if refine else head.select(head.logits(x)).bool()
        parts.append(BinaryCodes.from_dense(codes))
    return BinaryCodes.concatenate(parts)


@torch.no_grad()
def refined_codes(
    head: BinarySparsityAlignment, x: torch.Tensor, relaxed_steps: int | None = None, equal_lengths: bool = False
) -> torch.Tensor:
    """Refined codes of unit embeddings, float32 (n, d), as bool (n, D). Compact codes may have any number of active features, sparse ones at most k,
    in ``topk`` mode exactly k."""
    compact = head.compact
    if relaxed_steps is None:
        relaxed_steps = RELAXED_STEPS if head.hidden_dim <= WIDE * head.input_dim else 0
    problem = Problem(
        weigh_mean(head.decoder_weight, head.mean),
        weigh_mean(head.decoder_bias, head.mean),
        head.gram(),
        fewest=head.k if head.selection == "topk" else 0,
        most=head.hidden_dim if compact else head.k,
        expected=head.hidden_dim // 2 if compact else head.k,
        length=float(head.decoded_share) if equal_lengths else None,
    )
    rows = max(1, (BLOCK_CELLS if x.device.type == "cpu" else 64 * BLOCK_CELLS) // head.hidden_dim)
    parts = []
    for part in x.split(rows):
        plain = part if relaxed_steps else head.select(head.logits(part)).bool()
        parts.append(refine_batch(problem, weigh_mean(part, head.mean), plain, relaxed_steps))
    return torch.cat(parts)
