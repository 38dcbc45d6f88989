"""The README of a BSA model: front matter for the Hub, usage, and the figures of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import MAX_DIM

TEMPLATE = Path(__file__).with_name("card_template.md")
PLACEHOLDER = "org/model-bsa"
"""Stands for the model's name in a card that is not pushed yet."""

TAGS = ["sentence-transformers", "sparse", "binary", "bsa", "feature-extraction", "sentence-similarity"]
UNKNOWN = "unknown"
SHOWN_FIGURES = {
    "active_mean": ("active features, plain: mean", ".1f"),
    "active_p5": ("active features, plain: 5th percentile", ".0f"),
    "active_p95": ("active features, plain: 95th percentile", ".0f"),
    "reconstruction_cosine": ("mean cosine of dense embedding and decoded code", "g"),
    "never_fired": ("features never fired on the training sample", "g"),
    "highest_rate": ("share of texts on which the busiest feature fires", "g"),
}
"""What the card calls the figures of :func:`bsa_st.training.monitor.code_statistics`, and their formats."""


def model_card(encoder: SentenceTransformer, head: BinarySparsityAlignment) -> str:
    """Markdown text of the card that a saved model gets, front matter included.

    Args:
        encoder: The dense encoder.
        head: The trained head; figures come from its ``report``.

    Raises:
        BSAError: If the report is damaged.
    """
    data, report = encoder.model_card_data, head.report
    try:
        figures = report.get("figures", {})
        shown = {label: format(figures[name], kind) for name, (label, kind) in SHOWN_FIGURES.items() if name in figures}
        training = training_lines(report)
    except (AttributeError, TypeError, ValueError) as error:
        raise BSAError(f"the report of the head's training is damaged ({error}); set head.report = {{}}") from error
    front = ModelCardData(
        language=[data.language] if isinstance(data.language, str) else data.language or None,
        license=data.license or UNKNOWN,
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
        "figures": shown,
        "training": training,
    }
    return str(ModelCard.from_template(front, template_path=str(TEMPLATE), **facts)).rstrip() + "\n"


def training_lines(report: dict[str, Any]) -> list[str]:
    """Sentences on data and cost from the report of a training, without what is not known."""
    settings = report.get("settings", {})
    lines = []
    if texts := report.get("texts"):
        lines.append(f"{texts:,} training texts, embedded once by the frozen encoder.")
    if source := report.get("texts_from"):
        lines.append(f"The texts: {source}.")
    if settings.get("steps"):
        size, rate = settings.get("batch_size"), settings.get("learning_rate")
        lines.append(f"{settings['steps']:,} steps of {size} texts, AdamW with learning rate {rate}.")
    if rounds := settings.get("refit_rounds"):
        lines.append(f"At most {rounds} rounds of alternating least squares between refined codes and the decoder.")
    if (seconds := report.get("seconds_training")) is not None:
        hardware = report.get("hardware") or "hardware that was not recorded"
        lines.append(f"{seconds:.0f} seconds, without the embedding, on {hardware}.")
    return lines or ["Not recorded."]
