"""The budgets of bytes and, for each, the BSA configuration that we recommend: declared here, never picked from test scores.

All sizes are for 384-d encoders; for a wider or narrower encoder bytes, dictionary and active features grow or shrink with the width.
"""

from __future__ import annotations

WIDTH = 384

BUDGETS = {48: "bsa-topk-768-78-elastic", 64: "bsa-topk-768-126-elastic", 110: "bsa-topk-1536-200-elastic"}
"""Stored bytes per text to the method that competes there: one trained head at three sizes."""

OVERLAP = {48: "bsa-topk-376-188-plain", 64: "bsa-topk-504-250-plain", 110: "bsa-topk-872-436-plain"}
"""Where codes are compared by the features that they share and by nothing else: half of the features active, and no refinement."""

SPARSE = "bsa-topk-4096-64-refined"
"""For an inverted index: at least 4,096 features, at most 64 of them active."""

THRESHOLD = ("bsa-threshold-768-112-refined", "bsa-topk-768-126-refined")
"""Threshold mode and the top-k mode of about the same bytes that it is measured by."""

FLOAT_SCORING = "asymmetric"
"""The scoring that competes where the query stays a float vector."""

CODE_SCORINGS = ("decoded", "symmetric")
"""The scoring that competes where the query is a code too: the first that the method offers."""

SIDES = {
    "float query": ("asymmetric", "two-stage"),
    "code query": ("decoded", "symmetric", "cosine", "idf"),
}
"""Which scorings may be compared with each other."""

SLACK = 1.06
"""A baseline up to this much above a budget is listed with it (RaBitQ comes in steps of a bit per dimension)."""


def scaled(size: int, width: int) -> int:
    """A number of bytes or features for 384-d embeddings as the one for embeddings of another width."""
    return round(size * width / WIDTH)


def scaled_name(name: str, width: int) -> str:
    """Name of a BSA method for embeddings of another width: the numbers in it are scaled."""
    return "-".join(str(scaled(int(part), width)) if part.isdigit() else part for part in name.split("-"))


def budget_of(n_bytes: float, width: int) -> int | None:
    """The smallest budget, as given for 384-d, that a method with so many bytes fits in; ``None`` if it fits in none."""
    return next((budget for budget in BUDGETS if n_bytes <= SLACK * scaled(budget, width)), None)
