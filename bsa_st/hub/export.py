"""The head as stock modules, so that plain sentence-transformers runs it with no flag and no bsa_st.

Behind the encoder and its ``Normalize`` stands a ``Router``:

- ``query``: one ``Dense``, the query weights ``w = V x``, with the unrolled encoder's own ``V``, which needs no offset.
- ``document``: the unrolled encoder (:mod:`bsa_st.head.unrolled`), a ``Dense`` and ``Hardtanh`` for each step; then the code's division by the decoded
  length, so that ``w . h / sqrt(|x_hat|^2 + softening)`` ranks as exact scores do. Values are 0 or one positive number per text.
- ``code``, the default: 0/1 codes of a linear layer, which are made to be compared with each other (:mod:`bsa_st.training.symmetric`).

How a length is had from stock modules: a ``Dense`` gives ``[x_hat, sqrt(softening), epsilon h]``, ``Normalize`` divides by its length,
which is the wanted one but for ``epsilon^2 k``, and a ``Dense`` keeps the last part divided by ``epsilon``. How bits come out exact: a ``Dense`` and
``Hardtanh`` with a large scale gives -1, 0 or 1, and one more with ``Hardsigmoid`` and the offset -3 makes 0, 0 and 1 of them; scales are split over two
layers so that all weights fit float16. Codes wider than :data:`~bsa_st.head.unrolled.MAX_DIM` have the linear encoder's 0/1 codes on both routes,
undivided: the other matrices would grow with ``D^2``. Last stands a second ``Router`` that changes nothing: ``SparseEncoder(folder)``, which would
otherwise put an untrained layer on top without a word, asks the last module for its width, gets none and says so.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Dense, Module, Router
from sentence_transformers.sentence_transformer.modules import Dropout, Normalize
from sentence_transformers.util import import_from_string
from torch import Tensor, nn

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import HALF_RANGE, MAX_DIM, power_of_two_below

STOCK_MODULES = 2
EPSILON = 2.0**-11
DEFAULT_ROUTE = "code"


@torch.no_grad()
def stock_modules(head: BinarySparsityAlignment) -> tuple[Router, Router]:
    """The two routers that end the exported model of a calibrated head; without ``head.unrolled`` documents get the linear encoder's codes.

    A topk head's linear code becomes a threshold on the logit, ``head.export_threshold``, chosen so that ``k`` features per text are active on average.
    """
    if head.unrolled is None:
        decoder, offset, softening = head.decoder_weight.cpu(), head.decoder_bias.cpu(), float(head.length_softening)
    else:
        decoder, offset, softening = head.unrolled.decoder, torch.zeros(head.input_dim), head.unrolled.softening
    query = Dense(head.input_dim, head.hidden_dim, bias=False, activation_function=nn.Identity(), init_weight=decoder.clone())
    linear = torch.cat([(head.bias - head.export_threshold)[:, None], head.weight], dim=1).cpu()
    if head.hidden_dim > MAX_DIM:
        code = document = _affine(head, linear, nn.Hardsigmoid())
    else:
        ones = torch.ones(head.hidden_dim)
        exact = _dense(HALF_RANGE * torch.diag(ones), -3 * ones, nn.Hardsigmoid())  # from -1, 0 and 1 to 0, 0 and 1
        plain = _affine(head, linear, nn.Hardtanh())
        code = [*(plain if head.symmetric is None else _affine(head, head.symmetric.cpu(), nn.Hardtanh())), exact]
        unrolled = [] if head.unrolled is None else [_dense(*layer, nn.Hardtanh()) for layer in head.unrolled.layers]
        document = [*(unrolled or plain), exact, *_divided_by_length(decoder, offset, softening)]
    routes: dict[str, list[Module]] = {"query": [query], "document": document, DEFAULT_ROUTE: code}
    nothing = Dropout(0.0)
    unchanged: dict[str, list[Module]] = {name: [nothing] for name in routes}
    return Router(routes, default_route=DEFAULT_ROUTE), Router(unchanged, default_route=DEFAULT_ROUTE)


def router_files(router: Router) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """``router_config.json`` of a router, with names and parameters that earlier releases of sentence-transformers know; and its modules by their folders."""
    names: dict[nn.Module, str] = {}
    structure: dict[str, list[str]] = {}
    for route, modules in router.sub_modules.items():
        places = enumerate(modules.children())
        structure[route] = [names.setdefault(one, f"{route}_{place}_{type(one).__name__}") for place, one in places]
    types = {name: common_name(f"{type(one).__module__}.{type(one).__name__}") for one, name in names.items()}
    parameters = {"default_route": router.default_route, "allow_empty_key": router.allow_empty_key}
    return {"types": types, "structure": structure, "parameters": parameters}, {name: one for one, name in names.items()}


def common_name(kind: str) -> str:
    """A module's class as every release of sentence-transformers knows it, not only those from 6.0 on."""
    common = f"sentence_transformers.models.{kind.rsplit('.', 1)[-1]}"
    try:
        return common if import_from_string(common) is import_from_string(kind) else kind
    except ImportError:  # a class that came later
        return kind


def _affine(head: BinarySparsityAlignment, weight: Tensor, activation: nn.Module) -> list[Module]:
    """A layer ``[b, W]``, float32 (D, 1 + d), on ``x - mean`` as two layers (d -> d + 1 -> D): the first subtracts the mean and puts a constant column in front, the second applies ``[b, W]``.

    Both are scaled by powers of two so large that the activation saturates, which changes no rounding: in threshold mode the codes equal those of
    :class:`~bsa_st.head.layer.BinarySparsityAlignment` bit for bit. A Hardsigmoid gives 0.5 where float32 rounds a logit to exactly 0, about once in 10^9.
    """
    d = head.input_dim
    scale = power_of_two_below(HALF_RANGE / 2, head.input_bound)
    constant_first = torch.cat([torch.zeros(1, d), torch.eye(d)]) * scale
    shift = _dense(constant_first, torch.cat([torch.ones(1), -head.mean.cpu()]) * scale, nn.Identity())
    weight = weight * power_of_two_below(HALF_RANGE, weight.abs().max())
    return [shift, _dense(weight, torch.zeros(len(weight)), activation)]


def _divided_by_length(decoder: Tensor, offset: Tensor, softening: float) -> list[Module]:
    """From ``h`` to ``h / sqrt(|x_hat|^2 + softening)``."""
    features, width = decoder.shape
    beside = torch.cat([decoder.T.half().float(), torch.zeros(1, features), EPSILON * torch.eye(features)])
    constant = torch.cat([offset.half().float(), torch.tensor([softening]).sqrt().half().float(), torch.zeros(features)])
    keep = torch.cat([torch.zeros(features, width + 1), torch.eye(features) / EPSILON], dim=1)
    return [_dense(beside, constant, nn.Identity()), Normalize(), _dense(keep, torch.zeros(features), nn.Identity())]


def _dense(weight: Tensor, bias: Tensor, activation: nn.Module) -> Dense:
    height, width = weight.shape
    return Dense(width, height, activation_function=activation, init_weight=weight.clone(), init_bias=bias.clone())
