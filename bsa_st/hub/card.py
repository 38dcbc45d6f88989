"""The README of a BSA model: front matter for the Hub, usage, and the figures of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from jinja2 import TemplateError
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import MAX_DIM

TEMPLATE = Path(__file__).with_name("card_template.md")
PLACEHOLDER = "org/model-bsa"  # stands for the model's name in a card that is not pushed yet
TAGS = ["sentence-transformers", "sparse", "binary", "bsa", "feature-extraction", "sentence-similarity"]


def model_card(encoder: SentenceTransformer, head: BinarySparsityAlignment) -> str:
    """Markdown text of the card that a saved model gets, front matter and figures of the head's ``report`` included."""
    data = encoder.model_card_data
    front = ModelCardData(
        language=[data.language] if isinstance(data.language, str) else data.language or None,
        license=data.license or "unknown",
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction",
        tags=TAGS,
        base_model=data.base_model,
    )
    facts: dict[str, Any] = {
        "name": PLACEHOLDER,
        "head": head,
        "base_model": data.base_model,
        "code_bytes": -(-head.hidden_dim // 8),
        "divided": head.hidden_dim <= MAX_DIM,
        "unrolled_steps": 0 if head.unrolled is None else len(head.unrolled.layers),
        "report": head.report,
    }
    try:
        return str(ModelCard.from_template(front, template_path=str(TEMPLATE), **facts)).rstrip() + "\n"
    except (AttributeError, TypeError, ValueError, TemplateError) as error:
        raise BSAError(f"the report of the head's training is damaged ({error}); set head.report = {{}}") from error
