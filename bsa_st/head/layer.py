"""The BSA layer: a dense embedding in, a binary sparse code out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from torch import Tensor, nn
from torch.nn import functional as F

from bsa_st.errors import BSAError
from bsa_st.head.refine import weigh_mean
from bsa_st.head.settings import Budgets, Selection, check_nested, check_sizes, is_compact
from bsa_st.head.unrolled import UnrolledEncoder

if TYPE_CHECKING:
    from bsa_st.concepts.dictionary import NamedDictionary

RATE_CELLS = 1 << 24  # projections sorted at a time: 64 MB

BUDGET_STEPS = (1.0, 0.5, 0.25)  # shares of k at which :mod:`bsa_st.head.nested` measures what a smaller budget needs

PLACE = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
"""What says where a saved module is, beside its name."""


class BinarySparsityAlignment(Module):
    """Turns a dense embedding ``x`` into a binary sparse code ``h`` and back (Binary Sparsity Alignment).

    Encoder: ``z = W (x - mean) + b``, ``p = sigmoid(exp(log_scale) * z)``. In ``threshold`` mode ``h = 1`` where ``z > 0``,
    so the number of active features varies; in ``topk`` mode exactly the ``k`` largest logits are active.
    Decoder: ``x_hat = h V + c``.

    In evaluation the forward pass replaces ``sentence_embedding`` by the code, float32 in {0.0, 1.0}. In training it does so
    with straight-through gradients and adds what the losses of :mod:`bsa_st.head.losses` need: ``bsa_input`` (n, d), ``bsa_logits`` and ``bsa_probability``
    (n, D), ``bsa_target`` (n, D), the top-k target without gradient, and ``bsa_reconstruction`` (n, d); ``bsa_nested`` holds (probability, target,
    reconstruction) of every nested budget.

    Args:
        input_dim: Width d of the dense embedding.
        hidden_dim: Number D of features.
        k: Target number of active features per text, at most ``hidden_dim``.
        selection: ``"threshold"`` or ``"topk"``.
        nested: Smaller budgets (hidden_dim, k) that are trained along, on prefixes of the features; see :mod:`bsa_st.head.nested`.

    Raises:
        BSAError: If a size is out of range or ``selection`` is unknown.

    Source: "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations", method section.

    Example: ``head = bsa_st.BinarySparsityAlignment(384, 4096, k=32)``
    """

    config_keys: list[str] = ["input_dim", "hidden_dim", "k", "selection", "nested"]

    mean: Tensor
    firing_rate: Tensor
    export_threshold: Tensor
    decoded_share: Tensor
    length_softening: Tensor
    input_bound: Tensor
    budgets: Tensor
    symmetric: Tensor | None

    def __init__(
        self, input_dim: int, hidden_dim: int = 1024, k: int = 107, selection: Selection = "threshold", nested: Budgets = ()
    ) -> None:
        super().__init__()
        check_sizes(input_dim, hidden_dim, k, selection)
        self.input_dim, self.hidden_dim, self.k, self.selection = input_dim, hidden_dim, k, selection
        self.nested = check_nested(nested, hidden_dim)
        directions = F.normalize(torch.randn(hidden_dim, input_dim), dim=1)
        self.weight = nn.Parameter(directions)
        self.bias = nn.Parameter(torch.zeros(hidden_dim))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.decoder_weight = nn.Parameter(directions.clone())
        self.decoder_bias = nn.Parameter(torch.zeros(input_dim))
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("firing_rate", torch.full((hidden_dim,), k / hidden_dim))
        for name, value in (("export_threshold", 0), ("decoded_share", 1), ("length_softening", 0), ("input_bound", 1)):
            self.register_buffer(name, torch.tensor(float(value)))
        widths = {hidden_dim, *(width for width, _ in self.nested)}
        self.register_buffer("budgets", torch.ones(len(widths) * len(BUDGET_STEPS), 3))
        self.register_buffer("symmetric", None)
        self.report: dict[str, Any] = {}
        self.names: NamedDictionary | None = None
        self.unrolled: UnrolledEncoder | None = None
        self._gram: tuple[tuple[int, int], Tensor] | None = None

    @torch.no_grad()
    def initialise(self, sample: Tensor) -> None:
        """Fit the mean, the thresholds, the scale and the decoder to a sample, float32 (n, d), so that training starts from a working code.

        Directions form a tight frame: they share out the space evenly. Every feature starts at the firing rate ``k / D`` on the sample.
        """
        self.mean.copy_(sample.mean(dim=0))
        self.weight.copy_(F.normalize(nn.init.orthogonal_(torch.empty(self.weight.shape)), dim=1))
        self.set_rates(sample, torch.full_like(self.bias, self.k / self.hidden_dim))
        summed = self.select(self.logits(sample)) @ self.weight
        middle = summed.mean(dim=0)
        aim, summed = sample - self.mean, summed - middle
        amplitude = (summed * aim).sum() / summed.square().sum().clamp_min(1e-12)
        self.decoder_weight.copy_(self.weight * amplitude)
        self.decoder_bias.copy_(self.mean - amplitude * middle)

    @torch.no_grad()
    def set_rates(self, sample: Tensor, rates: Tensor) -> None:
        """Set the thresholds so that every feature fires on its share of a sample, ``rates`` float (D,), of ``sample`` float32 (n, d); and the scale to suit."""
        ranks = (rates * len(sample)).round().long().clamp(1, len(sample)) - 1
        spread = sample.new_zeros(())
        for part in torch.arange(self.hidden_dim, device=sample.device).split(max(1, RATE_CELLS // len(sample))):
            projections = (sample - self.mean) @ self.weight[part].T
            ordered = projections.sort(dim=0, descending=True).values
            self.bias[part] = -ordered.gather(0, ranks[part][None])[0]
            spread += projections.var(dim=0, correction=0).sum()
        self.log_scale.copy_(-0.5 * torch.log((spread / self.hidden_dim).clamp_min(1e-24)) + math.log(4.0))

    @torch.no_grad()
    def calibrate(self, sample: Tensor, keep_decoder: bool = False) -> None:
        """Measure, after training, what the losses leave open, on dense embeddings, float32 (n, d).

        Unless ``keep_decoder`` (a refit has set it), the decoder's overall length, which a cosine does not see, is set by least squares so that ``x_hat`` of plain codes
        approximates ``x``; ``firing_rate`` (D,) becomes the share of texts on which each feature fires; ``export_threshold`` the logit above which
        ``k`` features per text are active on average (0 in threshold mode); and ``input_bound`` the largest ``|x - mean|``.
        """
        fired = torch.zeros_like(self.firing_rate)
        length, agreement = sample.new_zeros(()), sample.new_zeros(())
        largest = []
        for x in sample.split(4096):
            logits = self.logits(x)
            code = self.select(logits)
            decoded = self.decode(code)
            fired += code.sum(dim=0)
            length += decoded.square().sum()
            agreement += (decoded * x).sum()
            largest.append(logits.topk(min(4 * self.k, self.hidden_dim), dim=1).values)
        self.firing_rate.copy_(fired / len(sample))
        self.input_bound.copy_((sample - self.mean).abs().max())
        if not keep_decoder:
            factor = agreement / length.clamp_min(1e-12)
            self.decoder_weight.mul_(factor)
            self.decoder_bias.mul_(factor)
        if self.selection == "topk":
            self.export_threshold.copy_(usual_threshold(torch.cat(largest), self.k))

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``z = W (x - mean) + b`` of dense embeddings, float (n, d): float32 (n, D).

        The bias enters as the weight of a constant first column, exactly as in the exported stock modules
        (:mod:`bsa_st.hub.export`), so that both compute the same floating-point numbers.
        """
        return self._affine(x, torch.cat([self.bias[:, None], self.weight], dim=1))

    def symmetric_code(self, x: Tensor) -> Tensor:
        """The code that is compared with codes of its kind (:mod:`bsa_st.training.symmetric`), the plain code where the head has no other: of float (n, d),
        float32 (n, D) in {0, 1}."""
        if self.symmetric is None:
            return self.select(self.logits(x))
        return (self._affine(x, self.symmetric) > 0).float()

    def _affine(self, x: Tensor, weight: Tensor) -> Tensor:
        x = x.to(self.weight.dtype) - self.mean
        inputs = torch.cat([x.new_ones(len(x), 1), x], dim=1)
        return F.linear(inputs, weight, self.bias.new_zeros(self.hidden_dim))

    def select(self, logits: Tensor, selection: Selection | None = None) -> Tensor:
        """Codes of logits, float (n, D): 1 where the feature is active, else 0, of their dtype, without gradient; ``selection`` overrides the module's mode."""
        if (selection or self.selection) == "threshold":
            return (logits > 0).to(logits.dtype)
        return _top(logits, self.k)

    def decode(self, codes: Tensor) -> Tensor:
        """Dense reconstruction ``x_hat = h V + c`` of codes, (n, D) in {0, 1}: float32 (n, d), whose direction approximates the dense embedding."""
        return codes.to(self.decoder_weight.dtype) @ self.decoder_weight + self.decoder_bias

    @torch.no_grad()
    def gram(self) -> Tensor:
        """Gram matrix of the decoder in the basis of :func:`bsa_st.head.refine.weigh_mean`, float32 (D, D), kept until it changes; it takes 4 D^2 bytes."""
        version = (self.decoder_weight._version, self.mean._version)
        if self._gram is None or self._gram[0] != version or self._gram[1].device != self.decoder_weight.device:
            weighed = weigh_mean(self.decoder_weight, self.mean)
            self._gram = (version, weighed @ weighed.T)
        return self._gram[1]

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        x = features["sentence_embedding"]
        if not self.training:
            features["sentence_embedding"] = self.symmetric_code(x)
            return features
        logits = F.linear(x.to(self.weight.dtype) - self.mean, self.weight, self.bias)
        probability = torch.sigmoid(self.log_scale.exp() * logits)
        target = self.select(logits.detach(), "topk")
        hard = target if self.selection == "topk" else self.select(logits.detach())
        code = probability + (hard - probability).detach()
        features["bsa_input"], features["bsa_logits"] = x, logits
        features["bsa_probability"] = probability
        features["bsa_target"] = target
        features["bsa_reconstruction"] = self.decode(code)
        features["bsa_nested"] = [self._nested_view(x, logits.detach(), probability, *budget) for budget in self.nested]
        features["sentence_embedding"] = code
        return features

    def _nested_view(self, x: Tensor, logits: Tensor, probability: Tensor, width: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the losses need of a smaller budget. It is always trained in topk form, with the best amplitude for each text."""
        probability, target = probability[:, :width], _top(logits[:, :width], k)
        summed = (probability + (target - probability).detach()) @ self.decoder_weight[:width]
        with torch.no_grad():
            aim = x.to(summed.dtype) - self.decoder_bias
            amplitude = (summed * aim).sum(dim=1, keepdim=True) / summed.square().sum(dim=1, keepdim=True).clamp_min(1e-9)
        return probability, target, amplitude * summed + self.decoder_bias

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BinarySparsityAlignment:
        """Keep the layer in float32 when a model is cast to half precision: rounded weights would give other codes."""

        def keep_type(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_type, recurse)

    @property
    def compact(self) -> bool:
        """Whether about half of the features are active, any number in each text, rather than few."""
        return is_compact(self.hidden_dim, self.k, self.selection)

    def get_embedding_dimension(self) -> int:
        """Number D of features, the width of the codes."""
        return self.hidden_dim

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> BinarySparsityAlignment:  # type: ignore[override]
        place = {name: kwargs[name] for name in PLACE if name in kwargs}
        module = cls(**cls.load_config(model_name_or_path, **place))
        return cls.load_torch_weights(model_name_or_path, **place, model=module)


def _top(logits: Tensor, k: int) -> Tensor:
    """1 at the ``k`` largest of each row, else 0."""
    return torch.zeros_like(logits).scatter_(-1, logits.topk(k, dim=-1).indices, 1.0)


def usual_threshold(logits: Tensor, k: int) -> Tensor:
    """The logit above which ``k`` features per text are active on average, of logits (n, D), or of the largest of each text: a scalar."""
    values = logits.flatten()
    return values.kthvalue(len(values) - min(len(values), len(logits) * k) + 1).values


def head_of(model: SentenceTransformer) -> BinarySparsityAlignment:
    """The BSA head of a model.

    Raises:
        BSAError: If the last module is no BSA head, e.g. since plain sentence-transformers loaded the model.
    """
    head = model[-1] if len(model) else None
    if not isinstance(head, BinarySparsityAlignment):
        raise BSAError("the model has no BSA head; load it with bsa_st.load instead of SentenceTransformer")
    return head
