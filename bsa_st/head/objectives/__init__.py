"""Training objectives by name, for comparison with Binary Sparsity Alignment: one paper per file.

Every objective trains the same layer, :class:`~bsa_st.head.layer.BinarySparsityAlignment`, from the same embeddings by the same trainer; so heads of
all objectives are encoded, refined, stored and searched alike. All but BSA train with real-valued strengths;
:mod:`bsa_st.head.objectives.binarise` then makes binary codes of them, in one way for all.
"""

from __future__ import annotations

from bsa_st.head.objectives.abs_topk import AbsTopK
from bsa_st.head.objectives.base import Objective
from bsa_st.head.objectives.batch_topk import BatchTopK
from bsa_st.head.objectives.flops import Flops
from bsa_st.head.objectives.jumprelu import JumpReLU
from bsa_st.head.objectives.l1_cosine import L1Cosine
from bsa_st.head.objectives.l1_mse import L1MSE
from bsa_st.head.objectives.matching_pursuit import MatchingPursuit
from bsa_st.head.objectives.matryoshka import Matryoshka
from bsa_st.head.objectives.topk import TopK
from bsa_st.head.objectives.uhd import UHD
from bsa_st.head.settings import check_objective

OBJECTIVES: dict[str, type[Objective]] = {
    "l1-mse": L1MSE,
    "l1-cosine": L1Cosine,
    "topk": TopK,
    "batch-topk": BatchTopK,
    "jumprelu": JumpReLU,
    "flops": Flops,
    "abs-topk": AbsTopK,
    "matryoshka": Matryoshka,
    "uhd": UHD,
    "matching-pursuit": MatchingPursuit,
}
"""All objectives but ``bsa``, which :class:`~bsa_st.head.losses.BSALoss` trains."""


def make_objective(name: str) -> Objective | None:
    """A new objective by name, ``None`` for ``bsa``; an unknown name raises :class:`BSAError` with the nearest one."""
    check_objective(name)
    return OBJECTIVES[name]() if name in OBJECTIVES else None


__all__ = ["OBJECTIVES", "Objective", "make_objective"]
