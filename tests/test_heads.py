"""How the heads that ship are made: the texts they learn from, and the small form that gives the same codes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bsa_st import BSAError, DistillSettings
from bsa_st.head.unrolled import linear_encoder
from bsa_st.shipped.packed import read_fingerprint, read_head, shipped_heads
from bsa_st.training.trainer import train_head
from evaluation.heads.texts import _synsets, training_texts
from evaluation.heads.train import Encoder, facts_of, write_head

pytestmark = pytest.mark.evaluation

NOUN = (
    "  1 This software and database is being provided to you\n"
    "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02083346 n 0000 | a member of the genus Canis; has been domesticated; "
    '"the dog barked all night"; "a good dog"  \n'
)
ADJECTIVE = '00001740 00 a 01 able(p) 0 001 = 05200169 n 0000 | having the necessary means: "able to swim"  \n'


def test_words_definitions_and_examples_are_read_from_wordnet(tmp_path: Path) -> None:
    for name, content in (("noun", NOUN), ("verb", ""), ("adj", ADJECTIVE), ("adv", "")):
        (tmp_path / f"data.{name}").write_text(content)
    assert list(_synsets(tmp_path)) == [
        (
            "dog, domestic dog, Canis familiaris",
            "a member of the genus Canis; has been domesticated",
            ["the dog barked all night", "a good dog"],
        ),
        ("able", "having the necessary means", ["able to swim"]),
    ]


def test_missing_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match=r"data\.noun: cannot be read .*install Debian's wordnet-base"):
        training_texts(tmp_path)


def test_a_written_head_gives_the_same_codes_again(embeddings: np.ndarray, tmp_path: Path) -> None:
    rows = embeddings[:2500] / np.linalg.norm(embeddings[:2500], axis=1, keepdims=True)
    head = train_head(rows, DistillSettings.of_bytes(8, refit_rounds=1, unroll_trials=3), show_progress_bar=False)
    assert torch.equal(head.decoder_weight, head.decoder_weight.half().float())
    facts = facts_of(head, Encoder("org/encoder", "mit", len(rows), (8,)), 8)
    mark = np.full(head.input_dim, head.input_dim**-0.5, np.float32)
    path = write_head(head, facts, mark, tmp_path)
    assert path.name == "encoder-8.safetensors"
    assert (
        path.stat().st_size < 4 * head.decoder_weight.numel()
    )  # three bytes for a number of the decoder and one of the symmetric layer
    (found,) = shipped_heads(tmp_path)
    assert found == facts
    assert np.array_equal(read_fingerprint(found, tmp_path), mark)
    again = read_head(found, tmp_path)
    x = torch.from_numpy(rows[:500])
    assert torch.equal(again.select(again.logits(x)), head.select(head.logits(x)))
    assert (again.symmetric_code(x) == head.symmetric_code(x)).float().mean() > 0.98  # stored in eight bits
    assert head.unrolled is not None
    assert again.unrolled is not None
    assert torch.equal(again.unrolled.codes(x), head.unrolled.codes(x))
    assert torch.equal(again.unrolled.decoder, head.unrolled.decoder)
    path.unlink()
    with pytest.raises(BSAError, match="weights of a shipped head cannot be read"):
        read_head(found, tmp_path)


def test_the_computed_linear_encoder_is_the_least_squares_one_of_an_exact_model() -> None:
    generator = torch.manual_seed(0)
    decoder = torch.randn(24, 16, generator=generator)
    codes = (torch.rand(20_000, 24, generator=generator) > 0.5).float() - 0.5
    x = codes @ decoder + 0.3 * torch.randn(20_000, 16, generator=generator)
    damping = 4 * 0.09 / float((decoder.T @ decoder).diagonal().mean())  # the noise's variance, codes having the variance 1/4
    fitted = torch.linalg.lstsq(x, codes).solution.T
    computed = linear_encoder(decoder, damping)
    agreement = torch.nn.functional.cosine_similarity(fitted, computed, dim=1)
    assert float(agreement.min()) > 0.99
