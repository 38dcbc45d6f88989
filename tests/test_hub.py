"""One folder, two loaders: plain sentence-transformers and bsa_st, and what they do with damaged folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.util import dot_score, semantic_search

import bsa_st
from bsa_st import BSAError
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.unrolled import Steps, StepSchedule, unroll
from bsa_st.hub.export import stock_modules
from demo.hpo import SynonymTask
from tests.smallmodel import WORDS, small_encoder, small_model

# Encodes texts in a process in which `import bsa_st` fails, as on a machine that never heard of it.
PLAIN = """
import json, sys
sys.modules["bsa_st"] = None
import numpy as np
from sentence_transformers import SentenceTransformer
if __name__ == "__main__":
    folder, texts, out, devices = sys.argv[1:5]
    model = SentenceTransformer(folder, device="cpu")
    texts = json.load(open(texts))
    kwargs = {"device": json.loads(devices), "chunk_size": 250} if devices != "null" else {}
    codes = model.encode(texts, **kwargs)
    np.savez(out, codes=codes.astype(np.uint8), exact=np.isin(codes, (0.0, 1.0)).all(), kind=str(codes.dtype),
             packed=model.encode(texts[:100], precision="ubinary"),
             documents=model.encode_document(texts, **kwargs), bits=model.encode_document(texts, precision="ubinary"),
             queries=model.encode_query(texts[:100]), similarity=model.similarity(model.encode_query(texts[:9]), model.encode_document(texts[:9])))
