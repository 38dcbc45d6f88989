"""All methods by name. A family's name stands for all its members: ``pq`` for ``pq-48``, ``pq-64``..."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from bsa_st import BSAError, DistillSettings
from evaluation.budgets import BUDGETS, OVERLAP, SPARSE, WIDTH, scaled, scaled_name
from evaluation.methods.base import Method
from evaluation.methods.bits import ITQ, RandomProjection, Sign, SignCentered
from evaluation.methods.bsa import BSA, Variant
from evaluation.methods.dense import Float16, Float32, Int8, Truncated
from evaluation.methods.quantizers import OPQ, PQ, RaBitQ, product_size
from evaluation.methods.sparse import CSR, RandomTopK

STEPS = 1500
QUICK_STEPS = 150
QUICK_METHODS = ("float32", "sign", "rabitq-1bit", BUDGETS[48])
CORE = "core"
CORE_FAMILIES = ("float32", "sign", "sign-centered", "random-projection", "pq", "opq", "rabitq")
"""With the recommended BSA methods, what ``--methods core`` stands for."""

ELASTIC = DistillSettings(hidden_dim=1536, k=200, selection="topk", nested=((768, 126), (768, 78)), steps=STEPS)
DENSE = DistillSettings(hidden_dim=872, k=436, selection="topk", nested=((504, 250), (376, 188)), steps=STEPS)
"""About half of the features active: as many bits as bytes allow, which overlap alone needs."""
REFINED = {"refine": True}

VARIANTS = (
    Variant(DistillSettings(hidden_dim=4096, k=64, selection="threshold", steps=STEPS)),
    Variant(DistillSettings(hidden_dim=4096, k=64, selection="topk", steps=STEPS), REFINED, label="refined"),
    Variant(DistillSettings(hidden_dim=768, k=112, selection="threshold", steps=STEPS), REFINED, label="refined"),
    Variant(DistillSettings(hidden_dim=768, k=126, selection="topk", steps=STEPS), REFINED, label="refined"),
    *(Variant(ELASTIC, REFINED, label="elastic", budget=budget) for budget in ((768, 78), (768, 126), (1536, 200))),
    *(Variant(DENSE, label="plain", budget=budget) for budget in ((376, 188), (504, 250), (872, 436))),
)
"""The BSA configurations of the tables; add a line to compare another one. The elastic and plain ones are a trained head at three budgets."""

CSR_SETTINGS = (DistillSettings(hidden_dim=4096, k=64, selection="topk", steps=STEPS),)
"""CSR at the active features of the sparse BSA method."""


def all_methods(steps: int | None = None, width: int = WIDTH, seed: int = 0) -> dict[str, Method]:
    """Every method by name, in the order of the tables.

    Args:
        steps: Training steps of heads that are trained by gradient; default as each variant says.
        width: Dimensions of the encoder; bytes, dictionaries and active features are scaled to it.
        seed: Seed of the BSA and CSR heads.
    """

    def sizes(hidden_dim: int, k: int) -> tuple[int, int]:
        return scaled(hidden_dim, width), scaled(k, width)

    def fitted_in(recipe: DistillSettings) -> DistillSettings:
        hidden_dim, k = sizes(recipe.hidden_dim, recipe.k)
        nested = tuple(sizes(*budget) for budget in recipe.nested)
        steps_taken = recipe.steps if steps is None else steps
        return replace(recipe, hidden_dim=hidden_dim, k=k, nested=nested, steps=steps_taken, seed=seed)

    def bsa(variant: Variant) -> BSA:
        budget = sizes(*variant.budget) if variant.budget else None
        return BSA(replace(variant, settings=fitted_in(variant.settings), budget=budget))

    def product_sizes(*sizes: int) -> list[int]:
        return list(dict.fromkeys(product_size(scaled(size, width), width) for size in sizes))

    methods: list[Method] = [
        Float32(),
        Float16(),
        Int8(),
        *(Truncated(scaled(dimensions, width)) for dimensions in (96, 24)),
        Sign(),
        SignCentered(),
        *(RandomProjection(scaled(size, width)) for size in (48, 64, 110, 512)),
        RandomTopK(scaled(4096, width), scaled(64, width)),
        ITQ(scaled(48, width)),
        *(PQ(size) for size in product_sizes(48, 64, 96, 108)),
        *(OPQ(size) for size in product_sizes(48, 64, 96, 108)),
        *(RaBitQ(bits) for bits in (1, 2)),
        *(CSR(fitted_in(recipe)) for recipe in CSR_SETTINGS),
        *map(bsa, VARIANTS),
    ]
    return {method.name: method for method in methods}


def choose_methods(names: list[str], steps: int | None = None, width: int = WIDTH, seed: int = 0) -> list[Method]:
    """Methods by name, family or beginning of the name (``bsa-topk``); none means all, ``core`` a short list.

    BSA methods may go by their names for 384-d whatever the width, e.g. ``bsa-topk-768-126-elastic``.

    Raises:
        BSAError: If a name is unknown; the message suggests the nearest.
    """
    methods = all_methods(steps, width, seed)
    chosen: dict[str, Method] = {}
    recommended = [scaled_name(name, width) for name in (*BUDGETS.values(), *OVERLAP.values(), SPARSE)]
    for wanted in [part for name in names or methods for part in ((*CORE_FAMILIES, *recommended) if name == CORE else (name,))]:
        found = [name for name, method in methods.items() if wanted in (name, method.family)]
        found = found or [name for name in methods if name.startswith(f"{wanted}-")]
        found = found or [name for name in methods if name == scaled_name(wanted, width)]
        if not found:
            known = [*methods, CORE, *dict.fromkeys(re.sub(r"-\d.*", "", name) for name in methods)]
            near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BSAError(f"unknown method {wanted!r}{hint} (all: {', '.join(methods)})")
        chosen.update((name, methods[name]) for name in found)
    return list(chosen.values())
