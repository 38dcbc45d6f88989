"""Why two texts match: their score, taken apart into features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import inverse_norms
from bsa_st.encoding.encode import encode_embeddings, split_model
from bsa_st.errors import BSAError
from bsa_st.explain.atlas import FeatureAtlas
from bsa_st.explain.words import responsible_words
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.inputs.prompts import document_prompt, query_prompt
from bsa_st.inputs.texts import read_texts
from bsa_st.search.exhaustive import Scoring

UNKNOWN_CORPUS = 100_000
"""Texts that firing rates are taken to come from where the head's report does not say."""


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to a score.

    Attributes:
        feature: Its number.
        name: Its label, or ``feature 17`` where the model carries none.
        value: What it adds.
        auc: Quality of the label (:class:`bsa_st.explain.atlas.Feature`), ``None`` if unknown.
        words_a: Words of the first text without which the feature's logit falls most; likewise
        words_b: of the second.
    """

    feature: int
    name: str
    value: float
    auc: float | None = None
    words_a: tuple[str, ...] = ()
    words_b: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why two texts match; ``str()`` says it in words (:func:`bsa_st.explain.wording.describe`).

    ``score`` is exactly ``math.fsum`` of the values of all contributions and ``constant``.

    Attributes:
        a: The first text, the query.
        b: The second, the document.
        scoring: As in :func:`bsa_st.search`.
        score: The score.
        constant: The part that no feature causes: the decoder's offset.
        shared: Features that both fire, largest contribution first; likewise
        only_a: those that only the first fires; and
        only_b: those that only the second fires.
    """

    a: str
    b: str
    scoring: Scoring
    score: float
    constant: float
    shared: tuple[Contribution, ...] = field(repr=False)
    only_a: tuple[Contribution, ...] = field(repr=False)
    only_b: tuple[Contribution, ...] = field(repr=False)

    def __str__(self) -> str:
        from bsa_st.explain.wording import describe

        return describe(self)


class Parts(NamedTuple):
    """Contribution of every feature, float64 (D,), and the rest; the score is the sum of all."""

    values: np.ndarray
    constant: float


def explain(
    model: SentenceTransformer,
    a: str,
    b: str,
    *,
    scoring: Scoring = "decoded",
    document: BinaryCodes | None = None,
    idf: np.ndarray | None = None,
    words: int = 6,
    prompt_name: str | None = None,
) -> Explanation:
    """Why two texts match, feature by feature. The contributions add up to the score exactly.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`; with labels if ``bsa-st explore`` has made them.
        a: The query.
        b: The document.
        scoring: As in :func:`bsa_st.search`, of which this is the score. ``overlap`` and ``idf``: a shared feature adds 1, or its
            weight; ``cosine``: 1 divided by the root of the product of both numbers of features. ``decoded``: products of both features' decoder directions are divided evenly between the two.
            ``asymmetric``: each feature of the document adds ``q . v``; those that only the query fires add nothing.
        document: The stored code of ``b`` where there is one, e.g. from an index; default: ``b`` is encoded, for ``decoded`` and
            ``asymmetric`` with refinement.
        idf: Weight of each feature for ``idf``, (D,), e.g. :func:`bsa_st.codes.scoring.idf` of the collection; default: from the corpus of the
            labels, or else from the firing rates of the training texts.
        words: For so many of the largest shared features, find the words behind them by leaving out each word in turn; 0 for none.
        prompt_name: Name of one of the model's prompts, for the query; default ``query``, if it has such a prompt.

    Raises:
        BSAError: If the model has no BSA head, a text is empty, the scoring is unknown or the stored code does not fit.
    """
    if scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    encoder, head = split_model(model)
    read_texts([a, b])
    prompts = query_prompt(encoder, prompt_name), document_prompt(encoder)
    query = np.asarray(encoder.encode([a], prompt_name=prompts[0], show_progress_bar=False), dtype=np.float32)
    by_decoder = scoring in ("decoded", "asymmetric")
    code = encode_embeddings(head, query, refine=by_decoder)
    if document is None:
        dense = np.asarray(encoder.encode([b], prompt_name=prompts[1], show_progress_bar=False), dtype=np.float32)
        document = encode_embeddings(head, dense, refine=by_decoder)
    elif len(document) != 1 or document.hidden_dim != head.hidden_dim:
        raise BSAError(f"document must be one code of {head.hidden_dim} features, got {document!r}")
    if by_decoder:
        parts = _by_decoder(head, query[0], code, document, scoring)
    else:
        weights = _idf(head, idf) if scoring == "idf" else np.ones(head.hidden_dim)
        parts = _by_overlap(code, document, weights, divided=scoring == "cosine")
    shared = _ranked(np.intersect1d(code.ids, document.ids), parts)
    behind = [responsible_words(model, text, shared[:words], prompt) for text, prompt in zip((a, b), prompts, strict=True)]
    return _explanation(head, a, b, scoring, parts, code.ids, document.ids, behind)


