"""Other papers' training objectives by name, for comparison with Binary Sparsity Alignment, and the training of a head by one of them.

Every objective trains the same layer, :class:`~bsa_st.head.layer.BinarySparsityAlignment`, from the same embeddings by the same trainer, with real-valued
strengths; :func:`binarise` then makes binary codes of them, in one way for all. What papers say of reviving dead features and of buckets is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TrainerCallback

from bsa_st import BinarySparsityAlignment, BSAError, DistillSettings
from bsa_st.head.layer import head_of, usual_threshold
from bsa_st.training.refit import HELD_OUT, refit
from bsa_st.training.trainer import train_head


def rectified(head: BinarySparsityAlignment, x: Tensor) -> Tensor:
    """``relu(W (x - mean) + b)``, float32 (n, D), with gradient."""
    return F.linear(x - head.mean, head.weight, head.bias).float().relu()


def keep_largest(values: Tensor, k: int) -> Tensor:
    """The ``k`` largest entries of each row, the others 0."""
    top = values.topk(k, dim=1)
    return torch.zeros_like(values).scatter(1, top.indices, top.values)


def decode(head: BinarySparsityAlignment, values: Tensor) -> Tensor:
    """Reconstruction from strengths, float32 (n, d)."""
    return (values @ head.decoder_weight).float() + head.decoder_bias


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared distance relative to the squared length of ``x``, mean over texts: a scalar."""
    return (x - reconstruction).square().sum(dim=1).mean() / x.square().sum(dim=1).mean()


def cosine_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """``1 - cos``, mean over texts: a scalar."""
    return 1 - F.cosine_similarity(x, reconstruction, dim=1).mean()


