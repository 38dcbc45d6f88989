"""Checks of a model folder from elsewhere, made before anything of it is loaded.

Nothing but JSON and safetensors is read; every size that a config claims must agree with the header of the weights beside it, so
that memory is only ever allocated for data that is really there; no path may lead out of the folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import MAX_DIM

FOLDER = "bsa"  # where a model folder holds what plain sentence-transformers does not need
WEIGHTS = "model.safetensors"
FORMAT_VERSION = 2
PICKLES = ("pytorch_model*.bin", "adapter_model*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.dill")
"""Names of files that can run code when they are read."""

MAX_JSON_BYTES = 1 << 26
EXCESS = 4  # times the parameters of its weights file that a config may describe: an unused decoder or pooler, nothing more
LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")
NO_SIZE = re.compile(r"theta|_id$|_ids$|seed|version")


def check_encoder(folder: Path, stock_modules: int) -> list[str]:
    """Refuse a model folder that plain loading would not be safe or possible with: pickles, classes outside sentence-transformers, paths that lead out,
    configs that claim other sizes than their weights have. Returns the folders of the ``stock_modules`` routers that end the model."""
    for path in folder.rglob("*"):
        if any(fnmatch(path.name, pattern) for pattern in PICKLES):
            raise BSAError(f"{path}: pickled files can run code and are not read; save the model as safetensors")
    modules = read_modules(folder)
    if len(modules) <= stock_modules:
        raise BSAError(f"{folder / 'modules.json'}: lists {len(modules)} modules, too few for an encoder and a head")
    if any(kind.rsplit(".", 1)[-1] != "Router" for kind, _ in modules[-stock_modules:]):
        raise BSAError(f"{folder / 'modules.json'}: a BSA model ends with {stock_modules} modules of the class Router")
    for kind, place in modules[:-stock_modules]:
        _check_module(kind, folder / place)
    return [place for _, place in modules[-stock_modules:]]


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """Class name and relative folder of every module in ``modules.json``, checked."""
    path = folder / "modules.json"
    modules = []
    for entry in read_json(path, list):
        kind, place = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str):
            raise BSAError(f"{path}: damaged (an entry without type and path)")
        if not re.fullmatch(r"sentence_transformers(\.\w+)+", kind):
            raise BSAError(f"{path}: {kind!r} is not of sentence-transformers; code from elsewhere is not run")
        if PureWindowsPath(place).anchor or ".." in PureWindowsPath(place).parts or "\0" in place:
            raise BSAError(f"{path}: the path {place!r} leads out of the model folder")
        modules.append((kind, place))
    return modules


def read_json(path: Path, kind: type) -> Any:
    """Content of a JSON file that holds a ``dict`` or ``list``; raises :class:`BSAError` if it is missing, larger than 64 MB or damaged."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BSAError(f"{path}: file not found; the folder holds no BSA model, or only its stock modules") from error
    except OSError as error:
        raise BSAError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise BSAError(f"{path}: damaged ({error})") from error
    if not isinstance(content, kind):
        raise BSAError(f"{path}: damaged (not a JSON {'object' if kind is dict else 'array'})")
    return content


def read_header(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every tensor in a safetensors file, without reading one; raises :class:`BSAError` if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except FileNotFoundError as error:
        raise BSAError(f"{path}: file not found") from error
    except (SafetensorError, OSError) as error:
        raise BSAError(f"{path}: damaged ({error})") from error


def read_tensors(path: Path, shapes: dict[str, tuple[int, ...]], types: tuple[str, ...] = ("F32",)) -> dict[str, Tensor]:
    """These tensors of a safetensors file; raises :class:`BSAError` if one is missing, has another shape or type, or holds values that are not finite."""
    found = read_header(path)
    if missing := shapes.keys() - found.keys():
        raise BSAError(f"{path}: lacks {', '.join(sorted(missing))}")
    for name, shape in shapes.items():
        size, kind = found[name]
        if size != shape or kind not in types:
            raise BSAError(f"{path}: {name} has shape {size} and type {kind}, expected {shape} {' or '.join(types)}")
    tensors = {name: tensor for name, tensor in load_file(path).items() if name in shapes}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BSAError(f"{path}: {name} holds NaN or infinite values")
    return tensors


def read_layer(folder: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weight and bias of a ``Dense``, float32; raises as :func:`read_tensors`."""
    return {name: tensor.float() for name, tensor in read_tensors(folder / WEIGHTS, shapes, ("F16", "F32")).items()}


def _check_module(kind: str, folder: Path) -> None:
    """Compare the sizes in a module's config with what its weights files hold."""
    path = folder / "config.json"
    if not path.is_file():
        return
    sizes = [math.prod(shape) for file in folder.glob("*.safetensors") for shape, _ in read_header(file).values()]
    for key, value in _whole_numbers(read_json(path, dict)):
        limit = len(sizes) if key in LAYER_KEYS else max(sum(sizes), MAX_DIM)
        if value > limit and not NO_SIZE.search(key):
            raise BSAError(f"{path}: {key} = {value} is more than its weights have ({limit})")
    if kind.rsplit(".", 1)[-1] != "Transformer":
        return
    from transformers import AutoConfig, AutoModel  # slow to import, and needed for this alone

    described = 0
    with suppress(Exception), torch.device("meta"):  # whatever is wrong with it, loading says so in the next step
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        described = sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())
    if described > EXCESS * sum(sizes) + MAX_DIM:
        raise BSAError(f"{path}: describes {described} parameters, its weights have {sum(sizes)}")


def _whole_numbers(config: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _whole_numbers(value, name)
    elif isinstance(config, list):
        for value in config:
            yield from _whole_numbers(value, key)
    elif type(config) is int:
        yield key, config


def load_head_config(folder: Path) -> tuple[BinarySparsityAlignment, dict[str, Any]]:
    """The head that ``config.json`` in a ``bsa`` folder describes, on the meta device: sizes, but no weights; and what else it says."""
    path = folder / "config.json"
    config = read_json(path, dict)
    version = config.get("format_version")
    if type(version) is not int:
        raise BSAError(f"{path}: no format_version")
    if version != FORMAT_VERSION:
        earlier = "of an earlier bsa_st, without routes for queries and documents; distill the model again, then save it"
        newer = f"newer than this bsa_st reads ({FORMAT_VERSION}); update bsa_st"
        raise BSAError(f"{path}: format version {version} is {earlier if version < FORMAT_VERSION else newer}")
    settings: dict[str, Any] = {key: config.get(key) for key in BinarySparsityAlignment.config_keys}
    if any(type(settings[key]) is not int for key in ("input_dim", "hidden_dim", "k")):
        raise BSAError(f"{path}: input_dim, hidden_dim and k must be whole numbers, got {settings}")
    try:
        with torch.device("meta"):
            head = BinarySparsityAlignment(**{**settings, "nested": settings["nested"] or []})
            if config.get("symmetric"):
                head.symmetric = torch.empty(head.hidden_dim, 1 + head.input_dim)
    except BSAError as error:
        raise BSAError(f"{path}: {error}") from error
    return head, config
