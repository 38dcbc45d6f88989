"""Labels: what a pass over a corpus collects, terms and their honest quality, families."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score

from bsa_st import BinaryCodes, BSAError
from bsa_st.encoding.encode import split_model
from bsa_st.explain.atlas import FeatureAtlas, Term
from bsa_st.explain.collect import Collector, Extremes, Reservoir, logit_margins
from bsa_st.explain.families import coactivation, families, feature_map, neighbours
from bsa_st.explain.labels import label_features, short_label
from bsa_st.explain.terms import feature_terms, held_out_auc
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.inputs.embeddings import cached_embeddings, finished_embeddings
from bsa_st.inputs.texts import stream_texts


def test_counts_margins_and_kinds_of_texts_are_those_of_the_codes(
    atlas: FeatureAtlas, threshold_model: SentenceTransformer, texts: list[str], embeddings: np.ndarray
) -> None:
    logits = head_of(threshold_model).logits(torch.from_numpy(embeddings)).detach().numpy()
    assert atlas.texts == len(texts)
    assert [feature.count for feature in atlas.features] == (logits > 0).sum(axis=0).tolist()
    assert sum(atlas.active) == len(texts)
    for feature in atlas.features[::97]:
        own = logits[:, feature.id]
        assert feature.strongest[0][1] == pytest.approx(own.max(), abs=1e-3)
        assert feature.borderline[0][1] == pytest.approx(own[own > 0].min(), abs=1e-3)
        assert feature.just_off[0][1] == pytest.approx(own[own <= 0].max(), abs=1e-3)
        for text, margin in (*feature.strongest, *feature.borderline, *feature.just_off):
            rows = [row for row, full in enumerate(texts) if " ".join(full.split()).startswith(text.rstrip("…")[:200])]
            assert any(own[row] == pytest.approx(margin, abs=1e-3) for row in rows)


def test_nearest_texts_point_along_the_decoder_direction(
    atlas: FeatureAtlas, threshold_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    head = head_of(threshold_model)
    rows = embeddings - head.decoder_bias.detach().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    direction = head.decoder_weight[5].detach().numpy()
    cosines = rows @ (direction / np.linalg.norm(direction))
    assert atlas.features[5].nearest[0][1] == pytest.approx(cosines.max(), abs=1e-3)


def test_batches_streams_and_embeddings_computed_on_the_way_give_the_same(
    threshold_model: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    some = [" ".join(text.split()) for text in texts[:150]]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(some) + "\n", encoding="utf-8")
    encoder, _ = split_model(threshold_model)
    ready = encoder.encode(some, show_progress_bar=False)
    one = label_features(threshold_model, iter(some), embeddings=ready, show_progress_bar=False)
    two = label_features(threshold_model, stream_texts(path), show_progress_bar=False)
    assert [f.count for f in one.features] == [f.count for f in two.features]
    for left, right in zip(one.features, two.features, strict=True):
        assert [value for _, value in left.strongest] == pytest.approx([value for _, value in right.strongest], abs=1e-3)


def test_memory_does_not_grow_with_the_corpus() -> None:
    """What a collector holds after 40 batches is bounded by its tables and its sample, not by the texts."""
    torch.manual_seed(0)
    head = BinarySparsityAlignment(8, 32, 4)
    head.initialise(torch.randn(500, 8))
    collector = Collector(head, shown=2, sample=100, characters=50)
    for batch in range(40):
        collector.add([f"text {batch} {row} " + "x" * 5000 for row in range(250)], torch.randn(250, 8))
    assert collector.texts == 10_000
    assert len(collector.reservoir.items) == 100
    assert max(len(text) for _, text, _ in collector.reservoir.items) <= 1000
    slots = sum(table.rows.numel() for table in collector.tables.values())
    assert len(collector._kept) <= slots
    assert max(map(len, collector._kept.values())) <= 50


def test_a_generator_far_larger_than_the_sample_is_read_in_bounded_memory(threshold_model: SentenceTransformer) -> None:
    head = BinarySparsityAlignment(16, 64, 4)
    model = _with_head(threshold_model, head)
    vectors = np.random.default_rng(0).normal(size=(60_000, 16)).astype(np.float32)
    head.initialise(torch.from_numpy(vectors[:2000]))

    def long_texts() -> Iterator[str]:
        for number in range(60_000):
            yield f"word{number % 50} " + "y" * 10_000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = label_features(model, long_texts(), embeddings=vectors, sample=2000, show_progress_bar=False)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert found.texts == 60_000
    assert found.sampled == 2000
    assert grown < 300_000  # kilobytes; the texts are 600 MB


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_extremes_over_batches_are_those_of_all_rows(sizes: list[int], keep: int, seed: int) -> None:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(sum(sizes), 3)).astype(np.float32))
    table, start = Extremes(3, keep), 0
    for size in sizes:
        table.add(values[start : start + size], start)
        start += size
    expected = np.argsort(-values.numpy(), axis=0, kind="stable")[:keep].T
    for column in range(3):
        assert [row for row in table.rows[column].tolist() if row >= 0] == expected[column].tolist()


def test_a_reservoir_is_a_uniform_sample() -> None:
    hits = np.zeros(50)
    for seed in range(400):
        reservoir = Reservoir(10, seed)
        for number in range(50):
            reservoir.add(str(number), np.zeros(0))
        assert len({place for place, _, _ in reservoir.items}) == 10
        hits[[place for place, _, _ in reservoir.items]] += 1
    assert abs(hits - 80).max() < 40  # five standard deviations


@pytest.mark.parametrize("selection", ["threshold", "topk"])
@pytest.mark.parametrize("k", [4, 12])
def test_margins_are_positive_exactly_where_a_feature_fires(selection: str, k: int) -> None:
    head = BinarySparsityAlignment(6, 12, k, selection)  # type: ignore[arg-type]
    logits = torch.randn(200, 12)
    assert torch.equal(logit_margins(head, logits) > 0, head.select(logits).bool())


def _corpus() -> tuple[list[str], BinaryCodes]:
    """Feature 0 fires on texts with "lung", 1 on texts with "heart attack", 2 at random, 3 never."""
    random = np.random.default_rng(3)
    topics = ("the lung of patient", "a heart attack of patient", "the skin of patient")
    texts = [f"{topics[number % 3]} number {number} {random.choice(['red', 'blue', 'green'])}" for number in range(900)]
    active = [
        sorted({0: {0}, 1: {1}, 2: set()}[number % 3] | ({2} if random.random() < 0.3 else set())) for number in range(900)
    ]
    ids = np.array([feature for row in active for feature in row])
    return texts, BinaryCodes(ids, np.concatenate([[0], np.cumsum([len(row) for row in active])]), 4)


def test_terms_say_what_a_feature_means_and_their_quality_is_honest() -> None:
    result = feature_terms(*_corpus())
    assert result.terms[0][0].term == "lung" or "lung" in result.terms[0][0].term
    assert any("heart" in term.term for term in result.terms[1])
    assert result.auc[0] == pytest.approx(1)
    assert result.auc[1] == pytest.approx(1)
    assert result.auc[2] is not None
    assert abs(result.auc[2] - 0.5) < 0.12
    assert result.terms[3] == []
    assert result.auc[3] is None
    lung = next(term for term in result.terms[0] if term.term.startswith("lung"))
    assert lung.lift == pytest.approx(3, abs=0.3)


def test_quality_is_measured_on_texts_that_terms_were_not_chosen_from() -> None:
    """Features that fire at random have terms that fit them by chance; on the same texts these would look good."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(400, 8).astype(str)) + " word" for _ in range(1500)]
    codes = BinaryCodes.from_dense((random.random((1500, 40)) < 0.02).astype(np.float32))
    measured = [value for value in feature_terms(texts, codes).auc if value is not None]
    assert abs(np.mean(measured) - 0.5) < 0.05