class Objective(nn.Module, TrainerCallback):
    """Turns embeddings into strengths and a loss; the weights that are trained are those of the head. By default the k-sparse autoencoder
    (A. Makhzani and B. Frey, "k-Sparse autoencoders", 2013; L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024)."""

    model: SentenceTransformer
    """Cached rows and a head, while the trainer minimises the loss."""

    sample: Tensor

    def on(self, model: SentenceTransformer, sample: Tensor) -> Objective:
        """The same, for this model, whose head is prepared and finished by embeddings, float32 (n, d)."""
        self.model, self.sample = model, sample
        self.prepare(head_of(model), sample)
        return self

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> dict[str, Tensor]:
        """The loss of a batch, as the trainer of sentence-transformers asks for it."""
        (features,) = sentence_features
        return self.loss(head_of(self.model), self.model[0](features)["sentence_embedding"])

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        """Strengths of the features for embeddings, float32 (n, d): float32 (n, D), 0 where a feature is not active, else positive."""
        return keep_largest(rectified(head, x), head.k)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        """Parts of the loss by name; their sum is minimised."""
        return {"reconstruction_loss": squared_error(x, decode(head, self.values(head, x)))}

    @torch.no_grad()
    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        """Before training, set the decoder's length, which was initialised for binary codes, by embeddings, float32 (n, d)."""
        sample = sample[:4096]
        decoded = self.values(head, sample) @ head.decoder_weight
        amplitude = (decoded * (sample - head.decoder_bias)).sum() / decoded.square().sum().clamp_min(1e-12)
        head.decoder_weight.mul_(amplitude.clamp_min(1e-6))

    def finish(self, head: BinarySparsityAlignment) -> None:
        """After training, bring the head into the form in which it is used."""

    def on_train_end(self, args: object, state: object, control: object, **more: object) -> None:
        """Finish the head, and fit its decoder to plain binary codes."""
        head = head_of(self.model)
        self.eval().finish(head)
        binarise(head, self, self.sample)
        held_out, rows = np.split(self.sample.numpy(), [min(HELD_OUT, len(self.sample) // 10)])
        refit(head, rows, held_out, rounds=1, refine=False)


class Penalised(Objective):
    """ReLU strengths and a penalty whose weight, tuned by hand in papers, is steered so that ``k`` are active on average.

    Args:
        error: How far a reconstruction is from its target: a scalar.
        penalty: Of strengths times the lengths of their atoms, which longer atoms do not evade (T. Conerly et al., "Update on how we train SAEs", 2024): a scalar.
    """

    def __init__(self, error: Callable[[Tensor, Tensor], Tensor], penalty: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.error, self.penalty = error, penalty
        self.weight = torch.tensor(0.03)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return rectified(head, x)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values = self.values(head, x)
        active = (values > 0).sum(dim=1).float().mean()
        self.weight = self.weight * torch.exp(0.2 * (active / head.k).log().clamp(-1, 1))
        sparsity = self.weight * self.penalty(values * head.decoder_weight.norm(dim=1))
        return {"reconstruction_loss": self.error(x, decode(head, values)), "sparsity_loss": sparsity}


class BatchTopK(Objective):
    """The ``n k`` largest strengths of a batch of ``n`` texts: a rich text may have more than a plain one. In use a threshold takes the batch's place
    (B. Bussmann, P. Leask and N. Nanda, "BatchTopK sparse autoencoders", 2024)."""

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        values = rectified(head, x)
        flat = values.detach().flatten()
        return values * (values >= flat.kthvalue(flat.numel() - head.k * len(values) + 1).values)


class Matryoshka(BatchTopK):
    """Mean squared error of the reconstructions from the first eighth, quarter and half of the dictionary and from all of it
    (B. Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders", 2025)."""

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values = self.values(head, x)
        decoded, errors = head.decoder_bias.expand_as(x), []
        for low, high in itertools.pairwise([0, *(max(1, head.hidden_dim // part) for part in (8, 4, 2, 1))]):
            decoded = decoded + (values[:, low:high] @ head.decoder_weight[low:high]).float()
            errors.append(squared_error(x, decoded))
        return {"reconstruction_loss": torch.stack(errors).mean()}


class JumpReLU(Objective):
    """A threshold per feature, the negative bias, learnt by a straight-through derivative of the step; the mean number of active features is drawn to ``k``.

    Source: S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders" (2024), with the
    penalty ``(L0 / k - 1)^2`` of its appendix; without the bias inside the activation, since the mean is subtracted from the input.
    """

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        self.bandwidth = 0.5 * float(F.linear(sample[:512] - head.mean, head.weight).detach().std())  # of the window below
        super().prepare(head, sample)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return self._gated(head, x)[0]

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        values, active = self._gated(head, x)
        sparsity = (active.sum(dim=1).mean() / head.k - 1).square()
        return {"reconstruction_loss": squared_error(x, decode(head, values)), "sparsity_loss": sparsity}

    def _gated(self, head: BinarySparsityAlignment, x: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths and active features, float32 (n, D), with the derivatives that the paper gives for the thresholds."""
        bias, before = head.bias.float(), F.linear(x - head.mean, head.weight).float()
        margin = (before + bias).detach()
        window = (margin.abs() < self.bandwidth / 2).float() / self.bandwidth
        moved = window * (bias - bias.detach())  # value 0, derivative of the step with respect to the bias
        active = (margin > 0).float()
        return (before * active).relu() - bias.detach() * moved, active + moved


class AbsTopK(Objective):
    """The ``k`` strengths that are largest in absolute value: the second half of the features mirrors the first, one for each sense
    (X. Zhu et al., "AbsTopK: rethinking sparse autoencoders for bidirectional features", 2025)."""

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        if head.hidden_dim % 2 or head.k > head.hidden_dim // 2:
            raise BSAError(f"abs-topk needs an even hidden_dim of at least 2 k, got hidden_dim={head.hidden_dim}, k={head.k}")
        nn.init.zeros_(head.bias)
        self.finish(head)
        super().prepare(head, sample)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        half = head.hidden_dim // 2
        signed = F.linear(x - head.mean, head.weight[:half], head.bias[:half]).float()
        kept = signed * (keep_largest(signed.detach().abs(), head.k) > 0)
        return torch.cat([kept.relu(), (-kept).relu()], dim=1)

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        self.finish(head)
        positive, negative = self.values(head, x).chunk(2, dim=1)
        decoded = (positive - negative) @ head.decoder_weight[: head.hidden_dim // 2]  # this half learns from both senses
        return {"reconstruction_loss": squared_error(x, decoded.float() + head.decoder_bias)}

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        half = head.hidden_dim // 2
        for tensor in (head.weight, head.bias, head.decoder_weight):
            tensor[half:] = -tensor[:half]


class UHD(Objective):
    """Within a batch the similarities of the ``k`` largest strengths follow those of the dense embeddings, which stand for labels
    (K.-R. Jang et al., "Ultra-high dimensional sparse representations with binarization for efficient text retrieval", 2021)."""

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
        student, teacher = (
            (rows @ rows.T).float().masked_fill(itself, -1e4).div(0.1).log_softmax(dim=1)
            for rows in (F.normalize(self.values(head, x), dim=1), F.normalize(x, dim=1))
        )
        return {"similarity_loss": F.kl_div(student, teacher, log_target=True, reduction="batchmean")}


class MatchingPursuit(Objective):
    """Features are chosen one after the other, each for what the others have left unexplained; the encoder, tied to the decoder, takes the first step
    (V. Costa et al., "From flat to hierarchical: extracting sparse representations with matching pursuit", 2025)."""

    def prepare(self, head: BinarySparsityAlignment, sample: Tensor) -> None:
        self.finish(head)

    def values(self, head: BinarySparsityAlignment, x: Tensor) -> Tensor:
        return self._pursue(head, x)[0]

    def loss(self, head: BinarySparsityAlignment, x: Tensor) -> dict[str, Tensor]:
        return {"reconstruction_loss": squared_error(x, x - self._pursue(head, x)[1])}

    @torch.no_grad()
    def finish(self, head: BinarySparsityAlignment) -> None:
        head.decoder_weight.copy_(F.normalize(head.decoder_weight, dim=1))
        head.weight.copy_(head.decoder_weight)
        head.bias.copy_(head.weight @ (head.mean - head.decoder_bias))

    def _pursue(self, head: BinarySparsityAlignment, x: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths, (n, D), no feature chosen twice, and what is left, (n, d)."""
        atoms, left = F.normalize(head.decoder_weight.float(), dim=1), x - head.decoder_bias
        fixed = atoms.detach()  # choosing has no gradient
        gram, correlation = (fixed @ fixed.T).float(), (left.detach() @ fixed.T).float()
        used = torch.zeros_like(correlation, dtype=torch.bool)
        chosen, strengths = [], []
        for _ in range(head.k):
            gain, feature = correlation.masked_fill(used, -torch.inf).max(dim=1)
            correlation -= gain.relu()[:, None] * gram[feature]
            used.scatter_(1, feature[:, None], True)
            atom = atoms[feature]
            strength = (left * atom).sum(dim=1, keepdim=True).relu()
            left = left - strength * atom
            chosen.append(feature)
            strengths.append(strength)
        return torch.zeros_like(correlation).scatter_add(1, torch.stack(chosen, dim=1), torch.cat(strengths, dim=1)), left


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "l1-mse": lambda: Penalised(squared_error, lambda strengths: strengths.sum(dim=1).mean()),
    "l1-cosine": lambda: Penalised(cosine_error, lambda strengths: strengths.sum(dim=1).mean()),
    "topk": Objective,
    "batch-topk": BatchTopK,
    "jumprelu": JumpReLU,
    "flops": lambda: Penalised(cosine_error, lambda strengths: strengths.mean(dim=0).square().sum() * strengths.shape[1]),
    "abs-topk": AbsTopK,
    "matryoshka": Matryoshka,
    "uhd": UHD,
    "matching-pursuit": MatchingPursuit,
}
"""All but BSA's own, :class:`~bsa_st.BSALoss`. Sources of the penalties: ``l1-mse``, H. Cunningham et al., "Sparse autoencoders
find highly interpretable features in language models" (2023); ``l1-cosine``, the baseline of "Sparsity beyond TopK"; ``flops``, B. Paria et al.,
"Minimizing FLOPs to learn efficient sparse representations" (2020): work in an inverted index is spread evenly."""


@torch.no_grad()
def binarise(head: BinarySparsityAlignment, objective: Objective, sample: Tensor) -> None:
    """Make binary codes of real-valued strengths, by embeddings, float32 (n, d), before the decoder is fitted to the codes by least squares.

    Each atom takes the mean strength that its feature had where it was active; in ``threshold`` mode one shift of all biases leaves ``k`` active features on average.
    """
    total, count, highest = torch.zeros_like(head.bias), torch.zeros_like(head.bias), []
    for x in sample.to(head.weight.device).split(1024):
        values = objective.values(head, x)
        total += values.sum(dim=0)
        count += (values > 0).sum(dim=0)
        highest.append(head.logits(x).topk(min(4 * head.k, head.hidden_dim), dim=1).values)
    strength = torch.where(count > 0, total / count.clamp_min(1), total.sum() / count.sum().clamp_min(1))
    head.decoder_weight.mul_(strength[:, None])
    if head.selection == "threshold":
        head.bias.sub_(usual_threshold(torch.cat(highest), head.k) - 1e-7)


def train_by(
    objective: Objective,
    embeddings: np.ndarray,
    settings: DistillSettings,
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> BinarySparsityAlignment:
    """:func:`bsa_st.training.trainer.train_head` by an objective, with at least one step."""
    callbacks = [*callbacks, objective]
    return train_head(embeddings, settings, loss=objective.on, callbacks=callbacks, show_progress_bar=False, **options)
