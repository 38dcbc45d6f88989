"""The LangChain store, through LangChain's own base class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bsa_st import BSAError
from bsa_st.engines import connect
from tests.smallmodel import WORDS, small_model

TEXTS = [f"{first} {second}" for first in WORDS[:6] for second in WORDS[:5]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_model(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def store(model: Any, tmp_path: Path) -> Any:
    pytest.importorskip("langchain_core")
    pytest.importorskip("lancedb")
    from bsa_st.engines.langchain import BSAVectorStore

    fields = [{"part": place % 2, "tags": ["even"] * (place % 2 == 0)} for place in range(len(TEXTS))]
    ids = [str(place) if place < 10 else f"doc-{place}" for place in range(len(TEXTS))]
    return BSAVectorStore.from_texts(TEXTS, model, fields, ids=ids, url=f"lancedb://{tmp_path / 'store'}")


def test_a_retriever_finds_what_the_engine_finds(store: Any, model: Any) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 3, "filter": {"tags": "even"}})
    found = retriever.invoke(TEXTS[12])
    (ranking,) = store.engine.search(TEXTS[12], 3, model=model, filter={"tags": "even"})
    assert [one.page_content for one in found] == [one["text"] for one in store.engine.payloads(ranking.ids)]
    assert all(one.metadata["part"] == 0 for one in found)
    assert {one.id for one in found} <= {str(place) if place < 10 else f"doc-{place}" for place in range(len(TEXTS))}


def test_scores_fall_and_relevance_lies_between_0_and_1(store: Any) -> None:
    scores = [score for _, score in store.similarity_search_with_score(TEXTS[3], 5)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for _, score in store.similarity_search_with_relevance_scores(TEXTS[3], 5))


def test_documents_are_added_replaced_fetched_and_deleted(store: Any) -> None:
    from langchain_core.documents import Document

    names = store.add_documents([Document("short heart", metadata={"part": 9}), Document("tall hand", id="mine")])
    assert names[1] == "mine"
    assert store.engine.count() == len(TEXTS) + 2
    store.add_documents([Document("left hand", id="mine")])
    assert store.engine.count() == len(TEXTS) + 2
    by_id = {one.id: one for one in store.get_by_ids(["mine", "3", "doc-11", "none"])}
    assert {name: one.page_content for name, one in by_id.items()} == {"mine": "left hand", "3": TEXTS[3], "doc-11": TEXTS[11]}
    assert by_id["3"].metadata == {"part": 1, "tags": []}
    assert store.delete(["mine", "none"])
    assert store.get_by_ids(["mine"]) == []
    with pytest.raises(BSAError, match="say which ids"):
        store.delete()
    with pytest.raises(BSAError, match="must not have the field 'text'"):
        store.add_texts(["a"], [{"text": "b"}])


def test_another_collection_is_refused(model: Any, tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    from bsa_st.engines.langchain import BSAVectorStore

    engine = connect(f"lancedb://{tmp_path / 'store'}")
    engine.create(512)
    with pytest.raises(BSAError, match="holds codes of 512 bits, not of 64"):
        BSAVectorStore(model, engine)