def _by_overlap(a: BinaryCodes, b: BinaryCodes, weights: np.ndarray, divided: bool) -> Parts:
    """Each shared feature adds its weight; for the cosine divided by ``sqrt(k_a k_b)``."""
    values = np.zeros(a.hidden_dim)
    length = math.sqrt(len(a.ids) * len(b.ids)) if divided else 1.0
    shared = np.intersect1d(a.ids, b.ids)
    if length > 0:
        values[shared] = weights[shared] / length
    return Parts(values, 0.0)


def _by_decoder(head: BinarySparsityAlignment, query: np.ndarray, a: BinaryCodes, b: BinaryCodes, scoring: str) -> Parts:
    """The dot product of the query, dense or decoded, with the decoded document, divided by the softened length of the latter."""
    decoder = head.decoder_weight.detach().cpu().numpy().astype(np.float64)
    offset = head.decoder_bias.detach().cpu().numpy().astype(np.float64)
    factor = float(inverse_norms(b, decoder, offset, float(head.length_softening))[0])
    values = np.zeros(a.hidden_dim)
    if scoring == "asymmetric":
        values[b.ids] = factor * (decoder[b.ids] @ query)
        return Parts(values, factor * float(query @ offset))
    values[a.ids] += factor * (decoder[a.ids] @ (decoder[b.ids].sum(axis=0) / 2 + offset))
    values[b.ids] += factor * (decoder[b.ids] @ (decoder[a.ids].sum(axis=0) / 2 + offset))
    return Parts(values, factor * float(offset @ offset))


def _idf(head: BinarySparsityAlignment, given: np.ndarray | None) -> np.ndarray:
    if given is not None:
        weights = np.asarray(given, dtype=np.float64)
        if weights.shape != (head.hidden_dim,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise BSAError(f"idf must hold {head.hidden_dim} finite weights that are not negative, got shape {weights.shape}")
        return weights
    if head.labels is not None:
        return np.asarray(head.labels.idf())
    texts = float(head.report.get("texts", UNKNOWN_CORPUS))
    rates = head.firing_rate.detach().cpu().numpy().astype(np.float64)
    return np.log((texts + 1) / (rates * texts + 1))


def _explanation(
    head: BinarySparsityAlignment,
    a: str,
    b: str,
    scoring: Scoring,
    parts: Parts,
    ids_a: np.ndarray,
    ids_b: np.ndarray,
    behind: Sequence[dict[int, tuple[str, ...]]],
) -> Explanation:
    def contributions(features: list[int]) -> tuple[Contribution, ...]:
        return tuple(
            Contribution(
                feature=number,
                value=float(parts.values[number]),
                words_a=behind[0].get(number, ()),
                words_b=behind[1].get(number, ()),
                **_label(head.labels, number),
            )
            for number in features
        )

    return Explanation(
        a=a,
        b=b,
        scoring=scoring,
        score=math.fsum([*parts.values.tolist(), parts.constant]),
        constant=parts.constant,
        shared=contributions(_ranked(np.intersect1d(ids_a, ids_b), parts)),
        only_a=contributions(_ranked(np.setdiff1d(ids_a, ids_b), parts)),
        only_b=contributions(_ranked(np.setdiff1d(ids_b, ids_a), parts)),
    )


def _ranked(features: np.ndarray, parts: Parts) -> list[int]:
    return sorted(features.tolist(), key=lambda number: (-parts.values[number], number))


def _label(atlas: FeatureAtlas | None, number: int) -> dict[str, Any]:
    if atlas is None:
        return {"name": f"feature {number}", "auc": None}
    return {"name": atlas.features[number].name, "auc": atlas.features[number].auc}
