"""Denoising, theory and upgrades measure on the ontology without any data folder, and their pages are drawn from the results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.paper.__main__ import HERE, app
from evaluation.paper.corruption import truncated, with_noise, with_typos
from evaluation.paper.page import RESULTS
from evaluation.paper.projections import principal, quantised
from evaluation.paper.sections import SECTIONS

OWN = ("denoising", "theory", "upgrades")

RNG = np.random.default_rng(0)
LOW_RANK = (RNG.normal(size=(1500, 12)) @ RNG.normal(size=(12, 96))).astype(np.float32)
LOW_RANK /= np.linalg.norm(LOW_RANK, axis=1, keepdims=True)


@given(st.floats(0, 3), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_noise_lowers_the_cosine_as_its_length_says(level: float, seed: int) -> None:
    clean = LOW_RANK[:200]
    noisy = with_noise(clean, level, seed)
    np.testing.assert_allclose(np.linalg.norm(noisy, axis=1), 1, atol=1e-5)
    assert (noisy * clean).sum(axis=1).mean() == pytest.approx(1 / np.sqrt(1 + level**2), abs=0.03)


@given(st.text(alphabet="abcdefgh ", max_size=60), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_typos_are_repeatable_and_at_most_one_letter_per_word(text: str, seed: int) -> None:
    spoilt = with_typos(text, 1.0, seed)
    assert spoilt == with_typos(text, 1.0, seed)
    assert with_typos(text, 0.0, seed) == text
    before, after = text.split(" "), spoilt.split(" ")
    assert len(before) == len(after)
    for word, slip in zip(before, after, strict=True):
        assert abs(len(word) - len(slip)) <= 1
        assert slip[:1] == word[:1]
        assert len(word) >= 4 or slip == word


def test_truncation_keeps_the_first_words() -> None:
    assert truncated("one two three four", 0.5) == "one two"
    assert truncated("one", 0.25) == "one"


def test_components_remove_noise_from_what_lies_in_few_dimensions() -> None:
    clean = LOW_RANK[:100]
    noisy = with_noise(clean, 1.0, seed=1)
    project = principal(LOW_RANK, 12)
    cosines = [(rows * clean).sum(axis=1).mean() for rows in (noisy, project(noisy))]
    assert cosines[0] < 0.75
    assert cosines[1] > 0.9
    np.testing.assert_allclose((project(clean) * clean).sum(axis=1), 1, atol=1e-4)


def test_more_bytes_reconstruct_better() -> None:
    cosines = [(quantised(LOW_RANK, size)(LOW_RANK[:200]) * LOW_RANK[:200]).sum(axis=1).mean() for size in (6, 24)]
    assert 0.5 < cosines[0] < cosines[1] < 1


@pytest.mark.slow
def test_a_quick_run_measures_and_shows_every_cell(tmp_path: Path, cache_dir: Path) -> None:
    places = ["--work", str(tmp_path / "work"), "--cache-dir", str(cache_dir)]
    app(["--quick", "--sections", ",".join(OWN), *places], standalone_mode=False)
    page = (tmp_path / "work" / "quick" / "PAPER.md").read_text()
    assert "Not measured" not in page
    for name in OWN:
        results = json.loads((tmp_path / "work" / "quick" / RESULTS / f"{name}.json").read_text())
        assert set(results) == {cell.name for cell in SECTIONS[name].cells(True)}
        assert f"## {SECTIONS[name].title}" in page


@pytest.mark.parametrize("name", OWN)
def test_the_committed_page_is_drawn_from_the_results(name: str, tmp_path: Path) -> None:
    results = json.loads((HERE / RESULTS / f"{name}.json").read_text())
    assert SECTIONS[name].render(results, tmp_path).strip() in (HERE / "PAPER.md").read_text()
    assert list(tmp_path.glob("*.png"))
