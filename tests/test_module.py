"""The layer itself: codes, gradients, initialisation, saving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bsa_st import BinarySparsityAlignment, BSAError


def head(input_dim: int = 24, hidden_dim: int = 200, k: int = 10, selection: str = "threshold") -> BinarySparsityAlignment:
    torch.manual_seed(0)
    return BinarySparsityAlignment(input_dim, hidden_dim, k, selection)  # type: ignore[arg-type]


def test_evaluation_gives_float32_zeros_and_ones_exactly_where_logits_are_positive() -> None:
    module, x = head().eval(), torch.randn(50, 24)
    code = module({"sentence_embedding": x})["sentence_embedding"]
    assert code.dtype == torch.float32
    assert torch.equal(code, (module.logits(x) > 0).float())
    assert 0 < code.sum() < code.numel()


def test_topk_mode_activates_exactly_k_features() -> None:
    code = head(selection="topk").eval()({"sentence_embedding": torch.randn(50, 24)})["sentence_embedding"]
    assert (code.sum(dim=1) == 10).all()


@pytest.mark.parametrize("scale", [1.0, 37.0])
@pytest.mark.parametrize("input_dim", [3, 24, 700])
def test_every_feature_starts_near_its_target_rate_for_any_width_and_norm(input_dim: int, scale: float) -> None:
    module, sample = head(input_dim).eval(), scale * (torch.randn(4000, input_dim) + 2)
    module.initialise(sample)
    rates = module.select(module.logits(sample)).mean(dim=0)
    assert rates.min() > 0.5 * 10 / 200
    assert rates.max() < 1.5 * 10 / 200


def test_initial_decoder_already_points_towards_the_input() -> None:
    module, sample = head().eval(), torch.randn(4000, 24)
    module.initialise(sample)
    decoded = module.decode(module.select(module.logits(sample)))
    assert torch.nn.functional.cosine_similarity(sample, decoded).mean() > 0.5


def test_calibration_fits_the_length_of_the_decoder() -> None:
    module, sample = head().eval(), 5 * torch.randn(2000, 24)
    module.initialise(sample)
    with torch.no_grad():
        module.decoder_weight.mul_(100)
    module.calibrate(sample)
    decoded = module.decode(module.select(module.logits(sample))).detach()
    assert float((decoded * sample).sum()) == pytest.approx(float(decoded.square().sum()), rel=1e-3)


@pytest.mark.parametrize("selection", ["threshold", "topk"])
def test_training_losses_see_the_binary_code_and_reach_every_parameter(selection: str) -> None:
    module = head(selection=selection).train()
    features = module({"sentence_embedding": torch.randn(30, 24)})
    assert set(features["sentence_embedding"].unique().tolist()) <= {0.0, 1.0}
    assert (features["bsa_target"].sum(dim=1) == 10).all()
    (features["bsa_reconstruction"].square().sum() + features["bsa_probability"].sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert not features["bsa_target"].requires_grad
    torch.testing.assert_close(features["bsa_logits"], module.logits(features["bsa_input"]))


def test_straight_through_gradient_equals_that_of_the_probability() -> None:
    module, x, direction = head().train(), torch.randn(5, 24), torch.randn(5, 200)
    grads = []
    for key in ("sentence_embedding", "bsa_probability"):
        module.zero_grad()
        (module({"sentence_embedding": x.clone()})[key] * direction).sum().backward()
        assert module.weight.grad is not None
        grads.append(module.weight.grad.clone())
    assert torch.allclose(grads[0], grads[1])


def test_decode_sums_the_active_rows_of_the_dictionary() -> None:
    module = head()
    code = torch.zeros(1, 200, dtype=torch.uint8)
    code[0, [3, 77]] = 1
    expected = module.decoder_weight[3] + module.decoder_weight[77] + module.decoder_bias
    assert torch.allclose(module.decode(code)[0], expected)


def test_save_and_load_round_trip_is_bit_identical(tmp_path: Path) -> None:
    module = head(selection="topk")
    module.initialise(torch.randn(500, 24))
    module.save(str(tmp_path))
    loaded = BinarySparsityAlignment.load(str(tmp_path))
    assert loaded.get_config_dict() == module.get_config_dict()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in module.state_dict().items())
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((24, 8, 9, "threshold"), "k must lie between 1 and hidden_dim = 8, got 9"),
        ((24, 8, 0, "threshold"), "k must lie"),
        ((24, 0, 1, "threshold"), "hidden_dim must lie"),
        ((24, 10**9, 1, "threshold"), "hidden_dim must lie"),
        ((0, 8, 1, "threshold"), "input_dim must lie"),
        ((24, 8, 4, "top-k"), "selection must be one of threshold, topk, got 'top-k'"),
    ],
)
def test_sizes_out_of_range_are_named(sizes: tuple[int, int, int, str], message: str) -> None:
    with pytest.raises(BSAError, match=message):
        BinarySparsityAlignment(*sizes)  # type: ignore[arg-type]
