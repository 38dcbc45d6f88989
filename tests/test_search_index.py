"""The index beside brute force: every scoring, form, filter and change; bad input; threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.codes import scoring
from bsa_st.search import Ranking, rescoring
from bsa_st.search import index as index_module

WIDTH = 12
ALL = 10**6
SHARES = {"often": 0.9, "Sometimes": 0.4, "seldom": 0.02}
"""Tags, and the share of the documents that have them."""


def random_codes(rng: np.random.Generator, count: int, hidden_dim: int, rate: float) -> BinaryCodes:
    """Codes of very different sizes, empty ones among them."""
    return BinaryCodes.from_dense(rng.random((count, hidden_dim)) < rate * 2 * rng.random((count, 1)))


def tags_of(place: int) -> list[tuple[str, float]]:
    """Tags with strengths; the vocabulary grows with the places."""
    return [(f"third {place % 3}", 0.5), (f"place {place // 100}", 0.25)]


def random_decoder(rng: np.random.Generator, hidden_dim: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((hidden_dim, WIDTH)).astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)


def check(found: list[Ranking], expected: np.ndarray, names: np.ndarray, top_k: int, tolerance: float = 1e-4) -> None:
    """Scores are the best of the reference, in order, and each is its document's; ties need not be in the same order."""
    place = {int(name): column for column, name in enumerate(names)}
    assert len(found) == len(expected)
    for ranking, values in zip(found, expected, strict=True):
        best = np.sort(values[np.isfinite(values)])[::-1][:top_k]
        assert len(ranking.ids) == len(ranking.scores) == len(best)
        assert (ranking.ids.dtype, ranking.scores.dtype) == (np.int64, np.float32)
        np.testing.assert_allclose(ranking.scores, best, rtol=tolerance, atol=tolerance)
        assert len(set(ranking.ids.tolist())) == len(ranking.ids)
        own = [values[place[name]] for name in ranking.ids.tolist()]
        np.testing.assert_allclose(ranking.scores, own, rtol=tolerance, atol=tolerance)


