"""Explanations add up to the very score that search gives, and name features and words."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.codes.scoring import idf, scores
from bsa_st.explain.pair import Contribution, Explanation, _by_overlap
from bsa_st.explain.wording import describe, explain_hit, match_line
from bsa_st.explain.words import responsible_words
from bsa_st.head.layer import head_of

SCORINGS = ("overlap", "cosine", "idf", "decoded", "asymmetric")
PAIR = ("Short stature and small hands", "Abnormally small hand")


def test_explain_stays_the_function_when_its_modules_are_imported() -> None:
    for name in ("labels", "page", "pair", "store", "wording"):
        importlib.import_module(f"bsa_st.explain.{name}")
        assert isinstance(bsa_st.explain, FunctionType)
    program = "import bsa_st.explain.labels, bsa_st; print(type(bsa_st.explain).__name__, bsa_st.explain.__module__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["function", "bsa_st.explain.pair"]


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("kind", ["threshold", "topk"])
def test_contributions_add_up_to_the_score_of_search(
    scoring: str, kind: str, texts: list[str], threshold_model: SentenceTransformer, topk_model: SentenceTransformer
) -> None:
    model = threshold_model if kind == "threshold" else topk_model
    documents = bsa_st.encode(model, texts[:20], refine=True)
    weights = idf(documents).astype(np.float64)
    found = bsa_st.search(model, texts[20:23], documents, top_k=3, scoring=scoring)  # type: ignore[arg-type]
    for query, ids, expected in zip(texts[20:23], found.ids, found.scores, strict=True):
        for place, score in zip(ids.tolist(), expected.tolist(), strict=True):
            result = bsa_st.explain(
                model,
                query,
                texts[place],
                scoring=scoring,
                document=documents[place],
                idf=weights,
                words=0,  # type: ignore[arg-type]
            )
            parts = [part.value for part in (*result.shared, *result.only_a, *result.only_b)]
            assert math.fsum([*parts, result.constant]) == result.score
            assert result.score == pytest.approx(score, abs=2e-5)


@pytest.mark.parametrize("scoring", SCORINGS)
def test_shared_and_own_features_are_those_of_the_codes(scoring: str, threshold_model: SentenceTransformer) -> None:
    result = bsa_st.explain(threshold_model, *PAIR, scoring=scoring, words=0)  # type: ignore[arg-type]
    refined = scoring in ("decoded", "asymmetric")
    codes = bsa_st.encode(threshold_model, list(PAIR), refine=refined)
    a, b = set(codes[0].ids.tolist()), set(codes[1].ids.tolist())
    assert {part.feature for part in result.shared} == a & b
    assert {part.feature for part in result.only_a} == a - b
    assert {part.feature for part in result.only_b} == b - a
    for parts in (result.shared, result.only_a, result.only_b):
        assert [part.value for part in parts] == sorted((part.value for part in parts), reverse=True)


def test_a_text_explains_its_own_match_with_shared_features_alone(threshold_model: SentenceTransformer) -> None:
    result = bsa_st.explain(threshold_model, PAIR[0], PAIR[0], scoring="cosine", words=0)
    assert result.score == pytest.approx(1)
    assert not result.only_a
    assert not result.only_b


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.integers(0, 19)),
    st.sets(st.integers(0, 19)),
    st.lists(st.just(0.0) | st.floats(1e-3, 10), min_size=20, max_size=20),
)
def test_overlap_and_cosine_parts_add_up_for_any_codes(a: set[int], b: set[int], weights: list[float]) -> None:
    left = bsa_st.BinaryCodes(np.array(sorted(a), dtype=int), [0, len(a)], 20)
    right = bsa_st.BinaryCodes(np.array(sorted(b), dtype=int), [0, len(b)], 20)
    parts = _by_overlap(left, right, np.array(weights), divided=False)
    assert math.fsum(parts.values) == pytest.approx(float(scores(left, right, "overlap", np.array(weights))[0, 0]), rel=1e-5)
    divided = _by_overlap(left, right, np.ones(20), divided=True)
    assert math.fsum(divided.values) == pytest.approx(float(scores(left, right, "cosine")[0, 0]), abs=1e-5)
    assert set(np.flatnonzero(parts.values).tolist()) <= a & b


def test_the_word_that_makes_a_feature_fire_is_named(threshold_model: SentenceTransformer) -> None:
    with_word, without = bsa_st.encode(threshold_model, ["A child with seizures", "A child"], refine=False)
    added = sorted(set(with_word.ids.tolist()) - set(without.ids.tolist()))
    assert added
    found = responsible_words(threshold_model, "A child with seizures", added)
    assert sum(words[:1] == ("seizures",) for words in found.values()) > len(found) / 2
    assert responsible_words(threshold_model, "Seizures", added[:1]) == {added[0]: ("Seizures",)}


def test_explanations_in_words_name_every_part_of_the_score(threshold_model: SentenceTransformer) -> None:
    result = bsa_st.explain(threshold_model, *PAIR)
    text = str(result)
    assert f"score {result.score:.4f} (decoded)" in text
    assert f"feature {result.shared[0].feature}" in text
    assert "bsa-st explore" in text
    assert any(word in text for part in result.shared for word in part.words_a)
    hit = explain_hit(threshold_model, *PAIR, scoring="overlap")
    assert "\n" not in hit
    assert f"feature {bsa_st.explain(threshold_model, *PAIR, scoring='overlap', words=0).shared[0].feature} " in hit


def test_control_characters_of_texts_and_labels_do_not_reach_the_terminal() -> None:
    part = Contribution(3, "evil \x1b[2J label", 0.5, 0.9, ("wo\x07rd",), ())
    result = Explanation("a \x1b[31m text", "b\nc", "overlap", 0.5, 0.0, (part,), (), ())
    for shown in (describe(result), match_line(result)):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "evil" in shown


def test_two_texts_without_anything_in_common_are_said_to_have_nothing() -> None:
    result = Explanation("a", "b", "overlap", 0.0, 0.0, (), (Contribution(1, "feature 1", 0.0),), ())
    assert "Both are about: nothing" in describe(result)
    assert match_line(result) == "no feature shared"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scoring": "jaccard"}, "scoring must be one of"),
        ({"a": "  "}, "text 1 is empty"),
        ({"document": bsa_st.BinaryCodes([1], [0, 1], 7)}, "document must be one code of 1024 features"),
        ({"scoring": "idf", "idf": np.ones(3)}, "idf must hold 1024 finite weights"),
        ({"scoring": "idf", "idf": np.full(1024, np.nan)}, "idf must hold 1024 finite weights"),
    ],
)
def test_input_that_cannot_be_used_is_named(
    change: dict[str, object], message: str, threshold_model: SentenceTransformer
) -> None:
    arguments = {"a": PAIR[0], "b": PAIR[1], **change}
    with pytest.raises(BSAError, match=message):
        bsa_st.explain(threshold_model, **arguments)  # type: ignore[arg-type]


def test_a_model_without_head_is_refused(teacher: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="no BSA head"):
        bsa_st.explain(teacher, *PAIR)


def test_default_idf_comes_from_the_firing_rates(threshold_model: SentenceTransformer) -> None:
    result = bsa_st.explain(threshold_model, *PAIR, scoring="idf", words=0)
    rates = head_of(threshold_model).firing_rate.numpy()
    values = {part.feature: part.value for part in result.shared}
    rarest, commonest = min(values, key=lambda f: rates[f]), max(values, key=lambda f: rates[f])
    assert values[rarest] > values[commonest]
