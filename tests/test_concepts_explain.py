"""Explanations add up to the scores that they explain, and their names are what texts share."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError, Explanation
from bsa_st.concepts.explain import decompose, describe, explain_vectors, match_line
from bsa_st.concepts.names import names_of
from bsa_st.encoding.encode import split_model

PAIRS = [("Short stature", "Height below average"), ("Hearing loss", "Kidney failure"), ("Seizure", "Seizure")]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("scoring", ["float", "asymmetric", "decoded"])
def test_parts_add_up_to_the_score_of_a_search(named_model: SentenceTransformer, pair: tuple[str, str], scoring: str) -> None:
    told = bsa_st.explain(named_model, *pair, scoring=scoring)  # type: ignore[arg-type]
    assert sum(part.value for part in told.parts) + told.rest == pytest.approx(told.score, abs=1e-9)
    if scoring == "float":
        one, two = split_model(named_model)[0].encode(list(pair))
        assert told.score == pytest.approx(float(one @ two), abs=1e-5)
    else:
        code = bsa_st.encode(named_model, [pair[1]], refine=True)
        hits = bsa_st.search(named_model, [pair[0]], code, scoring=scoring)  # type: ignore[arg-type]
        assert told.score == pytest.approx(float(hits.scores[0, 0]), abs=1e-5)
        assert bsa_st.explain(named_model, *pair, scoring=scoring, document=code) == told  # type: ignore[arg-type]


def test_names_explain_more_of_what_means_the_same(named_model: SentenceTransformer) -> None:
    alike, unlike = (bsa_st.explain(named_model, *pair) for pair in PAIRS[:2])
    named = [told.score - told.rest for told in (alike, unlike)]
    assert named[0] > 1.5 * named[1]
    assert alike.named_share > 0.4
    assert {"stature", "height", "short"} & {part.name for part in alike.parts[:3]}, alike.parts


def test_more_names_leave_less_to_everything_else(named_model: SentenceTransformer) -> None:
    one, two = split_model(named_model)[0].encode(list(PAIRS[2]))
    rest = [explain_vectors(names_of(named_model), one, two, most=most).rest for most in (1, 4, 16)]
    assert rest[0] > rest[1] > rest[2] >= 0


def test_a_decomposition_finds_the_atoms_that_vectors_were_made_of() -> None:
    random = np.random.default_rng(0)
    atoms = random.normal(size=(200, 64)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    first, second = atoms[3] + 0.5 * atoms[17], 0.8 * atoms[3] + 0.4 * atoms[99]
    ids, shares, parts = decompose(atoms, first, second, 3)
    assert set(ids) == {3, 17, 99}
    by_name = dict(zip(ids, shares.tolist(), strict=True))
    assert by_name[3] == pytest.approx((1, 0.8), abs=1e-5)
    assert by_name[17] == pytest.approx((0.5, 0), abs=1e-5)
    assert parts.sum() == pytest.approx(float(first @ second), abs=1e-5)
    assert decompose(atoms, 0 * first, 0 * second, 5)[0] == []


def test_the_words_always_show_everything_else_and_add_up(named_model: SentenceTransformer) -> None:
    told = bsa_st.explain(named_model, *PAIRS[0])
    lines = str(told).splitlines()
    assert lines[1] == f"score {told.score:.4f} (float)"
    values = [float(line.split()[0]) for line in lines[3:]]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=1e-4 * len(values))
    assert f"everything else ({1 - told.named_share:.0%} of the score)" in lines[-2]
    line = match_line(told, 2)
    shown = [float(piece.split("(")[0].split()[-1]) for piece in line.split("; ")]
    assert sum(shown) == pytest.approx(told.score, abs=2e-3)
    assert json.loads(json.dumps(told.as_dict()))["rest"] == told.rest


def test_a_terminal_is_not_driven_by_texts() -> None:
    told = Explanation("\x1b[31mred", "b\x07", "float", 0.5, (), 0.5)
    assert "\x1b" not in describe(told)
    assert "\x07" not in describe(told)
    assert told.named_share == 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a", " "), {}, "text 2 is empty"),
        (("a", "b"), {"scoring": "overlap"}, "scoring must be one of float, asymmetric, decoded, got 'overlap'"),
        (("a", "b"), {"prompt_name": "no"}, "the model has no prompt 'no'"),
    ],
)
def test_what_cannot_be_explained_is_named(
    named_model: SentenceTransformer, arguments: tuple[str, str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(BSAError, match=message):
        bsa_st.explain(named_model, *arguments, **options)  # type: ignore[arg-type]


def test_a_code_of_another_head_is_refused(named_model: SentenceTransformer) -> None:
    code = bsa_st.BinaryCodes.from_dense(np.ones((1, 16), dtype=bool))
    with pytest.raises(BSAError, match="document must be one code of 256 features"):
        bsa_st.explain(named_model, "a", "b", scoring="asymmetric", document=code)
