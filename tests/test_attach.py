"""Heads that ship: small, known by what their encoder outputs, and worth attaching."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

import bsa_st
from bsa_st.concepts.dictionary import Candidates, fit_dictionary, unit
from bsa_st.head.layer import head_of
from bsa_st.shipped.attach import recognise
from bsa_st.shipped.packed import FOLDER, HeadFacts, names_file, read_fingerprint, read_head, read_names, shipped_heads
from demo.hpo import SynonymTask
from demo.run import packaged_teacher
from evaluation.heads.train import write_names
from tests.smallmodel import small_encoder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
HEADS = shipped_heads()


def found(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of each row's ten true columns among its ten best."""
    best = np.argsort(-scores, axis=1)[:, :10]
    return float((best[:, :, None] == truth[:, None, :]).any(axis=1).mean())


@pytest.fixture(scope="module")
def attached() -> SentenceTransformer:
    return bsa_st.attach(packaged_teacher())


@pytest.fixture(scope="module")
def names(task: SynonymTask) -> list[str]:
    """1,000 names and synonyms: texts of a kind that no head has learnt from."""
    return [task.training[place] for place in np.random.default_rng(1).permutation(len(task.training))[:1000]]


@pytest.fixture(scope="module")
def dense(teacher: SentenceTransformer, names: list[str]) -> np.ndarray:
    return np.asarray(teacher.encode(names, show_progress_bar=False))


def test_the_heads_that_ship_are_those_that_the_readme_names() -> None:
    assert 64 in {facts.code_bytes for facts in HEADS if facts.encoder == MINILM}
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text()
    lines = readme.split("<!-- heads -->\n")[1].split("<!-- end of heads -->")[0].splitlines()[2:]
    named = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines}
    shipped = {
        (
            facts.encoder,
            "`sparse=True`" if facts.code_bytes is None else f"`code_bytes={facts.code_bytes}`",
            str(facts.hidden_dim // 8),
        )
        for facts in HEADS
    }
    assert {row[:3] for row in named} == shipped


@pytest.mark.parametrize("facts", HEADS, ids=lambda facts: facts.name)
def test_a_head_is_small_whole_and_has_a_card(facts: HeadFacts) -> None:
    assert (FOLDER / f"{facts.name}.safetensors").stat().st_size < 1_000_000
    card = (FOLDER / f"{facts.name}.md").read_text()
    assert facts.encoder in card
    assert "WordNet" in card
    head = read_head(facts)
    assert head.unrolled is not None
    assert abs(float(np.linalg.norm(read_fingerprint(facts))) - 1) < 1e-3
    x = torch.nn.functional.normalize(head.mean + 0.1 * torch.randn(50, facts.input_dim, generator=torch.manual_seed(0)), dim=1)
    for codes in (head.unrolled.codes(x), head.select(head.logits(x))):
        share = float(codes.float().mean())
        assert 0.3 < share / (facts.k / facts.hidden_dim) < 3


def test_attached_codes_find_what_sign_bits_do_not(attached: SentenceTransformer, names: list[str], dense: np.ndarray) -> None:
    queries, documents = dense[:100], dense[100:]
    truth = np.argsort(-queries @ documents.T, axis=1)[:, :10]
    head = head_of(attached)
    codes = bsa_st.encode(attached, names[100:])
    assert codes.hidden_dim == 512
    decoded = head.decode(torch.from_numpy(codes.to_dense())).detach().numpy()
    refined = found(queries @ (decoded / np.linalg.norm(decoded, axis=1, keepdims=True)).T, truth)
    mean = documents.mean(axis=0)
    signs = found((queries - mean) @ np.sign(documents - mean).T, truth)
    assert refined > signs + 0.05


def test_plain_sentence_transformers_runs_an_attached_model(
    attached: SentenceTransformer, names: list[str], dense: np.ndarray, tmp_path: Path
) -> None:
    bsa_st.save(attached, tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model"))
    bits = plain.encode_document(names[100:150], precision="ubinary")
    assert bits.shape == (50, 64)
    head = head_of(attached)
    assert head.unrolled is not None
    assert np.array_equal(np.unpackbits(bits, axis=1), head.unrolled.codes(torch.from_numpy(dense[100:150])).numpy())
    again = bsa_st.load(tmp_path / "model")
    assert torch.equal(head_of(again).decoder_weight, head.decoder_weight)
    assert MINILM in (tmp_path / "model" / "README.md").read_text()


def test_the_sparse_head_comes_with_names(names: list[str], tmp_path: Path) -> None:
    model = bsa_st.attach(packaged_teacher(), sparse=True)
    dictionary = head_of(model).names
    assert dictionary is not None
    assert names_file(MINILM).stat().st_size < 1_000_000
    tagged = bsa_st.tags(model, ["The surgeon operated on the patient's heart.", "Interest rates of the bank rose last year."])
    assert {"surgeon", "heart"} & {word for name, _ in tagged[0] for word in name.split()}
    assert {"bank", "interest"} & {word for name, _ in tagged[1] for word in name.split()}
    texts = names[:50]
    counts = [len(tags) for tags in bsa_st.tags(model, texts)]
    assert 2 < np.mean(counts) <= dictionary.k
    bsa_st.save(model, tmp_path / "model")
    assert bsa_st.tags(bsa_st.load(tmp_path / "model"), texts) == bsa_st.tags(model, texts)


def test_names_are_the_same_after_rounding_to_eight_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    atoms, texts = (unit(random.normal(size=(rows, 64))) for rows in (40, 500))
    fitted = fit_dictionary(Candidates([f"name {number}" for number in range(40)], atoms), texts, k=4)
    write_names(fitted, texts, "some/encoder", tmp_path)
    again = read_names("some/encoder", tmp_path)
    assert again is not None
    assert (again.names, again.k) == (fitted.names, fitted.k)
    assert (again.atoms * fitted.atoms).sum(axis=1).min() > 0.9995
    assert np.abs(again.rates - fitted.rates).max() < 0.01
    assert read_names("some/other", tmp_path) is None


def test_a_renamed_copy_in_half_precision_is_recognised(tmp_path: Path) -> None:
    teacher = packaged_teacher()
    teacher.half().save_pretrained(str(tmp_path / "mine"), create_model_card=False)
    assert recognise(SentenceTransformer(str(tmp_path / "mine"))) == MINILM
    assert head_of(bsa_st.attach(tmp_path / "mine", code_bytes=64)).hidden_dim == 512


def test_an_encoder_without_normalize_is_recognised() -> None:
    modules = [module for module in packaged_teacher() if not isinstance(module, Normalize)]
    model = bsa_st.attach(SentenceTransformer(modules=modules, device="cpu"))
    assert isinstance(model[-2], Normalize)


def test_a_wrong_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bsa_st.BSAError, match=r"no head ships for an encoder of width 16: heads ship for .*bsa_st.distill"):
        bsa_st.attach(small_encoder(tmp_path))
    changed = packaged_teacher()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.manual_seed(0))
    with pytest.raises(
        bsa_st.BSAError, match="no head ships for this encoder: it has the width of sentence-transformers/all-MiniLM"
    ):
        bsa_st.attach(changed)