@given(st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_auc_is_sklearns(seed: int) -> None:
    random = np.random.default_rng(seed)
    present = sparse.random(60, 12, 0.2, format="csr", random_state=seed, data_rvs=lambda n: np.ones(n))
    weights = sparse.random(5, 12, 0.4, format="csr", random_state=seed + 1, data_rvs=lambda n: random.integers(1, 4, n) / 2)
    fires = (random.random((60, 5)) < 0.3).astype(np.float32)
    scores = (present @ weights.T).toarray()
    for feature, value in enumerate(held_out_auc(present, weights, sparse.csr_matrix(fires))):
        assert value == pytest.approx(roc_auc_score(fires[:, feature], scores[:, feature]), abs=1e-4)


def test_short_labels_repeat_no_word() -> None:
    terms = [Term(name, 5, 3.0) for name in ("short stature", "stature", "height", "growth delay", "more")]
    assert short_label(terms) == "short stature · height · growth delay"
    assert short_label([]) == ""
    assert len(short_label([Term("x" * 300, 5, 3.0)])) <= 48


def test_neighbours_and_families_find_features_that_fire_together() -> None:
    random = np.random.default_rng(1)
    topic = random.integers(0, 4, 800)
    fires = np.zeros((800, 16), dtype=np.float32)
    for feature in range(16):
        fires[:, feature] = (topic == feature // 4) & (random.random(800) < 0.7)
    decoder = (np.repeat(np.eye(4), 4, axis=0) @ random.normal(size=(4, 10)) + random.normal(size=(16, 10)) * 0.3).astype(
        np.float32
    )
    together, alone = coactivation(BinaryCodes.from_dense(fires))
    assert alone.tolist() == fires.sum(axis=0).tolist()
    assert together[0, 1] == (fires[:, 0] * fires[:, 1]).sum()
    for feature, close in enumerate(neighbours(together, alone, 3)):
        assert {other.feature // 4 for other in close} == {feature // 4}
        assert feature not in {other.feature for other in close}
    tree = families(together, alone, decoder)
    assert len(set(tree.family.tolist())) == 2
    assert all(len(set(tree.family[start : start + 4].tolist())) == 1 for start in range(0, 16, 4))


def test_a_feature_that_never_fires_still_has_a_family_and_a_place() -> None:
    random = np.random.default_rng(2)
    fires = (random.random((100, 20)) < 0.3).astype(np.float32)
    fires[:, 7] = 0
    decoder = random.normal(size=(20, 6)).astype(np.float32)
    counts = coactivation(BinaryCodes.from_dense(fires))
    tree = families(*counts, decoder)
    assert tree.family.shape == (20,)
    assert tree.group.shape == (tree.family.max() + 1,)
    places = feature_map(*counts, decoder)
    assert places.shape == (20, 2)
    assert np.isfinite(places).all()
    assert places.min() == 0
    assert places.max() == 1


def test_embeddings_that_do_not_fit_the_texts_are_named(threshold_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    for count, message in ((2, "2 embeddings and more texts"), (4, "4 embeddings for 3 texts")):
        with pytest.raises(BSAError, match=message):
            label_features(threshold_model, ["a", "b", "c"], embeddings=embeddings[:count], show_progress_bar=False)
    with pytest.raises(BSAError, match="must have shape"):
        label_features(threshold_model, ["a"], embeddings=embeddings[:1, :5], show_progress_bar=False)
    with pytest.raises(BSAError, match="NaN"):
        label_features(threshold_model, ["a"], embeddings=np.full((1, 384), np.nan), show_progress_bar=False)
    with pytest.raises(BSAError, match="no text"):
        label_features(threshold_model, [], show_progress_bar=False)


def test_a_single_text_already_gives_labels(threshold_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    atlas = label_features(threshold_model, ["one text"], embeddings=embeddings[:1], show_progress_bar=False)
    assert sum(feature.count for feature in atlas.features) == atlas.active.index(1)
    assert all(feature.auc is None for feature in atlas.features)


def test_finished_embeddings_are_found_by_a_stream_of_the_texts(
    teacher: SentenceTransformer, texts: list[str], cache_dir: Path, embeddings: np.ndarray
) -> None:
    found = finished_embeddings(teacher, iter(texts), cache_dir)
    assert found is not None
    assert np.array_equal(found, cached_embeddings(teacher, texts, cache_dir=cache_dir))
    assert finished_embeddings(teacher, texts[:-1], cache_dir) is None


def _with_head(model: SentenceTransformer, head: BinarySparsityAlignment) -> SentenceTransformer:
    from bsa_st.encoding.encode import rebuild

    return rebuild(model, [*list(model)[:-1], head.eval()])