FORMS = {"bits": ([5, 64, 200], 0.3), "ids": ([1100, 3000], 0.01)}
"""How an index holds codes, and widths and the share of active features where it does so."""


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_scoring_is_brute_force_where_every_document_is_a_candidate(form: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    widths, rate = FORMS[form]
    count, hidden_dim = data.draw(st.integers(1, 300)), data.draw(st.sampled_from(widths))
    codes, decoder = random_codes(rng, count, hidden_dim, rate), random_decoder(rng, hidden_dim)
    ids = rng.permutation(10 * count)[:count].astype(np.int64) + data.draw(st.sampled_from([0, 1 << 40]))
    lists = data.draw(st.sampled_from([None, 1, min(7, count), min(30, count)]))
    tags = [[name for name, share in SHARES.items() if rng.random() < share] for _ in range(count)]
    index = Index.build(codes, ids=ids, tags=[*tags[:-1], [*SHARES]], decoder=decoder, lists=lists)
    tags[-1] = [*SHARES]  # so that every name is known
    assert ("packed" in index.stats().part_bytes) == (form == "bits")
    gone = ids[rng.random(count) < 0.2]
    index.delete(gone)
    kept = ~np.isin(ids, gone)
    top_k, probes = data.draw(st.sampled_from([1, 10, 400])), data.draw(st.sampled_from([1, 3, ALL]))
    wanted = data.draw(st.sampled_from(["all", "ids", "mask"]))
    chosen = rng.random(count) < 0.5 if wanted != "all" else np.ones(count, bool)
    options: dict[str, object] = {"top_k": top_k, "candidates": ALL, "threads": data.draw(st.sampled_from([1, 3]))}
    if wanted == "ids":
        options["filter"] = np.concatenate([ids[chosen], [5 << 50]])
    if wanted == "mask":
        options["filter"] = np.isin(index.ids, ids[chosen])
    for argument in ("with_tags", "without_tags"):
        asked_for = data.draw(st.lists(st.sampled_from([*SHARES]), max_size=2))
        options[argument] = asked_for
        kept &= [all((name in own) == (argument == "with_tags") for name in asked_for) for own in tags]
    kept &= chosen
    queries, asked = rng.standard_normal((4, WIDTH)).astype(np.float32), random_codes(rng, 3, hidden_dim, rate)
    documents, names = codes[kept], ids[kept]
    exact = scoring.asymmetric_scores(queries, documents, *decoder)
    check(index.search(queries, probes=ALL, **options), exact, names, top_k)  # type: ignore[arg-type]
    few = index.search(queries, probes=probes, **options)  # type: ignore[arg-type]
    for ranking, values in zip(few, exact, strict=True):  # as many as asked for, each with its own score, whatever is probed
        own = dict(zip(names.tolist(), values.tolist(), strict=True))
        assert len(ranking.ids) == min(top_k, len(names))
        np.testing.assert_allclose(ranking.scores, [own[name] for name in ranking.ids.tolist()], rtol=1e-4, atol=1e-4)
    for kind in ("overlap", "cosine"):
        shared = scoring.scores(asked, documents, kind)  # type: ignore[arg-type]
        expected = np.where(shared > 0, shared, -np.inf)
        check(index.search(asked, scoring=kind, **options), expected, names, top_k)  # type: ignore[arg-type]
    decoded = scoring.asymmetric_scores(scoring.decode(asked, *decoder), documents, *decoder)
    check(index.search(asked, scoring="decoded", probes=ALL, **options), decoded, names, top_k, 1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_changes_in_any_order_equal_a_new_index(form: str) -> None:
    rng = np.random.default_rng(5)
    (*_, width), rate = FORMS[form]
    codes, decoder = random_codes(rng, 2000, width, rate), random_decoder(rng, width)
    options: dict[str, Any] = {"tags": map(tags_of, range(100)), "decoder": decoder, "lists": 30}
    index, merges = Index.build(codes[:100], [f"text {name}" for name in range(100)], **options), 0
    rows = {name: name for name in range(100)}
    queries = rng.standard_normal((5, WIDTH)).astype(np.float32)
    for step in range(60):
        kind = rng.integers(0, 5)
        if kind <= 1:
            count = int(rng.choice([1, 5, index_module.RECENT // 2]))
            places, recent = rng.integers(0, 2000, count), index._segment.recent
            added = index.add(codes[places], texts=[f"text {place}" for place in places], tags=map(tags_of, places.tolist()))
            rows |= dict(zip(added.tolist(), places.tolist(), strict=True))
            merges += index._segment.recent < recent
        elif kind == 2:
            gone = rng.choice(list(rows), 5, replace=False)
            index.delete(gone)
            rows = {name: place for name, place in rows.items() if name not in gone}
        elif kind == 3:
            names, places = rng.choice(list(rows), 3, replace=False), rng.integers(0, 2000, 3)
            index.update(names, codes[places], texts=[f"text {place}" for place in places], tags=map(tags_of, places.tolist()))
            rows |= dict(zip(names.tolist(), places.tolist(), strict=True))
        elif step % 11 == 0:
            index.compact()
        names = np.array(sorted(rows))
        documents = codes[np.array([rows[name] for name in names.tolist()])]
        assert len(index) == len(rows)
        assert sorted(index.ids.tolist()) == names.tolist()
        exact = scoring.asymmetric_scores(queries, documents, *decoder)
        check(index.search(queries, 7, probes=ALL, candidates=ALL), exact, names, 7)
        some = rng.choice(names, 4, replace=False)
        assert index.codes(some) == codes[np.array([rows[name] for name in some.tolist()])]
        wanted = [f"text {rows[name]}" for name in some.tolist()]
        assert index.texts([*some, *some]) == 2 * wanted  # as ids of several queries' hits come
        counted = Counter(tag for name in rows for tag, _ in tags_of(rows[name]))
        facets = index.facets(names)
        assert dict(facets) == counted
        assert [count for _, count in facets] == sorted(counted.values(), reverse=True)
        (hits,) = index.search(queries[:1], ALL, with_tags=["third 1"])
        assert sorted(hits.ids.tolist()) == [name for name in names.tolist() if rows[name] % 3 == 1]
    assert merges > 1
    assert index.stats().lists == 30


def test_documents_without_tags_stand_beside_those_that_have_some() -> None:
    index, codes = small(4)
    assert index.facets([0, 1]) == []
    (added,) = index.add(codes[:1], tags=[["Febrile seizure", "Seizure", "Seizure"]])
    index.add(codes[1:2])
    assert index.facets(index.ids) == [("Febrile seizure", 1), ("Seizure", 1)]
    assert index.search(np.ones(WIDTH), with_tags=["Seizure"])[0].ids.tolist() == [added]
    assert len(index.search(np.ones(WIDTH), without_tags=["Seizure"])[0].ids) == 5
    assert index.search(np.ones(WIDTH), with_tags=["Seizure"], filter=[0, 1])[0].ids.tolist() == []
    index.update([added], codes[:1])
    assert index.facets(index.ids) == []
    assert index.search(np.ones(WIDTH), with_tags=["Seizure"])[0].ids.tolist() == []


def test_candidates_and_lists_find_nearly_everything() -> None:
    """Compact codes of clustered directions: what scoring every code finds is found."""
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal((256, WIDTH)).astype(np.float32), np.zeros(WIDTH, np.float32)
    centres = rng.standard_normal((200, WIDTH))
    dense = centres[rng.integers(0, 200, 20_000)] + 0.4 * rng.standard_normal((20_000, WIDTH))
    codes = BinaryCodes.from_dense(dense @ decoder[0].T + rng.standard_normal((20_000, 256)) > 0)
    queries = (centres[rng.integers(0, 200, 50)] + 0.4 * rng.standard_normal((50, WIDTH))).astype(np.float32)
    best = scoring.top_k(scoring.asymmetric_scores(queries, codes, *decoder), 10).ids

    def share(index: Index) -> float:
        found = index.search(queries, candidates=1000)
        return (
            float(np.mean([len(set(one.ids.tolist()) & set(row.tolist())) for one, row in zip(found, best, strict=True)])) / 10
        )

    assert share(Index.build(codes, decoder=decoder)) > 0.95
    assert share(Index.build(codes, decoder=decoder, lists=256)) > 0.95


@pytest.mark.parametrize("lists", [0, 9])
def test_scores_are_divided_by_softened_lengths(lists: int) -> None:
    rng = np.random.default_rng(3)
    codes, (weight, offset) = random_codes(rng, 400, 64, 0.5), random_decoder(rng, 64)
    index = Index.build(codes, decoder=(weight, offset, 40.0), lists=lists)
    index.add(codes[:20])
    queries = rng.standard_normal((4, WIDTH)).astype(np.float32)
    everything = BinaryCodes.concatenate([codes, codes[:20]])
    exact = scoring.asymmetric_scores(queries, everything, weight, offset, 40.0)
    check(index.search(queries, 30, candidates=ALL, probes=ALL), exact, np.arange(420), 30)


def test_what_was_added_since_is_found_whatever_is_probed() -> None:
    rng = np.random.default_rng(4)
    codes, decoder = BinaryCodes.from_dense(rng.random((2100, 64)) < 0.5), random_decoder(rng, 64)
    index = Index.build(codes[:2000], decoder=decoder, lists=32)
    index.add(codes[2000:2100])
    assert index._segment.recent == 100
    documents = scoring.decode(codes[2000:2100], *decoder)
    found = index.search(documents, 5, probes=1, candidates=200)
    assert all(2000 + place in one.ids for place, one in enumerate(found))
    index.compact()
    assert index._segment.recent == 0


@pytest.fixture(scope="module")
def large() -> tuple[Index, BinaryCodes]:
    """More documents than are looked at one and all."""
    rng = np.random.default_rng(1)
    codes = BinaryCodes.from_packed(rng.integers(0, 256, (260_000, 4), dtype=np.uint8))
    return Index.build(codes, decoder=random_decoder(rng, 32)), codes


def test_a_large_index_has_lists(large: tuple[Index, BinaryCodes]) -> None:
    assert large[0].stats().lists == 1024


@pytest.mark.parametrize("count", [2000, rescoring.FEW + 1, 130_000])
def test_a_filter_of_far_documents_is_answered(count: int, large: tuple[Index, BinaryCodes]) -> None:
    index, codes = large
    assert index.decoder is not None
    query = np.random.default_rng(2).standard_normal((1, WIDTH)).astype(np.float32)
    exact = scoring.asymmetric_scores(query, codes, *index.decoder)[0]
    worst = np.argsort(exact)[:count]
    (found,) = index.search(query, 20, filter=worst, candidates=count, probes=ALL)
    assert set(found.ids.tolist()) <= set(worst.tolist())
    np.testing.assert_allclose(found.scores, np.sort(exact[worst])[::-1][:20], rtol=1e-4)
    few = index.search(query, 20, filter=worst, candidates=200, probes=5)[0]  # what the scan finds first is not let through
    assert len(few.ids) == 20
    assert set(few.ids.tolist()) <= set(worst.tolist())


def test_searches_while_documents_come_and_go_see_one_moment() -> None:
    rng = np.random.default_rng(2)
    codes, decoder = random_codes(rng, 3000, 64, 0.5), random_decoder(rng, 64)
    index = Index.build(codes[:1000], decoder=decoder)
    query = rng.standard_normal((1, WIDTH)).astype(np.float32)
    exact = scoring.asymmetric_scores(query, codes, *decoder)[0]
    failures: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            (found,) = index.search(query, 10)
            if len(found.ids) != 10 or not np.allclose(found.scores, exact[found.ids % 3000], atol=1e-4):
                failures.append(str(found))

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(1000, 3000, 100):
        index.add(codes[start : start + 100])
        index.delete(np.arange(start - 1000, start - 950))
    index.compact()
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures


def small(count: int = 20) -> tuple[Index, BinaryCodes]:
    rng = np.random.default_rng(0)
    codes = random_codes(rng, count, 64, 0.5)
    return Index.build(codes, decoder=random_decoder(rng, 64)), codes


def test_an_empty_index_finds_nothing_and_can_grow() -> None:
    index, codes = small()
    empty = Index.build(codes[:0], decoder=index.decoder)
    assert [len(one.ids) for one in empty.search(np.ones((2, WIDTH), np.float32))] == [0, 0]
    assert len(empty.search(codes[:3], scoring="overlap")[0].ids) == 0
    assert empty.search(np.zeros((0, WIDTH), np.float32)) == []
    assert empty.add(codes[:5]).tolist() == [0, 1, 2, 3, 4]
    assert sorted(empty.ids.tolist()) == [0, 1, 2, 3, 4]
    index.delete(index.ids)
    assert len(index.search(np.ones(WIDTH))[0].ids) == 0
    assert index.add(codes[:1]).tolist() == [20], "an id is not given again"


def test_a_vector_is_one_query_and_top_k_beyond_the_size_gives_all() -> None:
    index, _ = small()
    (found,) = index.search(np.ones(WIDTH), 1000)
    assert sorted(found.ids.tolist()) == list(range(20))


def test_bad_input_is_named() -> None:
    index, codes = small()
    tagged = Index.build(codes[:2], tags=[["Seizure"], ["Deafness"]], decoder=index.decoder)
    dense = np.ones((1, WIDTH), np.float32)
    bad: list[tuple[object, str]] = [
        (lambda: Index.build(codes[:2], ids=[3, 3]), "id 3 is given more than once"),
        (lambda: Index.build(codes[:3], ids=[3, 1]), "3 documents need 3 ids"),
        (lambda: Index.build(codes[:1], ids=[-1]), "ids must lie between 0"),
        (lambda: Index.build(codes[:1], ids=[0.5]), "ids must be a one-dimensional list of integers"),
        (lambda: Index.build(codes[:2], ["one"]), "2 documents need 2 texts, got 1"),
        (lambda: Index.build(codes[:2], tags=[["one"]]), "2 documents need 2 lists of tags, got 1"),
        (
            lambda: Index.build(codes[:2], tags=["one", "two"]),
            "the tags of a document are a list of names, got 'one' for number 1",
        ),  # type: ignore[arg-type]
        (lambda: Index.build(codes[:2], tags=[["one"], [2]]), r"list of names, got \[2\] for number 2"),  # type: ignore[list-item]
        (lambda: Index.build(codes[:1], tags=[None]), "list of names, got None for number 1"),  # type: ignore[list-item]
        (lambda: index.search(dense, with_tags=["Seizure"]), "with_tags needs an index with tags"),
        (lambda: tagged.search(dense, with_tags="Seizure"), "with_tags is a list of names, got the text 'Seizure'"),
        (lambda: tagged.search(dense, without_tags=["seizures"]), "no tag is named 'seizures'; the nearest is 'Seizure'"),
        (lambda: tagged.search(dense, with_tags=[7]), "no tag is named 7$"),  # type: ignore[list-item]
        (lambda: tagged.facets([99]), "id 99 is not in the index"),
        (lambda: Index.build(codes, lists=21), "lists must lie between 0 and the number of documents, 20"),
        (lambda: Index.build(codes, decoder=(np.ones((3, 2)), np.ones(2))), "the codes have 64 features, the decoder 3"),
        (lambda: index.add(codes[:2], ids=[40, 19]), "id 19 is already in the index"),
        (lambda: index.add(BinaryCodes([0], [0, 1], 8)), "the index has 64 features, the codes 8"),
        (lambda: index.add(["text"]), "adding texts needs the model"),
        (lambda: index.delete([1, 77]), "id 77 is not in the index"),
        (lambda: index.delete([5, 5]), "id 5 is given more than once"),
        (lambda: index.update([20], codes[:1]), "id 20 is not in the index"),
        (lambda: index.update([1], BinaryCodes([0], [0, 1], 8)), "the index has 64 features"),
        (lambda: index.codes([99]), "id 99 is not in the index"),
        (lambda: index.texts([99]), "id 99 is not in the index"),
        (lambda: index.search("text"), "searching texts needs the model"),
        (lambda: index.search(dense * np.nan), "NaN or infinite"),
        (lambda: index.search(np.ones((1, 5))), r"dense queries must have shape \(n, 12\)"),
        (lambda: index.search(BinaryCodes([0], [0, 1], 8)), "the index has 64 features, the queries 8"),
        (lambda: index.search(codes[:1], scoring="asymmetric"), "asymmetric scores need dense queries"),
        (lambda: index.search(dense, scoring="overlap"), "need codes as queries"),
        (lambda: index.search(dense, scoring="jaccard"), "scoring must be one of asymmetric, decoded, overlap, cosine"),  # type: ignore[arg-type]
        (lambda: index.search(dense, filter=[True]), "a mask must have one entry for each of the 20 documents"),
        (lambda: index.search(dense, filter=[0.5]), "filter must be a boolean mask or a list of ids"),
        (lambda: Index.build(codes).search(dense), "asymmetric scores need a decoder"),
    ]
    bad += [
        (lambda name=name, value=value: index.search(dense, **{name: value}), f"{name} must be a whole number")
        for name in ("top_k", "probes", "candidates", "threads")
        for value in (0, True, 1.5)
    ]
    for call, message in bad:
        with pytest.raises(BSAError, match=message):
            call()  # type: ignore[operator]
    assert len(index) == 20
    assert index.codes(np.arange(20)) == codes


def test_searching_codes_does_not_import_torch() -> None:
    program = "import sys, bsa_st.search.index; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_search_stays_the_function_when_its_modules_are_imported() -> None:
    program = "import bsa_st, bsa_st.search.index; print(type(bsa_st.search).__name__, bsa_st.Index.__name__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["function", "Index"]