def test_a_size_that_does_not_ship_is_refused_with_those_that_do() -> None:
    with pytest.raises(bsa_st.BSAError, match=r"no head of 40 bytes ships for .*, only of .*64.* bytes"):
        bsa_st.attach(packaged_teacher(), code_bytes=40)
    with pytest.raises(bsa_st.BSAError, match="not both"):
        bsa_st.attach(packaged_teacher(), code_bytes=32, sparse=True)
    with pytest.raises(bsa_st.BSAError, match="teacher model folder not found"):
        bsa_st.attach("./nowhere")


def test_the_command_attaches_and_refuses(tmp_path: Path, refusal: Callable[..., str]) -> None:
    packaged_teacher().save_pretrained(str(tmp_path / "encoder"), create_model_card=False)
    command = [sys.executable, "-m", "bsa_st", "attach"]
    made = subprocess.run([*command, "encoder", "model"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert made.stdout == "Model saved in model\n"
    assert made.stderr == ""
    config = json.loads((tmp_path / "model" / "bsa" / "config.json").read_text())
    assert (config["hidden_dim"], config["k"]) == (512, 256)
    assert "bsa-st: no head of 7 bytes ships" in refusal(["attach", "encoder", "other", "--code-bytes", "7"], tmp_path)
    assert not (tmp_path / "other").exists()


def test_importing_the_package_reads_no_head() -> None:
    program = "import sys, bsa_st; assert not any(name in sys.modules for name in ('torch', 'bsa_st.shipped'))"
    subprocess.run([sys.executable, "-c", program], check=True)
