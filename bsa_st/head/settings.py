"""Settings of a head and of its training, checked when they are built. No torch, so that ``--help`` is quick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from bsa_st.errors import BSAError

Selection = Literal["threshold", "topk"]
Budgets = Sequence[tuple[int, int]]

MAX_DIM = 1 << 22  # largest width accepted, so that a damaged or hostile config cannot ask for absurd memory


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class DistillSettings:
    """Everything that decides the trained weights; a value out of range raises :class:`BSAError`.

    Example: ``settings = bsa_st.DistillSettings.of_bytes(64, seed=1)``
    """

    hidden_dim: int = _setting(1024, "Number of features D, the bits of a code.")
    k: int = _setting(107, "Target number of active features per text.")
    selection: Selection = _setting("threshold", "threshold: a variable number of active features; topk: exactly k.")
    nested: Budgets = _setting((), "Smaller budgets of a sparse head trained along, HIDDEN_DIM:K, on prefixes of the features.")
    alignment_weight: float = _setting(1.0, "Weight of the soft top-k cosine loss beside the reconstruction.")
    steps: int = _setting(0, "Steps of the two losses before the refit; the published training takes 2,000, and no refit.")
    batch_size: int = _setting(512, "Texts per training step and device.")
    learning_rate: float = _setting(1e-3, "Peak learning rate of AdamW; it rises over 5 % of the steps, then falls to 0.")
    noise: float = _setting(0.3, "Length of the Gaussian noise added to a training embedding, relative to its own length.")
    refit_rounds: int = _setting(12, "Rounds of least squares after the losses; 0 for none, which is the published training.")
    unroll_trials: int = _setting(200, "Schedules tried for flag-free documents, steps for flag-free pairs; 0: linear layers.")
    held_out: float = _setting(0.02, "Share of the texts kept for evaluation, at most 5,000 texts.")
    eval_steps: int = _setting(500, "Steps between two evaluations, and between two checkpoints.")
    seed: int = _setting(0, "Random seed of the weights, the split and the order of the texts.")

    def __post_init__(self) -> None:
        check_sizes(1, self.hidden_dim, self.k, self.selection)
        object.__setattr__(self, "nested", check_nested(self.nested, self.hidden_dim))
        if self.nested and is_compact(self.hidden_dim, self.k, self.selection):
            raise BSAError(
                f"nested budgets need a sparse head, k below half of hidden_dim = {self.hidden_dim}; got k = {self.k}"
            )
        leasts = {"steps": 0, "refit_rounds": 0, "unroll_trials": 0, "batch_size": 1, "eval_steps": 1, "seed": 0}
        for name, least in leasts.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise BSAError(f"{name} must be a whole number, at least {least}, got {value!r}")
        if not 0 < self.held_out < 1:
            raise BSAError(f"held_out must lie between 0 and 1, got {self.held_out}")
        if not 0 < self.learning_rate <= 1:
            raise BSAError(f"learning_rate must be positive and at most 1, got {self.learning_rate}")
        for name in ("alignment_weight", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BSAError(f"{name} must be a number, at least 0, got {getattr(self, name)}")

    @classmethod
    def of_bytes(cls, code_bytes: int, **others: Any) -> DistillSettings:
        """Settings of a compact head whose codes take so many bytes: a feature per bit, half of them active.

        Raises:
            BSAError: If ``code_bytes`` is not between 1 and 8,192, or ``hidden_dim``, ``k`` or ``selection`` are given too.
        """
        if type(code_bytes) is not int or not 1 <= code_bytes <= 8192:
            raise BSAError(f"code_bytes must be a whole number from 1 to 8192, got {code_bytes!r}")
        if given := sorted(others.keys() & {"hidden_dim", "k", "selection"}):
            raise BSAError(f"code_bytes decides hidden_dim, k and selection; leave out {', '.join(given)}")
        return cls(hidden_dim=8 * code_bytes, k=4 * code_bytes, selection="threshold", **others)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON holds them."""
        return {**asdict(self), "nested": [list(budget) for budget in self.nested]}


def is_compact(hidden_dim: int, k: int, selection: str) -> bool:
    """Whether a head of these sizes is compact: its codes are read as bits, not as a few active features."""
    return selection == "threshold" and 2 * k >= hidden_dim


def check_sizes(input_dim: int, hidden_dim: int, k: int, selection: str) -> None:
    """Raise a :class:`BSAError` that names the first size out of range."""
    for name, size in (("hidden_dim", hidden_dim), ("k", k)):
        if type(size) is not int:
            raise BSAError(f"{name} must be a whole number, got {size!r}")
    for name, size in (("input_dim", input_dim), ("hidden_dim", hidden_dim)):
        if not 1 <= size <= MAX_DIM:
            raise BSAError(f"{name} must lie between 1 and {MAX_DIM}, got {size}")
    if not 1 <= k <= hidden_dim:
        raise BSAError(f"k must lie between 1 and hidden_dim = {hidden_dim}, got {k}")
    if selection not in get_args(Selection):
        raise BSAError(f"selection must be one of {', '.join(get_args(Selection))}, got {selection!r}")


def check_nested(nested: Budgets, hidden_dim: int) -> tuple[tuple[int, int], ...]:
    """The smaller budgets as tuples; raises a :class:`BSAError` that names the first one that does not fit."""
    try:
        budgets = tuple((width, k) for width, k in nested)
    except (TypeError, ValueError) as error:
        raise BSAError(f"nested must be a list of pairs (hidden_dim, k), got {nested!r}") from error
    for width, k in budgets:
        if type(width) is not int or type(k) is not int or not 1 <= k <= width <= hidden_dim:
            raise BSAError(f"a nested budget is a pair, 1 <= k <= its hidden_dim <= {hidden_dim}, got {width!r}:{k!r}")
    return budgets


def parse_nested(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Budgets written as ``HIDDEN_DIM:K``."""
    try:
        return tuple((int(width), int(k)) for width, k in (text.split(":") for text in texts))
    except ValueError as error:
        raise BSAError(f"a nested budget is written HIDDEN_DIM:K, got {', '.join(texts)}") from error
