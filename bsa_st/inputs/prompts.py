"""Which of a model's prompts goes before a text when nobody names one: as ``encode_query`` and ``encode_document`` of sentence-transformers choose.

They take the first usual name that a model has, and every model has an empty ``document``; here a prompt that says something goes before
an empty one, so that a model with ``query`` and ``passage`` gets both."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def query_prompt(model: SentenceTransformer, name: str | None = None) -> str | None:
    """The name of the prompt for queries; raises :class:`BSAError` if the model has no prompt of the given name."""
    return _prompt(model, name, "query")


def document_prompt(model: SentenceTransformer, name: str | None = None) -> str | None:
    """The name of the prompt for documents; raises as :func:`query_prompt`."""
    return _prompt(model, name, "document", "passage", "corpus")


def under_prompt(encoder: SentenceTransformer, name: str | None) -> SentenceTransformer:
    """An encoder that puts a prompt before every text unless told otherwise; it shares the weights.

    It is the encoder itself where nothing would change, so that an empty prompt makes no second entry in the embedding cache.
    """
    wanted, usual = (encoder.prompts.get(one or "") or "" for one in (name, encoder.default_prompt_name))
    if name is None or wanted == usual:
        return encoder
    prompted = copy.copy(encoder)
    prompted.default_prompt_name = name
    return prompted


def _prompt(model: SentenceTransformer, name: str | None, *usual: str) -> str | None:
    if name is not None and name not in model.prompts:
        raise BSAError(f"the model has no prompt {name!r}; it has {', '.join(model.prompts) or 'none'}")
    there = [one for one in usual if one in model.prompts]
    return name or next((one for one in there if model.prompts[one]), there[0] if there else None)