"""


def plain_encode(folder: Path, texts: list[str], tmp_path: Path, devices: list[str] | None = None) -> dict[str, np.ndarray]:
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    command = [sys.executable, "plain.py", str(folder), "texts.json", "out.npz", json.dumps(devices)]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return dict(np.load(tmp_path / "out.npz"))


class Reference(torch.nn.Module):
    """The unrolled encoder of a head as a module, so that it sees the same batches."""

    def __init__(self, head: BinarySparsityAlignment) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert self.head.unrolled is not None
        features["sentence_embedding"] = self.head.unrolled.codes(features["sentence_embedding"]).float()
        return features


@pytest.mark.parametrize("count", [200, pytest.param(5200, marks=pytest.mark.slow)])
def test_plain_loader_agrees_bit_for_bit(count: int, compact_folder: Path, task: SynonymTask, tmp_path: Path) -> None:
    names = [document.split(". ")[0] for document in task.documents][:count]
    plain = plain_encode(compact_folder, names, tmp_path)
    model = bsa_st.load(compact_folder, device="cpu")
    head = head_of(model)
    assert head.unrolled is not None
    linear = model.encode(names)
    unrolled = SentenceTransformer(modules=[*list(model)[:-1], Reference(head)], device="cpu").encode(names)
    dense = SentenceTransformer(modules=list(model)[:-1], device="cpu").encode(names[:100])
    assert str(plain["kind"]) == "float32"
    assert bool(plain["exact"])
    assert np.array_equal(plain["codes"], linear)
    assert np.array_equal(plain["packed"], np.packbits(linear[:100] > 0, axis=1))
    assert np.array_equal(plain["documents"] > 0, unrolled > 0)
    assert np.array_equal(plain["bits"], np.packbits(unrolled > 0, axis=1))
    np.testing.assert_allclose(plain["queries"], dense @ head.unrolled.decoder.numpy().T, atol=1e-5)
    np.testing.assert_allclose(plain["similarity"], plain["queries"][:9] @ plain["documents"][:9].T, atol=1e-4)


def test_documents_hold_zero_or_one_over_their_decoded_length(compact_folder: Path, texts: list[str]) -> None:
    documents = SentenceTransformer(str(compact_folder)).encode_document(texts[:100])
    head = head_of(bsa_st.load(compact_folder))
    assert all(len(np.unique(row)) == 2 and row.min() == 0 for row in documents)
    assert head.unrolled is not None
    squares = np.square((documents > 0) @ head.unrolled.decoder.numpy()).sum(axis=1) + head.unrolled.softening
    np.testing.assert_allclose(documents.max(axis=1), 1 / np.sqrt(squares), rtol=1e-3)


def test_the_unrolled_encoder_decodes_better_than_the_linear_one(
    compact_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    x = torch.from_numpy(embeddings[2000:])
    head = head_of(compact_model)
    assert head.unrolled is not None
    unrolled = torch.cosine_similarity(head.unrolled.codes(x).float() @ head.unrolled.decoder, x)
    linear = torch.cosine_similarity(head.decode(head.select(head.logits(x))), x)
    assert unrolled.mean() > linear.mean() + 0.02


def test_sparse_unrolled_codes_have_k_active_features_on_average(
    threshold_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    head = head_of(threshold_model)
    assert head.unrolled is not None
    codes = head.unrolled.codes(torch.from_numpy(embeddings[2000:]))
    assert codes.float().sum(dim=1).mean() == pytest.approx(head.k, rel=0.15)


def test_layers_are_the_relaxed_steps_that_were_searched(compact_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(compact_model)
    steps = Steps(head.decoder_weight, head.decoder_bias, head.mean, constant=7)
    schedule = StepSchedule((3.0, 5.0, 9.0), (0.0, 0.3, 0.6), (1.0, 2.0, 4.0), start=0.1, threshold=0.05)
    x = torch.from_numpy(embeddings[:300])
    with torch.no_grad():
        expected = steps.logits(x, schedule) > schedule.threshold
    assert (unroll(steps, schedule).codes(x) != expected).float().mean() < 0.005  # weights are rounded to half precision


def test_a_wide_or_unrefitted_head_has_linear_codes_for_documents(tmp_path: Path) -> None:
    encoder = small_encoder(tmp_path / "encoder")
    rows = np.asarray(encoder.encode([f"{first} {second}" for first in WORDS for second in WORDS]))
    for size in (64, 1032):
        settings = {"hidden_dim": size, "k": 8, "steps": 5, "refit_rounds": 0, "show_progress_bar": False}
        bsa_st.save(bsa_st.distill(encoder, rows, **settings), tmp_path / "model")  # type: ignore[arg-type]
        plain = SentenceTransformer(str(tmp_path / "model"))
        assert np.array_equal(plain.encode(WORDS) > 0.5, plain.encode_document(WORDS) > 0.5 * (size > 64))
        assert "one linear layer" in (tmp_path / "model/README.md").read_text()
        assert head_of(bsa_st.load(tmp_path / "model")).unrolled is None


def test_a_folder_is_refused_as_a_sparse_encoder_and_has_a_form_that_is_one(tmp_path: Path) -> None:
    model = small_model(tmp_path / "encoder")
    bsa_st.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="Cannot determine the embedding dimension"):
        SparseEncoder(str(tmp_path / "model"))
    bsa_st.save_sparse_encoder(model, tmp_path / "sparse")
    with pytest.raises(BSAError, match="sparse exists and is not empty"):
        bsa_st.save_sparse_encoder(model, tmp_path / "sparse")
    sparse, plain = SparseEncoder(str(tmp_path / "sparse")), SentenceTransformer(str(tmp_path / "model"))
    queries, documents = sparse.encode_query(WORDS), sparse.encode_document(WORDS)
    np.testing.assert_allclose(queries.to_dense(), plain.encode_query(WORDS), atol=1e-6)
    np.testing.assert_allclose(documents.to_dense(), plain.encode_document(WORDS), atol=1e-6)
    exact = torch.from_numpy(plain.encode_query(WORDS) @ plain.encode_document(WORDS).T)
    torch.testing.assert_close(sparse.similarity(queries, documents).to_dense().cpu(), exact, atol=1e-5, rtol=1e-4)
    hits = semantic_search(queries, documents, score_function=dot_score, top_k=1)
    assert [hit[0]["score"] for hit in hits] == pytest.approx(exact.max(dim=1).values.tolist(), abs=1e-5)


def test_an_unknown_task_is_refused(threshold_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"No route found for task type 'summary'"):
        SentenceTransformer(str(threshold_folder)).encode("a text", task="summary")


@pytest.mark.slow
def test_multi_process_encode_gives_the_same_codes(threshold_folder: Path, texts: list[str], tmp_path: Path) -> None:
    plain = plain_encode(threshold_folder, texts[:300], tmp_path, ["cpu", "cpu"])
    full = bsa_st.load(threshold_folder, device="cpu").encode(texts[:300], device=["cpu", "cpu"], chunk_size=250)
    assert np.array_equal(plain["codes"], full)


def test_bsa_loader_restores_the_head_bit_for_bit(threshold_model: SentenceTransformer, threshold_folder: Path) -> None:
    saved, loaded = head_of(threshold_model), head_of(bsa_st.load(threshold_folder))
    assert loaded.report == saved.report
    assert loaded.get_config_dict() == saved.get_config_dict()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in saved.state_dict().items())
    assert not loaded.training


def test_a_saved_folder_survives_another_save_by_sentence_transformers(
    threshold_folder: Path, texts: list[str], tmp_path: Path
) -> None:
    first = SentenceTransformer(str(threshold_folder))
    first.save_pretrained(str(tmp_path / "again"))
    second = SentenceTransformer(str(tmp_path / "again"))
    assert np.array_equal(first.encode(texts[:60]), second.encode(texts[:60]))
    with pytest.raises(BSAError, match=r"bsa/config\.json: file not found; the folder holds no BSA model"):
        bsa_st.load(tmp_path / "again")


def test_saving_what_was_loaded_gives_the_same_files(threshold_folder: Path, tmp_path: Path) -> None:
    bsa_st.save(bsa_st.load(threshold_folder), tmp_path / "again")
    for name in ("bsa/model.safetensors", "bsa/config.json", "bsa/training.json", "modules.json"):
        assert (tmp_path / "again" / name).read_bytes() == (threshold_folder / name).read_bytes()


def test_topk_codes_are_exact_and_codes_to_compare_have_k_features_on_average(topk_folder: Path, texts: list[str]) -> None:
    full = bsa_st.load(topk_folder)
    assert (bsa_st.encode(full, texts[:60], refine=False).counts == 32).all()
    compared = SentenceTransformer(str(topk_folder)).encode(texts[:100])
    assert np.array_equal(compared[:100], full.encode(texts[:100]))
    assert compared.sum(axis=1).mean() == pytest.approx(32, abs=2)
    assert "calibrated" in (topk_folder / "README.md").read_text()


def test_cosines_of_codes_follow_those_of_embeddings(compact_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(compact_model)
    rows = torch.from_numpy(embeddings[:600])
    wanted = (rows @ rows.T)[np.triu_indices(600, 1)].numpy()

    def correlation(codes: torch.Tensor) -> float:
        unit = torch.nn.functional.normalize(codes, dim=1)
        return float(spearmanr((unit @ unit.T)[np.triu_indices(600, 1)].numpy(), wanted).statistic)

    made_for_it = correlation(head.symmetric_code(rows))
    assert made_for_it > correlation(head.select(head.logits(rows)))
    assert made_for_it > 0.8


def test_half_precision_keeps_nearly_all_bits(threshold_folder: Path, texts: list[str]) -> None:
    exact = SentenceTransformer(str(threshold_folder)).encode(texts[:60])
    for dtype in ("float16", "bfloat16"):
        rough = SentenceTransformer(str(threshold_folder), model_kwargs={"dtype": dtype}).encode(texts[:60])
        assert np.isin(rough, (0.0, 1.0)).mean() > 0.9999
        assert np.minimum(exact, rough).sum() > 0.95 * exact.sum()


@pytest.mark.parametrize("largest", [1.0, 0.2, 0.01, 1e-6])
def test_exported_weights_fit_float16_however_small_the_embeddings_are(largest: float) -> None:
    head = BinarySparsityAlignment(16, 32, 4)
    head.input_bound.fill_(largest)
    for module in stock_modules(head)[0].modules():
        assert all(torch.isfinite(tensor.half()).all() for tensor in module.state_dict().values())


def test_the_full_head_stays_in_float32_behind_an_encoder_in_half_precision(threshold_folder: Path, texts: list[str]) -> None:
    exact = bsa_st.load(threshold_folder)
    for dtype in ("float16", "bfloat16"):
        rough = bsa_st.load(threshold_folder, model_kwargs={"dtype": dtype})
        head = head_of(rough)
        assert all(torch.equal(value, head.state_dict()[name]) for name, value in head_of(exact).state_dict().items())
        codes = rough.encode(texts[:60])
        assert codes.dtype == np.float32
        assert np.isin(codes, (0.0, 1.0)).all()
        assert np.minimum(exact.encode(texts[:60]), codes).sum() > 0.95 * codes.sum()
    head = head_of(exact).half()
    assert {tensor.dtype for tensor in head.state_dict().values()} == {torch.float32}


def test_only_json_and_safetensors_lie_in_the_bsa_folder(threshold_folder: Path) -> None:
    assert sorted(path.name for path in (threshold_folder / "bsa").iterdir()) == [
        "config.json",
        "model.safetensors",
        "training.json",
    ]
    modules = json.loads((threshold_folder / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)


# -- bad folders --------------------------------------------------------------------------------------------------------


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "bsa/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, name: str, value: torch.Tensor | None) -> None:
    path = folder / "bsa/model.safetensors"
    weights = load_file(path)
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    save_file(weights, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f / "bsa"), r"bsa/config\.json: file not found"),
        (lambda f: (f / "bsa/config.json").write_text("{"), r"bsa/config\.json: damaged"),
        (lambda f: (f / "bsa/config.json").write_text("[]"), r"bsa/config\.json: damaged"),
        (lambda f: edit_config(f, format_version=99), r"bsa/config\.json: format version 99 is newer"),
        (lambda f: edit_config(f, format_version=1), r"bsa/config\.json: format version 1 is of an earlier bsa_st.* save it"),
        (lambda f: edit_config(f, format_version=None), r"bsa/config\.json: no format_version"),
        (lambda f: edit_config(f, hidden_dim=10**9), r"bsa/config\.json: hidden_dim must lie between"),
        (lambda f: edit_config(f, hidden_dim="many"), r"bsa/config\.json: .* must be whole numbers"),
        (lambda f: edit_config(f, k=5000), r"bsa/config\.json: k must lie"),
        (lambda f: edit_config(f, selection="best"), r"bsa/config\.json: selection must be one of"),
        (lambda f: edit_config(f, hidden_dim=2048), r"bsa/model\.safetensors: .* expected \(2048"),
        (lambda f: (f / "bsa/model.safetensors").unlink(), r"bsa/model\.safetensors: file not found"),
        (lambda f: os.truncate(f / "bsa/model.safetensors", 5000), r"bsa/model\.safetensors: damaged"),
        (lambda f: edit_weights(f, "bias", torch.full((512,), float("nan"))), r"bsa/model\.safetensors: bias holds NaN"),
        (lambda f: edit_weights(f, "bias", torch.zeros(512).half()), r"bsa/model\.safetensors: bias has shape .* F16"),
        (lambda f: edit_weights(f, "weight", None), r"bsa/model\.safetensors: lacks weight"),
        (lambda f: edit_weights(f, "symmetric", torch.zeros(512, 385)), "not of the same model"),
    ],
)
def test_a_damaged_folder_gives_one_error_that_names_the_file(
    damage: object, message: str, threshold_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(threshold_folder, folder)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(BSAError, match=message):
        bsa_st.load(folder)


@pytest.mark.parametrize("name", ["./no/such/folder", "no/such/model/at/all", "org/absent"])
def test_a_missing_model_is_named(name: str) -> None:
    with pytest.raises(BSAError, match=name):
        bsa_st.load(name)


# -- saving -------------------------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_earlier_model(
    threshold_folder: Path, topk_model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(threshold_folder, folder)
    before = (folder / "bsa/model.safetensors").read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bsa_st.hub.folder.save_file", full)
    with pytest.raises(BSAError, match=r"cannot write the model to .*: No space left on device"):
        bsa_st.save(topk_model, folder)
    assert (folder / "bsa/model.safetensors").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_save_replaces_a_bsa_model_but_nothing_else(topk_model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.save(topk_model, tmp_path / "new" / "model")
    bsa_st.save(topk_model, tmp_path / "new" / "model")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    with pytest.raises(BSAError, match="precious exists and is no BSA model"):
        bsa_st.save(topk_model, tmp_path / "precious")


def test_a_model_without_a_head_cannot_be_saved_or_encode_codes(teacher: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="the model has no BSA head"):
        bsa_st.save(teacher, tmp_path / "x")
    with pytest.raises(BSAError, match="the model has no BSA head"):
        bsa_st.encode(teacher, ["x"])
