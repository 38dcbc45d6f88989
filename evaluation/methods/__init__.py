"""All methods by name. A family's name stands for all its members: ``pq`` for ``pq-48``, ``pq-64``..."""

from __future__ import annotations

import difflib
from dataclasses import replace

from bsa_st import BSAError, DistillSettings
from evaluation.methods.base import Method
from evaluation.methods.bits import ITQ, RandomProjection, Sign, SignCentered
from evaluation.methods.bsa import BSA, Variant
from evaluation.methods.dense import Float16, Float32, Int8, Truncated
from evaluation.methods.quantizers import OPQ, PQ, RaBitQ
from evaluation.methods.sparse import CSR, RandomTopK

STEPS = 1500
QUICK_STEPS = 150
QUICK_METHODS = ("float32", "sign", "rabitq-1bit", "bsa-topk-768-160")

VARIANTS = (
    Variant(DistillSettings(hidden_dim=4096, k=64, selection="threshold", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=4096, k=64, selection="topk", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=1536, k=200, selection="topk", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=768, k=160, selection="topk", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=768, k=96, selection="topk", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=768, k=160, selection="topk", steps=STEPS), {"refine": True}, label="refined"),
    Variant(DistillSettings(hidden_dim=4096, k=64, selection="topk", steps=STEPS), {"refine": True}, label="refined"),
    Variant(DistillSettings(hidden_dim=768, k=78, selection="topk", steps=STEPS), {"refine": True}, label="refined"),
    Variant(DistillSettings(hidden_dim=1024, k=104, selection="topk", steps=STEPS), {"refine": True}, label="refined"),
    Variant(DistillSettings(hidden_dim=768, k=118, selection="threshold", steps=STEPS), {"refine": True}, label="refined"),
    Variant(DistillSettings(hidden_dim=1536, k=200, selection="topk", steps=STEPS), {"refine": True}, label="refined"),
)
"""The BSA configurations of the tables; add a line to compare another one."""

CSR_SETTINGS = (DistillSettings(hidden_dim=4096, k=64, selection="topk", steps=STEPS),)


def all_methods(steps: int | None = None) -> dict[str, Method]:
    """Every method by name, in the order of the tables.

    Args:
        steps: Training steps of heads that are trained by gradient; default as each variant says.
    """
    methods: list[Method] = [
        Float32(),
        Float16(),
        Int8(),
        *(Truncated(width) for width in (96, 24)),
        Sign(),
        SignCentered(),
        *(RandomProjection(size) for size in (48, 64, 110, 512)),
        RandomTopK(4096, 64),
        ITQ(48),
        *(PQ(size) for size in (48, 64, 96)),
        *(OPQ(size) for size in (48, 64)),
        *(RaBitQ(bits) for bits in (1, 2)),
        *(CSR(_with_steps(recipe, steps)) for recipe in CSR_SETTINGS),
        *(BSA(replace(variant, settings=_with_steps(variant.settings, steps))) for variant in VARIANTS),
    ]
    return {method.name: method for method in methods}


def choose_methods(names: list[str], steps: int | None = None) -> list[Method]:
    """Methods by name, family or beginning of the name (``bsa-topk``); none means all.

    Raises:
        BSAError: If a name is unknown; the message suggests the nearest.
    """
    methods = all_methods(steps)
    chosen: dict[str, Method] = {}
    for wanted in names or methods:
        found = [name for name, method in methods.items() if wanted in (name, method.family)]
        found = found or [name for name in methods if name.startswith(f"{wanted}-")]
        if not found:
            known = [*methods, *dict.fromkeys(method.family for method in methods.values())]
            near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BSAError(f"unknown method {wanted!r}{hint} (all: {', '.join(methods)})")
        chosen.update((name, methods[name]) for name in found)
    return list(chosen.values())


def _with_steps(recipe: DistillSettings, steps: int | None) -> DistillSettings:
    return recipe if steps is None else replace(recipe, steps=steps)
