"""Models that were trained with a prompt for queries and another for documents."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError, Index
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.encoding.encode import rebuild, split_model
from bsa_st.head.layer import head_of
from bsa_st.inputs.prompts import document_prompt, query_prompt, under_prompt
from evaluation.data.embeddings import EmbeddingStore

QUERY, DOCUMENT = "find: ", "a passage about: "


@pytest.fixture(scope="module")
def model(topk_model: SentenceTransformer) -> SentenceTransformer:
    asking = rebuild(topk_model, list(topk_model))
    asking.prompts = {"query": QUERY, "document": DOCUMENT}
    return asking


def test_an_index_asks_with_the_query_prompt_and_stores_with_that_of_documents(
    model: SentenceTransformer, topk_model: SentenceTransformer, texts: list[str]
) -> None:
    index = Index.build(model, texts[:300])
    stored = bsa_st.encode(topk_model, [DOCUMENT + text for text in texts[:300]], refine=True)
    assert index.codes(np.arange(300)) == stored
    hits = index.search(texts[:5], 10)
    plain = Index.build(stored, decoder=topk_model)
    encoder, _ = split_model(topk_model)
    same = plain.search(np.asarray(encoder.encode([QUERY + text for text in texts[:5]])), 10)
    for row, exhaustive in enumerate(bsa_st.search(model, texts[:5], stored, top_k=10).ids):
        assert np.array_equal(hits[row].ids, same[row].ids)
        assert np.array_equal(hits[row].ids, exhaustive)
    named = index.search(texts[:5], 10, prompt_name="document")
    assert not np.array_equal(hits[0].scores, named[0].scores)


def test_an_explanation_explains_the_score_of_the_search(
    model: SentenceTransformer, dictionary: NamedDictionary, texts: list[str]
) -> None:
    named = rebuild(model, [*list(model)[:-1], copy.deepcopy(model[-1])])
    head_of(named).names = dictionary
    index = Index.build(named, texts[:50])
    scores = {}
    for prompt in (None, "document"):
        (hits,) = index.search(texts[60], 1, prompt_name=prompt)
        code = index.codes(hits.ids)
        told = bsa_st.explain(named, texts[60], "the hit", scoring="asymmetric", document=code, prompt_name=prompt)
        assert told.score == pytest.approx(float(hits.scores[0]), abs=1e-5)
        scores[prompt] = told.score
    assert scores[None] != scores["document"]


def test_a_head_learns_from_texts_with_the_prompt_for_documents(
    model: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    """The embeddings that it learns from are those that it will code, and another prompt is another entry of the cache."""
    encoder, _ = split_model(model)
    few = {"hidden_dim": 64, "k": 8, "steps": 2, "refit_rounds": 0, "cache_dir": tmp_path, "show_progress_bar": False}
    learnt = [
        bsa_st.distill(encoder, texts[:200], precision="float32", **few),
        bsa_st.distill(encoder, texts[:200], precision="float32", prompt_name="query", **few),
        bsa_st.distill(encoder, np.asarray(encoder.encode(texts[:200], prompt_name="document")).astype(np.float16), **few),
    ]
    means = [one[-1].mean for one in learnt]
    assert torch.allclose(means[0], means[2], atol=1e-3)
    assert not torch.allclose(means[0], means[1], atol=1e-3)
    assert len(list(tmp_path.iterdir())) == 2
    assert learnt[0].default_prompt_name is None
    plain, _ = split_model(learnt[0])
    assert under_prompt(plain, None) is plain
    plain.prompts = {"query": "", "document": ""}
    assert under_prompt(plain, "document") is plain, "an empty prompt makes no other encoder, and no other cache"


def test_names_and_tags_are_read_from_documents_with_their_prompt(
    model: SentenceTransformer, dictionary: NamedDictionary, texts: list[str]
) -> None:
    named = rebuild(model, [*list(model)[:-1], copy.deepcopy(model[-1])])
    head_of(named).names = dictionary
    encoder, _ = split_model(named)
    dense = np.asarray(encoder.encode(texts[:20], prompt_name="document"))
    assert [[name for name, _ in found] for found in bsa_st.tags(named, texts[:20])] == [
        [dictionary.names[number] for number in ids] for ids, _ in dictionary.fires(dense)
    ]
    fitted = bsa_st.name_features(named, texts[:60], ["kidney", "bone", "seizure"], k=1)
    with_rows = bsa_st.name_features(
        named,
        texts[:60],
        ["kidney", "bone", "seizure"],
        k=1,
        embeddings=np.asarray(encoder.encode(texts[:60], prompt_name="document")),
    )
    assert np.allclose(fitted.mean, with_rows.mean, atol=1e-5)


def test_a_prompt_that_says_something_goes_before_an_empty_one(topk_model: SentenceTransformer) -> None:
    """sentence-transformers gives every model an empty ``document``, also one that has its own ``passage``."""
    model = SentenceTransformer(modules=list(topk_model), prompts={"query": QUERY, "passage": DOCUMENT})
    assert model.prompts["document"] == ""
    assert document_prompt(model) == "passage"
    assert query_prompt(model) == "query"
    assert document_prompt(model, "document") == "document"
    assert document_prompt(SentenceTransformer(modules=list(topk_model))) == "document"


def test_collections_are_encoded_with_the_prompt_for_documents(
    model: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    stored = bsa_st.encode_to_shards(model, texts[:50], tmp_path / "shards")
    assert stored.load() == bsa_st.encode(model, texts[:50], refine=True, prompt_name="document")


def test_the_evaluation_puts_no_prompt_before_texts(
    model: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path))
    encoder, _ = split_model(model)
    asking = under_prompt(encoder, "query")
    store = EmbeddingStore(asking)
    plain = np.asarray(encoder.encode(texts[:20], prompt=""))
    assert np.allclose(store.evaluation(texts[:20]), plain, atol=2e-3)
    assert not np.allclose(store.evaluation(texts[:20]), np.asarray(asking.encode(texts[:20])), atol=2e-2)
    assert asking.default_prompt_name == "query"


def test_embeddings_that_are_made_already_take_no_prompt(model: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="prompt_name 'query' needs texts"):
        bsa_st.distill(split_model(model)[0], np.ones((20, 384), np.float32), prompt_name="query")


def test_an_unknown_prompt_is_named(model: SentenceTransformer, texts: list[str]) -> None:
    index = Index.build(model, texts[:20])
    for call in (
        lambda: index.search(texts[0], prompt_name="no"),
        lambda: bsa_st.encode(model, texts[:2], prompt_name="no"),
        lambda: bsa_st.search(model, texts[:2], index.codes([0, 1]), prompt_name="no"),
        lambda: bsa_st.distill(split_model(model)[0], texts[:20], prompt_name="no"),
    ):
        with pytest.raises(BSAError, match="the model has no prompt 'no'; it has query, document"):
            call()
