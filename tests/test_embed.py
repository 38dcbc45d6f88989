"""Embedding in batches of equal tokens: the same embeddings, hardly any padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from bsa_st.inputs.embed import batches, embed, token_counts


@given(st.lists(st.integers(1, 600), min_size=1, max_size=200), st.integers(1, 4000))
def test_batches_hold_every_text_once_and_at_most_so_many_tokens(counts: list[int], limit: int) -> None:
    array = np.array(counts)
    found = list(batches(array, limit))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(counts)))
    assert all(len(batch) == 1 or len(batch) * array[batch].max() <= limit for batch in found)


def test_hardly_anything_is_padding(teacher: SentenceTransformer, texts: list[str]) -> None:
    counts = token_counts(teacher, texts)
    computed = sum(len(batch) * counts[batch].max() for batch in batches(counts, 2048))
    assert computed < 1.08 * counts.sum()
    by_characters = np.argsort([-len(text) for text in texts], kind="stable")
    usual = sum(len(part) * counts[part].max() for part in np.array_split(by_characters, -(-len(texts) // 32)))
    assert usual > 1.1 * counts.sum()


def test_embeddings_are_those_of_encode_in_the_same_order(teacher: SentenceTransformer, texts: list[str]) -> None:
    some = [*texts[:60], "word " * 1000, *texts[60:100]]
    done: list[int] = []
    found = embed(teacher, some, tokens=256, done=done.append)
    assert sum(done) == len(some)
    assert np.abs(found - teacher.encode(some, show_progress_bar=False)).max() < 1e-5


def test_prompts_go_before_the_texts(teacher: SentenceTransformer) -> None:
    prompts = {"query": "find: "}
    prompted = SentenceTransformer(modules=list(teacher), prompts=prompts, default_prompt_name="query", device="cpu")
    assert np.abs(embed(prompted, ["a heart"]) - teacher.encode(["find: a heart"])).max() < 1e-5
    assert token_counts(teacher, ["one two three", "one"]).tolist() == [5, 3]


def test_an_encoder_without_a_usual_tokenizer_is_measured_in_characters() -> None:
    class Odd:
        tokenizer = None
        max_seq_length = 10

    assert token_counts(Odd(), ["a" * 8, "a" * 400]).tolist() == [3, 10]  # type: ignore[arg-type]
