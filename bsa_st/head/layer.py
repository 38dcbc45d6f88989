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

RATE_CELLS = 1 << 24
"""Projections sorted at a time: 64 MB."""

BUDGET_STEPS = (1.0, 0.5, 0.25)
"""Shares of k at which :mod:`bsa_st.head.nested` measures what a smaller budget needs."""

if TYPE_CHECKING:
    from bsa_st.concepts.dictionary import NamedDictionary


class BinarySparsityAlignment(Module):
    """Turns a dense embedding ``x`` into a binary sparse code ``h`` and back (Binary Sparsity Alignment).

    Encoder: ``z = W (x - mean) + b``, ``p = sigmoid(exp(log_scale) * z)``. In ``threshold`` mode ``h = 1`` where ``z > 0``,
    so the number of active features varies; in ``topk`` mode exactly the ``k`` largest logits are active.
    Decoder: ``x_hat = h V + c``.

    In evaluation the forward pass replaces ``sentence_embedding`` by the code, float32 in {0.0, 1.0}. In training it does so
    with straight-through gradients and adds what the losses of :mod:`bsa_st.head.losses` need: ``bsa_input`` (n, d),
    ``bsa_logits`` and ``bsa_probability`` (n, D), ``bsa_target`` (n, D), the top-k target without gradient, and ``bsa_reconstruction``
    (n, d); ``bsa_nested`` holds (probability, target, reconstruction) of every nested budget.

    Args:
        input_dim: Width d of the dense embedding.
        hidden_dim: Number D of features.
        k: Target number of active features per text, at most ``hidden_dim``.
        selection: ``"threshold"`` or ``"topk"``.
        nested: Smaller budgets (hidden_dim, k) that are trained along, on prefixes of the features; see :mod:`bsa_st.head.nested`.

    Raises:
        BSAError: If a size is out of range or ``selection`` is unknown.

    Source: "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations", method section.
    """

    config_keys: list[str] = ["input_dim", "hidden_dim", "k", "selection", "nested"]

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 1024,
        k: int = 107,
        selection: Selection = "threshold",
        nested: Budgets = (),
    ) -> None:
        super().__init__()
        check_sizes(input_dim, hidden_dim, k, selection)
        self.nested = check_nested(nested, hidden_dim)
        self.input_dim = input_dim
        self.hidden_dim = hidden_dim
        self.k = k
        self.selection = selection
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(input_dim))
        directions = F.normalize(torch.randn(hidden_dim, input_dim), dim=1)
        self.weight = nn.Parameter(directions)
        self.bias = nn.Parameter(torch.zeros(hidden_dim))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.decoder_weight = nn.Parameter(directions.clone())
        self.decoder_bias = nn.Parameter(torch.zeros(input_dim))
        self.firing_rate: Tensor
        self.register_buffer("firing_rate", torch.full((hidden_dim,), k / hidden_dim))
        self.export_threshold: Tensor
        self.register_buffer("export_threshold", torch.zeros(()))
        self.decoded_share: Tensor
        self.register_buffer("decoded_share", torch.ones(()))
        self.length_softening: Tensor
        self.register_buffer("length_softening", torch.zeros(()))
        self.input_bound: Tensor
        self.register_buffer("input_bound", torch.ones(()))
        widths = {hidden_dim, *(width for width, _ in self.nested)}
        self.budgets: Tensor
        self.register_buffer("budgets", torch.ones(len(widths) * len(BUDGET_STEPS), 3))
        self.symmetric: Tensor | None
        self.register_buffer("symmetric", None)
        self.report: dict[str, Any] = {}
        self.names: NamedDictionary | None = None
        self.unrolled: UnrolledEncoder | None = None
        self._gram: tuple[tuple[int, int], Tensor] | None = None

    @torch.no_grad()
    def initialise(self, sample: Tensor) -> None:
        """Fit the mean, the thresholds, the scale and the decoder to a sample, so that training starts from a working code.

        Directions form a tight frame: they share out the space evenly. Every feature starts at the firing rate ``k / D`` on the sample.

        Args:
            sample: Dense embeddings, float32 (n, d); a few thousand rows are enough.
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
        """Set the thresholds so that every feature fires at its rate on a sample, and the scale to suit.

        Args:
            sample: Dense embeddings, float32 (n, d).
            rates: Share of the texts on which each feature shall fire, float (D,).
        """
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
        """Measure, after training, what the losses leave open.

        Unless ``keep_decoder``, the decoder's overall length, which a cosine does not see, is set by least squares so that ``x_hat`` of plain codes
        approximates ``x``; ``firing_rate`` (D,) becomes the share of texts on which each feature fires; ``export_threshold`` the logit above which
        ``k`` features per text are active on average (0 in threshold mode); and ``input_bound`` the largest ``|x - mean|``.

        Args:
            sample: Dense embeddings, float32 (n, d).
            keep_decoder: Whether the decoder has its length already, from a refit.
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
            largest.append(logits.topk(min(4 * self.k, self.hidden_dim), dim=1).values.flatten())
        self.firing_rate.copy_(fired / len(sample))
        self.input_bound.copy_((sample - self.mean).abs().max())
        if not keep_decoder:
            factor = agreement / length.clamp_min(1e-12)
            self.decoder_weight.mul_(factor)
            self.decoder_bias.mul_(factor)
        if self.selection == "topk":
            values = torch.cat(largest)
            place = min(len(values), len(sample) * self.k)
            self.export_threshold.copy_(values.kthvalue(len(values) - place + 1).values)

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``z = W (x - mean) + b`` of dense embeddings; see :meth:`symmetric_code` for the other linear layer.

        The bias enters as the weight of a constant first column, exactly as in the exported stock modules
        (:mod:`bsa_st.hub.export`), so that both compute the same floating-point numbers.

        Args:
            x: float (n, d).

        Returns:
            float32 (n, D).
        """
        return self._affine(x, torch.cat([self.bias[:, None], self.weight], dim=1))

    def symmetric_code(self, x: Tensor) -> Tensor:
        """The code that is compared with codes of its kind (:mod:`bsa_st.training.symmetric`); the plain code, where the head has no other.

        Args:
            x: float (n, d).

        Returns:
            float32 (n, D) in {0, 1}.
        """
        if self.symmetric is None:
            return self.select(self.logits(x))
        return (self._affine(x, self.symmetric) > 0).float()

    def _affine(self, x: Tensor, weight: Tensor) -> Tensor:
        x = x.to(self.weight.dtype) - self.mean
        inputs = torch.cat([x.new_ones(len(x), 1), x], dim=1)
        return F.linear(inputs, weight, self.bias.new_zeros(self.hidden_dim))

    def select(self, logits: Tensor, selection: Selection | None = None) -> Tensor:
        """Codes of logits: 1 where the feature is active. No gradient.

        Args:
            logits: float (n, D).
            selection: Overrides the mode of the module.

        Returns:
            float (n, D) in {0, 1}, of the dtype of ``logits``.
        """
        if (selection or self.selection) == "threshold":
            return (logits > 0).to(logits.dtype)
        active = logits.topk(self.k, dim=-1).indices
        return torch.zeros_like(logits).scatter_(-1, active, 1.0)

    def decode(self, codes: Tensor) -> Tensor:
        """Dense reconstruction ``x_hat = h V + c``.

        Args:
            codes: float or integer (n, D) in {0, 1}.

        Returns:
            float32 (n, d); its direction approximates the dense embedding.
        """
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
        with torch.no_grad():
            target = self.select(logits, "topk")
            hard = target if self.selection == "topk" else self.select(logits)
        code = probability + (hard - probability).detach()
        features["bsa_input"] = x
        features["bsa_logits"] = logits
        features["bsa_probability"] = probability
        features["bsa_target"] = target
        features["bsa_reconstruction"] = self.decode(code)
        features["bsa_nested"] = [self._nested_view(x, logits, probability, *budget) for budget in self.nested]
        features["sentence_embedding"] = code
        return features

    def _nested_view(self, x: Tensor, logits: Tensor, probability: Tensor, width: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the losses need of a smaller budget. It is always trained in topk form, with the best amplitude for each text."""
        probability = probability[:, :width]
        active = logits[:, :width].topk(k, dim=-1).indices
        target = torch.zeros_like(probability).scatter_(-1, active, 1.0)
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
    def load(  # type: ignore[override]  # the base class names each of these arguments
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **kwargs: Any,
    ) -> BinarySparsityAlignment:
        place: dict[str, Any] = {
            "model_name_or_path": model_name_or_path,
            "subfolder": subfolder,
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        module = cls(**cls.load_config(**place))
        cls.load_torch_weights(**place, model=module)
        return module


def head_of(model: SentenceTransformer) -> BinarySparsityAlignment:
    """The BSA head of a model.

    Raises:
        BSAError: If the last module is no BSA head, e.g. since plain sentence-transformers loaded the model.
    """
    head = model[-1] if len(model) else None
    if not isinstance(head, BinarySparsityAlignment):
        raise BSAError("the model has no BSA head; load it with bsa_st.load instead of SentenceTransformer")
    return head
