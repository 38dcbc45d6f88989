"""Facts about trained heads that model cards state: active features per text and features that never fire."""

from __future__ import annotations

from typing import Any

import numpy as np

from bsa_st.module import BinarySparsityAlignment
from bsa_st.monitor import code_statistics
from evaluation.methods.base import Method

ROWS = 100_000
FACTS = ("active_mean", "active_p5", "active_p95", "never_fired", "highest_rate")


def head_figures(method: Method, training: np.ndarray) -> dict[str, Any]:
    """``hidden_dim``, ``texts`` and :func:`bsa_st.monitor.code_statistics` over up to 100,000 training rows, unrefined codes.

    Args:
        method: A fitted method; empty for one without a BSA head.
        training: Training embeddings, float (n, d).
    """
    head = getattr(method, "head", None)
    if not isinstance(head, BinarySparsityAlignment):
        return {}
    chosen = np.random.default_rng(0).choice(len(training), min(ROWS, len(training)), replace=False)
    facts = code_statistics(head, training[np.sort(chosen)])
    return {"hidden_dim": head.hidden_dim, "texts": len(chosen), **{name: round(float(facts[name]), 4) for name in FACTS}}
