"""The README of a BSA model: front matter for the Hub, usage, and measured figures. Every number comes from :class:`CardFacts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from sentence_transformers import SentenceTransformer

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import is_compact
from bsa_st.head.unrolled import MAX_DIM

TEMPLATE = Path(__file__).with_name("card_template.md")
PLACEHOLDER = "org/model-bsa"
"""Stands for the model's name in a card that is not pushed yet."""

TAGS = ["sentence-transformers", "sparse", "binary", "bsa", "feature-extraction", "sentence-similarity"]
UNKNOWN = "unknown"
SHOWN_FIGURES = {
    "reconstruction_cosine": "mean cosine of dense embedding and decoded code",
    "never_fired": "features never fired on the training sample",
    "highest_rate": "share of texts on which the busiest feature fires",
}


@dataclass(frozen=True)
class TableRow:
    """One line of a table of scores; ``of_float`` is the share of float32's score."""

    method: str
    scoring: str
    bytes_per_text: float
    score: float
    of_float: float | None
    queries_per_second: float | None


@dataclass(frozen=True)
class Table:
    """Scores of one metric."""

    title: str
    metric: str
    rows: list[TableRow]


@dataclass(frozen=True)
class Active:
    """Active features per text."""

    mean: float
    p5: float
    p95: float


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        hidden_dim: Number D of features.
        k: Target number of active features.
        selection: ``"threshold"`` or ``"topk"``.
        base_model: Name of the dense encoder on the Hub, if known.
        license: Licence identifier of the Hub, if known.
        language: Language codes.
        datasets: Names of the training data.
        active: Active features of each kind of code, e.g. ``{"plain": ...}``.
        figures: Further figures of the codes by what they are called.
        training: Sentences on data and cost.
        limits: Further limits.
        tables: Scores beside those of float and sign vectors.
        results: The scores of the model itself, for the Hub's index.
        source: File that the scores come from.
        unrolled_steps: Steps of the unrolled encoder; 0: documents get linear codes.
    """

    hidden_dim: int
    k: int
    selection: str
    base_model: str | None = None
    license: str | None = None
    language: list[str] | None = None
    datasets: list[str] = field(default_factory=list)
    active: dict[str, Active] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    training: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    results: list[EvalResult] = field(default_factory=list)
    source: str = ""
    unrolled_steps: int = 0

    @property
    def code_bytes(self) -> int:
        """Bytes of a packed code."""
        return (self.hidden_dim + 7) // 8

    @property
    def compact(self) -> bool:
        """Whether about half of the features are active."""
        return is_compact(self.hidden_dim, self.k, self.selection)

    @property
    def divided(self) -> bool:
        """Whether exported codes are divided by their decoded length."""
        return self.hidden_dim <= MAX_DIM


def model_card(encoder: SentenceTransformer, head: BinarySparsityAlignment, name: str = PLACEHOLDER) -> str:
    """Markdown text of the card that a saved model gets, with the figures of its training.

    Args:
        encoder: The dense encoder.
        head: The trained head; figures come from its ``report``.
        name: Name of the model in the usage examples.

    Raises:
        BSAError: If the report is damaged.
    """
    data, report = encoder.model_card_data, head.report
    try:
        training = training_lines(
            report.get("settings", {}),
            report.get("texts"),
            report.get("seconds_training"),
            report.get("hardware"),
            report.get("texts_from"),
        )
        figures = figures_of(report.get("figures", {}))
    except (AttributeError, TypeError, ValueError) as error:
        raise BSAError(f"the report of the head's training is damaged ({error}); set head.report = {{}}") from error
    facts = CardFacts(
        hidden_dim=head.hidden_dim,
        k=head.k,
        selection=head.selection,
        base_model=data.base_model,
        license=data.license,
        language=[data.language] if isinstance(data.language, str) else data.language or None,
        training=training,
        unrolled_steps=0 if head.unrolled is None else len(head.unrolled.layers),
        **figures,
    )
    return render(facts, name)


def render(facts: CardFacts, name: str = PLACEHOLDER) -> str:
    """The card as Markdown, front matter included."""
    data = ModelCardData(
        model_name=name if facts.results else None,
        eval_results=facts.results or None,
        language=facts.language,
        license=facts.license or UNKNOWN,
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction",
        tags=TAGS,
        base_model=facts.base_model,
        datasets=facts.datasets or None,
        metrics=list(dict.fromkeys(result.metric_type for result in facts.results)) or None,
    )
    return str(ModelCard.from_template(data, template_path=str(TEMPLATE), facts=facts, name=name)).rstrip() + "\n"


def figures_of(figures: dict[str, Any]) -> dict[str, Any]:
    """``active`` and ``figures`` of :class:`CardFacts` from those of :func:`bsa_st.training.monitor.code_statistics`; missing ones are left out."""
    names = ("active_mean", "active_p5", "active_p95")
    active = {"plain": Active(*(figures[name] for name in names))} if all(name in figures for name in names) else {}
    return {
        "active": active,
        "figures": {label: f"{figures[name]:g}" for name, label in SHOWN_FIGURES.items() if name in figures},
    }


def training_lines(
    settings: dict[str, Any], texts: int | None, seconds: float | None, hardware: str | None, source: str | None = None
) -> list[str]:
    """Sentences on data and cost, without what is not known."""
    lines = [f"{texts:,} training texts, embedded once by the frozen encoder."] if texts else []
    if source:
        lines.append(f"The texts: {source}.")
    if settings.get("steps"):
        size, rate = settings.get("batch_size"), settings.get("learning_rate")
        lines.append(f"{settings['steps']:,} steps of {size} texts, AdamW with learning rate {rate}.")
    if settings.get("refit_rounds"):
        lines.append(
            f"At most {settings['refit_rounds']} rounds of alternating least squares between refined codes and the decoder."
        )
    if seconds is not None:
        lines.append(f"{seconds:.0f} seconds, without the embedding, on {hardware or 'hardware that was not recorded'}.")
    return lines or ["Not recorded."]
