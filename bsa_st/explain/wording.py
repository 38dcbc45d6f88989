"""An explanation in words, for a terminal."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.explain.atlas import RELIABLE_AUC
from bsa_st.explain.collect import clip
from bsa_st.explain.pair import Contribution, Explanation, explain
from bsa_st.search.exhaustive import Scoring

QUOTED = 100


def describe(explanation: Explanation, top: int = 8) -> str:
    """The explanation as lines of text: the shared features with their labels, words and contributions, then what one side alone has.

    Args:
        explanation: From :func:`bsa_st.explain`.
        top: Most features of each kind to name; the others are summed up.
    """
    both, first, second = explanation.shared, explanation.only_a, explanation.only_b
    lines = [
        f"{_quote(explanation.a)} and {_quote(explanation.b)}",
        f"score {explanation.score:.4f} ({explanation.scoring}): {len(both)} features shared, of {len(both) + len(first)} and "
        f"{len(both) + len(second)}",
        "",
        *_block("Both are about", both, top, words=True),
        *_block("Only the first has", first, top),
        *_block("Only the second has", second, top),
    ]
    if explanation.constant:
        lines.append(f"{explanation.constant:+8.4f}  any text (the decoder's offset)")
    parts = f"{_sum(both):+.4f} shared {_sum(first):+.4f} first {_sum(second):+.4f} second {explanation.constant:+.4f} offset"
    lines.append(f"{explanation.score:8.4f}  = {parts}")
    named = [part for part in (*both, *first, *second) if not part.name.startswith("feature ")]
    if not named and (both or first or second):
        lines.append("The features have no labels yet: bsa-st explore MODEL TEXTS makes them.")
    return "\n".join(lines)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain JSON values."""
    return dataclasses.asdict(explanation)


def match_line(explanation: Explanation, top: int = 4, width: int = 120) -> str:
    """The explanation on one line, as under a search result: the largest shared features and the words behind them."""
    if not explanation.shared:
        return "no feature shared"
    names = [f"{_printable(part.name)} {part.value:+.3f}{_words(part)}" for part in explanation.shared[:top]]
    count = len(explanation.shared)
    return textwrap.shorten(f"{count} shared: {'; '.join(names)}", width, placeholder=" …")


def explain_hit(
    model: SentenceTransformer,
    query: str,
    text: str,
    *,
    code: BinaryCodes | None = None,
    scoring: Scoring = "asymmetric",
    idf: np.ndarray | None = None,
    words: int = 0,
    prompt_name: str | None = None,
) -> str:
    """One line that says why a search found a text; see :func:`bsa_st.explain` for the arguments.

    Args:
        model: The model that searched.
        query: The query.
        text: The text found.
        code: Its stored code; default: the text is encoded again.
        scoring: The score that was searched by.
        idf: Weights of ``idf``.
        words: For so many features also name the words behind them, which costs forward passes.
        prompt_name: Name of the prompt that the query was searched with.
    """
    told = explain(model, query, text, scoring=scoring, document=code, idf=idf, words=words, prompt_name=prompt_name)
    return match_line(told)


def _block(title: str, parts: Sequence[Contribution], top: int, *, words: bool = False) -> list[str]:
    if not parts:
        return [f"{title}: nothing", ""]
    lines = [f"{title}:"]
    for part in parts[:top]:
        lines.append(f"{part.value:+8.4f}  {_printable(part.name)}{_quality(part)}{_words(part) if words else ''}")
    if rest := parts[top:]:
        lines.append(f"{_sum(rest):+8.4f}  {len(rest)} more")
    return [*lines, ""]


def _quality(part: Contribution) -> str:
    if part.name.startswith("feature "):
        return ""
    if part.auc is None:
        return "  (label not measured)"
    return f"  (label AUC {part.auc:.2f})" if part.auc >= RELIABLE_AUC else f"  (weak label, AUC {part.auc:.2f})"


def _words(part: Contribution) -> str:
    if not part.words_a and not part.words_b:
        return ""
    left, right = (_printable(", ".join(words)) or "-" for words in (part.words_a, part.words_b))
    return f"  [{left} | {right}]"


def _sum(parts: Sequence[Contribution]) -> float:
    return sum(part.value for part in parts)


def _quote(text: str) -> str:
    return f"'{_printable(clip(text, QUOTED))}'"


def _printable(text: str) -> str:
    """Without control characters, which could drive a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
