"""Binary sparse codes for sentence-transformers, by Binary Sparsity Alignment.

The names below are the public interface; each is imported when it is first used, so that working with codes alone
(``BinaryCodes``, ``scoring``) does not import torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from bsa_st.codes import BinaryCodes
    from bsa_st.codes.shards import ShardedCodes
    from bsa_st.concepts.explain import Explanation, explain
    from bsa_st.concepts.names import name_features, tags
    from bsa_st.encoding.encode import encode, encode_embeddings
    from bsa_st.encoding.shards import encode_to_shards
    from bsa_st.head.layer import BinarySparsityAlignment
    from bsa_st.head.losses import BSALoss, CosineReconstructionLoss, SoftTopKCosineLoss
    from bsa_st.head.settings import DistillSettings
    from bsa_st.hub.folder import load, save, save_sparse_encoder
    from bsa_st.hub.push import push_to_hub
    from bsa_st.search import Index, search
    from bsa_st.shipped.attach import attach
    from bsa_st.training.budgets import truncate
    from bsa_st.training.distill import distill

__version__ = "0.1.0"

_MODULES = {
    "codes": "BinaryCodes",
    "codes.shards": "ShardedCodes",
    "concepts.names": "name_features tags",
    "concepts.explain": "Explanation explain",
    "encoding.encode": "encode encode_embeddings",
    "encoding.shards": "encode_to_shards",
    "head.layer": "BinarySparsityAlignment",
    "head.losses": "BSALoss CosineReconstructionLoss SoftTopKCosineLoss",
    "head.settings": "DistillSettings",
    "hub.folder": "load save save_sparse_encoder",
    "hub.push": "push_to_hub",
    "search": "search",
    "search.index": "Index",
    "shipped.attach": "attach",
    "training.budgets": "truncate",
    "training.distill": "distill",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["BSAError", "BSALoss", "BinaryCodes", "BinarySparsityAlignment", "CosineReconstructionLoss", "DistillSettings"]
__all__ += ["Explanation", "Index", "SoftTopKCosineLoss", "distill", "encode", "encode_embeddings", "explain", "load"]
__all__ += ["ShardedCodes", "encode_to_shards"]
__all__ += ["attach", "name_features", "push_to_hub", "save", "save_sparse_encoder", "search", "tags", "truncate"]


class _LazyPackage(ModuleType):
    """Imports public names on first use; ``bsa_st.distill`` stays the function although a module is called so too."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'bsa_st' has no attribute {name!r}")
        module = importlib.import_module(f"bsa_st.{_HOMES[name]}")
        self.__dict__[name] = getattr(module, name)
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _LazyPackage
