"""Named dictionaries: names that differ, rates within bounds, tags that mean their names, files that come back whole, bad input named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.concepts.dictionary import HIGHEST_RATE, LOWEST_RATE, Candidates, K, NamedDictionary, fit_dictionary, merge
from bsa_st.concepts.names import name_features, stream_tags, tags
from bsa_st.concepts.vocabulary import Vocabulary
from bsa_st.encoding.encode import split_model
from bsa_st.head.layer import head_of
from bsa_st.hub.folder import read_names


def test_every_feature_fires_between_the_two_rates(dictionary: NamedDictionary, named_rows: np.ndarray) -> None:
    counts = np.zeros(len(dictionary))
    for block in dictionary.blocks(named_rows):
        counts += (block > dictionary.thresholds).sum(axis=0)
    rates = counts / len(named_rows)
    assert rates.max() <= HIGHEST_RATE + 1e-3
    assert rates.min() >= LOWEST_RATE / 2
    assert rates.sum() == pytest.approx(min(K, HIGHEST_RATE / 2 * len(dictionary)), rel=0.05)
    assert dictionary.rates == pytest.approx(rates, abs=2e-4)


def test_atoms_are_nearest_to_their_own_names(named_model: SentenceTransformer, dictionary: NamedDictionary) -> None:
    encoder, _ = split_model(named_model)
    few = np.arange(0, len(dictionary), 7)
    rows = np.asarray(encoder.encode([dictionary.names[number] for number in few]))
    scores = np.concatenate(list(dictionary.blocks(rows)))
    assert (scores.argmax(axis=1) == few).mean() > 0.98


def test_tags_say_what_texts_are_about(named_model: SentenceTransformer) -> None:
    kidney, ear = tags(named_model, ["Inflammation of the kidney", "Hearing loss in both ears"])
    assert any("kidney" in name or "renal" in name or "neph" in name for name, _ in kidney)
    assert any("hearing" in name or "ear" in name.split() for name, _ in ear)
    for found in (kidney, ear):
        strengths = [strength for _, strength in found]
        assert strengths == sorted(strengths, reverse=True)
        assert len(found) <= K


def test_tags_are_what_fires_for_the_embeddings(
    named_model: SentenceTransformer, dictionary: NamedDictionary, named_texts: list[str], named_rows: np.ndarray
) -> None:
    own = list(stream_tags(named_model, iter(named_texts[:40])))
    fired = [[dictionary.names[number] for number in ids] for ids, _ in dictionary.fires(named_rows[:40])]
    assert [[name for name, _ in found] for found in own] == fired


def test_the_head_and_its_codes_stay_as_they_are(
    nameless_model: SentenceTransformer, named_texts: list[str], named_rows: np.ndarray
) -> None:
    before = bsa_st.encode(nameless_model, named_texts[:30], refine=True)
    name_features(nameless_model, named_texts, ["kidney", "heart", "bone"], embeddings=named_rows, k=1)
    assert bsa_st.encode(nameless_model, named_texts[:30], refine=True) == before


def test_names_travel_with_the_folder(named_folder: Path, dictionary: NamedDictionary) -> None:
    found = head_of(bsa_st.load(named_folder)).names
    assert found is not None
    assert (found.names, found.aliases, found.k) == (dictionary.names, dictionary.aliases, dictionary.k)
    for field in ("atoms", "mean", "thresholds", "rates"):
        assert np.array_equal(getattr(found, field), getattr(dictionary, field))
    assert {path.suffix for path in (named_folder / "bsa").iterdir()} == {".json", ".safetensors"}


def test_near_duplicates_become_aliases_of_the_first() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0.99, 0.1, 0], [0, 0, 1], [0.98, 0, 0.1]], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert merge(rows, 5) == ([0, 1, 3], [[2, 4], [], []])
    assert merge(rows, 2) == ([0, 1], [[2, 4], []])


def test_synonyms_move_a_name_towards_what_it_means(
    nameless_model: SentenceTransformer, named_texts: list[str], named_rows: np.ndarray
) -> None:
    names = {
        "HP:0000365": ["hearing loss", "deafness"],
        "HP:0000077": ["abnormal kidney", "renal disease"],
        "HP:0000924": ["abnormal bone"],
    }
    name_features(nameless_model, named_texts, names, embeddings=named_rows, k=1)
    assert tags(nameless_model, ["Hearing impairment"])[0][0][0] == "HP:0000365"


def test_a_word_inside_one_phrase_is_no_name_of_its_own() -> None:
    texts = [f"text {number} from new york about topic {'abcdefghij'[number % 10] * 3}" for number in range(100)]
    texts += ["entirely other matters"] * 1900
    names = Vocabulary(texts, 100).names
    assert "new york" in names
    assert "york" not in names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["only"], "at least two names that the encoder tells apart; of 1 it tells 1 \\('only'\\)"),
        (["Kidney", "kidney", "KIDNEY"], "of 3 it tells 1 \\('Kidney'\\)"),
        (["kidney", " "], "a name must be a text with a letter or digit, got ' ' as number 2"),
        (["kidney", "?!"], "got '\\?!' as number 2"),
        (["kidney", 7], "got 7 as number 2"),
        ([], "there are no names"),
        ("kidney", "names must be a list of names"),
    ],
)
def test_bad_names_are_named(
    nameless_model: SentenceTransformer, named_texts: list[str], named_rows: np.ndarray, names: list[str], message: str
) -> None:
    with pytest.raises(BSAError, match=message):
        name_features(nameless_model, named_texts[:50], names, embeddings=named_rows[:50])
    assert head_of(nameless_model).names is None


def test_names_in_other_scripts_are_names(
    nameless_model: SentenceTransformer, named_texts: list[str], named_rows: np.ndarray
) -> None:
    found = name_features(nameless_model, named_texts[:50], ["Niere", "心臓", "кость"], embeddings=named_rows[:50], k=1)
    assert set(found.names) | {alias for own in found.aliases for alias in own} == {"Niere", "心臓", "кость"}


def test_a_model_without_names_says_how_to_make_them(nameless: SentenceTransformer, named_texts: list[str]) -> None:
    for call in (lambda: bsa_st.tags(nameless, named_texts[:2]), lambda: bsa_st.explain(nameless, "a", "b")):
        with pytest.raises(BSAError, match=r"no named features yet; bsa_st\.name_features"):
            call()


def test_a_dictionary_that_cannot_be_fitted_says_why() -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(BSAError, match="at least two texts"):
        fit_dictionary(Candidates(["a", "b"], rows[:2]), rows[:1])
    with pytest.raises(BSAError, match="k must be at least 1 and hidden_dim at least 2, got 0 and None"):
        fit_dictionary(Candidates(["a", "b"], rows[:2]), rows, k=0)
    with pytest.raises(BSAError, match="zero, NaN or infinite"):
        fit_dictionary(Candidates(["a", "b"], 0 * rows[:2]), rows)
    with pytest.raises(BSAError, match="no word stands in at least 2"):
        Vocabulary(["1 2 3", "4 5 6"], 10)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "names.json").write_text("{"), "names.json"),
        (lambda folder: (folder / "names.json").write_text('{"format_version": 9}'), "format version 9 is not one"),
        (lambda folder: (folder / "names.json").write_text('{"format_version": 1, "names": ["a"]}'), "damaged"),
        (lambda folder: (folder / "names.safetensors").unlink(), "names.safetensors"),
        (lambda folder: (folder / "names.safetensors").write_bytes(b"rubbish"), "names.safetensors"),
        (
            lambda folder: save_file(
                {**load_file(folder / "names.safetensors"), "mean": np.full(384, np.nan, np.float32)},
                folder / "names.safetensors",
            ),
            "NaN or infinite",
        ),
        (
            lambda folder: save_file(
                {**load_file(folder / "names.safetensors"), "mean": np.zeros(5, np.float32)}, folder / "names.safetensors"
            ),
            "names.safetensors",
        ),
    ],
)
def test_damaged_names_are_named(named_folder: Path, tmp_path: Path, damage: object, message: str) -> None:
    shutil.copytree(named_folder / "bsa", tmp_path / "bsa")
    damage(tmp_path / "bsa")  # type: ignore[operator]
    with pytest.raises(BSAError, match=message):
        read_names(tmp_path / "bsa", 384)
