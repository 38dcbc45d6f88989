"""The page about reviewers' questions: a quick run end to end, resuming, and what its parts claim."""

from __future__ import annotations

import json
from pathlib import Path

import mteb
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bsa_st import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.losses import BSALoss
from evaluation.paper import ablations, cost, domains, objectives
from evaluation.paper.__main__ import app
from evaluation.paper.bsa_variants import BSAVariant
from evaluation.paper.cells import Cell, run_cell
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.baselines import baseline
from evaluation.paper.quality import retrieval
from evaluation.paper.sections import SECTIONS, choose_sections

OWN = ("objectives", "ablations", "domains", "cost")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Folder of a finished quick run of this module's sections."""
    folder = tmp_path_factory.mktemp("paper")
    run(folder, cache_dir)
    return folder


def run(folder: Path, cache_dir: Path, *more: str) -> None:
    places = ["--work", str(folder / "work"), "--output", str(folder), "--cache-dir", str(cache_dir)]
    app(["--quick", "--sections", ",".join(OWN), *places, *more], standalone_mode=False)


def test_quick_run_measures_every_cell_and_shows_every_section(quick: Path) -> None:
    page = (quick / "PAPER.md").read_text()
    for name in OWN:
        measured = json.loads((quick / "paper" / "results" / f"{name}.json").read_text())
        assert set(measured) == {cell.name for cell in SECTIONS[name].cells(True)}
        assert f"## {SECTIONS[name].title}" in page
    assert "Not measured" not in page
    for line in page.splitlines():
        if line.startswith("!["):
            assert (quick / line.split("](")[1].rstrip(")")).stat().st_size > 1000


def test_figures_of_the_page_come_from_the_results(quick: Path) -> None:
    results = json.loads((quick / "paper" / "results" / "objectives.json").read_text())
    value = results["bsa-0"]["overlap"]["score"]
    assert f"{value:.4f}".lstrip("0") in (quick / "PAPER.md").read_text()


def test_finished_cells_are_not_measured_again(quick: Path, cache_dir: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (quick / "work").rglob("*.json")}
    assert kept
    page = (quick / "PAPER.md").read_bytes()
    run(quick, cache_dir)
    assert {path: path.stat().st_mtime_ns for path in (quick / "work").rglob("*.json")} == kept
    assert (quick / "PAPER.md").read_bytes() == page


def test_a_cell_without_its_data_is_left_unmeasured_and_says_why(tmp_path: Path) -> None:
    def absent(inputs: Inputs) -> dict[str, int]:
        inputs.collection("scifact")
        return {}

    assert run_cell(Cell("absent", absent), Inputs(quick=True), tmp_path) == "scifact needs --data"
    assert not list(tmp_path.iterdir())


def test_unknown_section_names_the_nearest() -> None:
    with pytest.raises(BSAError, match="unknown section 'ablation'; did you mean 'ablations'"):
        choose_sections("ablation")


def test_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match=r"data folder not found: .*nowhere"):
        Inputs(tmp_path / "nowhere")


def test_quality_of_floats_equals_what_mteb_says(cache_dir: Path) -> None:
    inputs = Inputs(quick=True, cache_dir=cache_dir)
    collection = inputs.collection("hpo")
    mine = retrieval(baseline("float32"), collection, "symmetric")
    result = mteb.evaluate(inputs.encoder, collection.task.task, cache=None, co2_tracker=False)
    assert mine["score"] == pytest.approx(result[0].scores["test"][0]["ndcg_at_10"], abs=2e-5)
    assert mine["bytes"] == 4 * 384


def test_every_cell_has_its_own_name() -> None:
    for section in (objectives, ablations, domains, cost):
        for fast in (False, True):
            names = [cell.name for cell in section.cells(fast)]
            assert len(set(names)) == len(names)
            assert all("/" not in name for name in names)


def head_and_batch() -> tuple[BinarySparsityAlignment, torch.Tensor]:
    torch.manual_seed(0)
    head = BinarySparsityAlignment(24, 96, 8, "topk").train()
    x = F.normalize(torch.randn(300, 24) + 0.5, dim=1)
    head.initialise(x)
    return head, x


def test_variant_without_changes_is_bsa() -> None:
    head, x = head_and_batch()
    expected = BSALoss(torch.nn.Sequential(head)).head_loss(head({"sentence_embedding": x}))  # type: ignore[arg-type]
    variant = BSAVariant()
    variant.prepare(head, x)
    found = variant.loss(head, x)
    for name in expected:
        assert float(found[name].detach()) == pytest.approx(float(expected[name].detach()), abs=1e-6)


@pytest.mark.parametrize("initialisation", ["data", "principal"])
def test_other_initialisations_start_at_the_same_firing_rate(initialisation: str) -> None:
    head, x = head_and_batch()
    BSAVariant(initialisation=initialisation).prepare(head, x)  # type: ignore[arg-type]
    assert float((head.logits(x) > 0).float().sum(dim=1).mean().detach()) == pytest.approx(8, rel=0.1)


def test_without_centring_the_code_starts_the_same() -> None:
    head, x = head_and_batch()
    before = head.logits(x).detach()
    BSAVariant(centring=False).prepare(head, x)
    assert not head.mean.any()
    assert torch.allclose(head.logits(x), before, atol=1e-5)


def test_hard_topk_gives_only_chosen_features_a_gradient() -> None:
    head, x = head_and_batch()
    chosen = head.select(head.logits(x[:1]), "topk")[0] > 0
    BSAVariant(hard_topk=True).loss(head, x[:1])["reconstruction_loss"].backward()
    assert head.bias.grad is not None
    assert not head.bias.grad[~chosen].any()
    assert head.bias.grad[chosen].any()


def test_tied_decoder_is_a_multiple_of_the_encoder() -> None:
    head, x = head_and_batch()
    variant = BSAVariant(tied=True)
    variant.prepare(head, x)
    variant.finish(head)
    ratio = head.decoder_weight / head.weight
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-3)


def test_fits_recover_known_growth() -> None:
    xs = [1.0, 2.0, 4.0, 8.0]
    assert cost.power(xs, [3 * x**1.5 for x in xs]) == pytest.approx((1.5, 3.0))
    assert cost.line(xs, [2 * x + 5 for x in xs]) == pytest.approx((2.0, 5.0))


def test_largest_rise_sees_a_spike_after_the_start() -> None:
    falling = [{"loss": value} for value in np.linspace(1, 0.5, 20)]
    assert domains._largest_rise(falling) == 0
    spiked = [*falling[:10], {"loss": 2.0}, *falling[10:]]
    assert domains._largest_rise(spiked) > 1
