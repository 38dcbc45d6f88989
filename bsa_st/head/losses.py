"""The two cosine losses of Binary Sparsity Alignment and their sum.

Source: "Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations".
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class _HeadLoss(nn.Module, abc.ABC):
    """What the losses share: run the model on every column of the batch and average ``head_loss`` over the columns."""

    citation = """
@misc{bsa,
    title = {Sparsity beyond TopK: A Novel Cosine Loss for Sparse Binary Representations},
    note = {Binary Sparsity Alignment: soft top-k cosine loss and cosine reconstruction},
}
"""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        columns = [self.head_loss(self.model(features)) for features in sentence_features]
        if isinstance(columns[0], dict):
            return {part: torch.stack([column[part] for column in columns]).mean() for part in columns[0]}
        return torch.stack(columns).mean()

    @abc.abstractmethod
    def head_loss(self, features: dict[str, Any]) -> Any:
        """Loss of one column from the training outputs of the head, averaged over its budgets: a scalar, or one for each named part."""

    def get_config_dict(self) -> dict[str, Any]:
        """Settings that go into the model card."""
        return {}


def _distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.stack([1 - F.cosine_similarity(left, right, dim=-1).mean() for left, right in pairs]).mean()


class SoftTopKCosineLoss(_HeadLoss):
    """Alignment ``1 - cos(p, t)`` of the feature probabilities ``p`` with their own top-k target ``t``, for a model as in :class:`BSALoss`.

    It pulls a text towards ``k`` active features without forbidding more where the text needs them, and every
    feature keeps a gradient, so none has to be revived. Example: ``loss = bsa_st.SoftTopKCosineLoss(model)``
    """

    def head_loss(self, features: dict[str, Any]) -> Tensor:
        nested = ((probability, target) for probability, target, _ in features.get("bsa_nested", ()))
        return _distance([(features["bsa_probability"], features["bsa_target"]), *nested])


class CosineReconstructionLoss(_HeadLoss):
    """Distillation ``1 - cos(x, x_hat)`` of the decoded code against the frozen dense embedding, for a model as in :class:`BSALoss`.

    It does not make codes sparse; :class:`SoftTopKCosineLoss` does. Example: ``loss = bsa_st.CosineReconstructionLoss(model)``
    """

    def head_loss(self, features: dict[str, Any]) -> Tensor:
        decoded = [features["bsa_reconstruction"], *(view[2] for view in features.get("bsa_nested", ()))]
        return _distance((features["bsa_input"], one) for one in decoded)


class BSALoss(_HeadLoss):
    """``reconstruction + alignment_weight * alignment``; both parts are logged separately by the trainer.

    Args:
        model: A model whose last module is a :class:`~bsa_st.head.layer.BinarySparsityAlignment`, in training mode.
        alignment_weight: Weight of :class:`SoftTopKCosineLoss`, at least 0.

    Example: ``loss = bsa_st.BSALoss(model, alignment_weight=1.0)``, the ``loss`` of a ``SentenceTransformerTrainer``.
    """

    def __init__(self, model: SentenceTransformer, alignment_weight: float = 1.0) -> None:
        super().__init__(model)
        if alignment_weight < 0:
            raise BSAError(f"alignment_weight must not be negative, got {alignment_weight}")
        self.alignment_weight = alignment_weight
        self.reconstruction = CosineReconstructionLoss(model)
        self.alignment = SoftTopKCosineLoss(model)

    def head_loss(self, features: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "reconstruction_loss": self.reconstruction.head_loss(features),
            "alignment_loss": self.alignment_weight * self.alignment.head_loss(features),
        }

    def get_config_dict(self) -> dict[str, Any]:
        return {"alignment_weight": self.alignment_weight}
