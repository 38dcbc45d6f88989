"""Checks of a model folder from elsewhere, made before anything of it is loaded.

Nothing but JSON and safetensors is read; every size that a config claims must agree with the header of the weights beside it, so
that memory is only ever allocated for data that is really there; no path may lead out of the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import MAX_DIM

FOLDER = "bsa"
"""Where a model folder holds what plain sentence-transformers does not need."""
FORMAT_VERSION = 2
PICKLES = ("pytorch_model*.bin", "adapter_model*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.dill")
"""Names of files that can run code when they are read."""

MAX_JSON_BYTES = 1 << 26
STORED_TYPES = ("F16", "F32")
EXCESS = 4
"""A config may describe so many times the parameters of its weights file: an unused decoder or pooler, nothing more."""

LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")
NO_SIZE = re.compile(r"theta|_id$|_ids$|seed|version")


class Entry(NamedTuple):
    """A tensor as the header of a safetensors file describes it."""

    shape: tuple[int, ...]
    dtype: str


def check_encoder(folder: Path, stock_modules: int) -> list[str]:
    """Refuse a model folder that plain loading would not be safe or possible with.

    Args:
        folder: The model folder.
        stock_modules: Number of routers that end the model.

    Returns:
        Folders of the routers.

    Raises:
        BSAError: If a file is a pickle, ``modules.json`` names a class outside sentence-transformers or a path outside the
            folder, or a config claims other sizes than its weights file has; the message names the file.
    """
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
        found: list[Any] = [entry.get(key) for key in ("name", "type", "path")] if isinstance(entry, dict) else [None] * 3
        _, kind, place = found
        if not all(isinstance(value, str) for value in found):
            raise BSAError(f"{path}: damaged (an entry without name, type and path)")
        if not re.fullmatch(r"sentence_transformers(\.\w+)+", kind):
            raise BSAError(f"{path}: {kind!r} is not of sentence-transformers; code from elsewhere is not run")
        if PureWindowsPath(place).anchor or ".." in PureWindowsPath(place).parts or "\0" in place:
            raise BSAError(f"{path}: the path {place!r} leads out of the model folder")
        modules.append((kind, place))
    return modules


def read_json(path: Path, kind: type) -> Any:
    """Content of a JSON file that holds an object of this kind.

    Raises:
        BSAError: If the file is missing, larger than 64 MB or damaged.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BSAError(f"{path}: larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BSAError(f"{path}: file not found; the folder holds no BSA model, or only its stock modules") from error
    except OSError as error:
        raise BSAError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BSAError) else BSAError(f"{path}: damaged ({error})") from error
    if not isinstance(content, kind):
        raise BSAError(f"{path}: damaged (not a JSON {'object' if kind is dict else 'array'})")
    return content


def read_header(path: Path) -> dict[str, Entry]:
    """Name, shape and type of every tensor in a safetensors file, without reading one.

    Raises:
        BSAError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            return {name: Entry(tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except FileNotFoundError as error:
        raise BSAError(f"{path}: file not found") from error
    except (SafetensorError, OSError) as error:
        raise BSAError(f"{path}: damaged ({error})") from error


def check_header(path: Path, expected: dict[str, tuple[int, ...]], types: tuple[str, ...] = ("F32",)) -> None:
    """Raise :class:`BSAError` unless a safetensors file holds these tensors, each in one of the types."""
    found = read_header(path)
    if missing := expected.keys() - found.keys():
        raise BSAError(f"{path}: lacks {', '.join(sorted(missing))}")
    for name, shape in expected.items():
        if found[name].shape != shape or found[name].dtype not in types:
            wanted = " or ".join(types)
            raise BSAError(
                f"{path}: {name} has shape {found[name].shape} and type {found[name].dtype}, expected {shape} {wanted}"
            )


def check_dense(folder: Path, expected: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise :class:`BSAError` unless a folder holds a ``Dense`` of this configuration with weights of these shapes."""
    config = read_json(folder / "config.json", dict)
    if config.get("use_residual") or any(config.get(key) != value for key, value in expected.items()):
        raise BSAError(f"{folder / 'config.json'}: expected a Dense with {expected}, found {config}")
    check_header(folder / "model.safetensors", shapes, STORED_TYPES)


def read_layer(path: Path, width: int, height: int, bias: bool = True) -> tuple[Tensor, Tensor]:
    """Weight and bias of a ``Dense``, float32 (height, width) and (height,); zeros where it shall have none.

    Raises:
        BSAError: If the file is missing or damaged, has other shapes, or holds values that are not finite.
    """
    check_header(path, {"linear.weight": (height, width), **({"linear.bias": (height,)} if bias else {})}, STORED_TYPES)
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BSAError(f"{path}: {name} holds NaN or infinite values")
    return tensors["linear.weight"].float(), tensors["linear.bias"].float() if bias else torch.zeros(height)


def _check_module(kind: str, folder: Path) -> None:
    """Compare the sizes in a module's config with what its weights files hold."""
    entries = [entry for path in sorted(folder.glob("*.safetensors")) for entry in read_header(path).values()]
    elements = sum(_numel(entry.shape) for entry in entries)
    path = folder / "config.json"
    if not path.is_file():
        return
    config = read_json(path, dict)
    for key, value in _whole_numbers(config):
        limit = len(entries) if key in LAYER_KEYS else max(elements, MAX_DIM)
        if value > limit and not NO_SIZE.search(key):
            raise BSAError(f"{path}: {key} = {value} is more than its weights have ({limit})")
    if kind.rsplit(".", 1)[-1] == "Transformer":
        described = _parameters(folder)
        if described > EXCESS * elements + MAX_DIM:
            raise BSAError(f"{path}: describes {described} parameters, its weights have {elements}")


def _parameters(folder: Path) -> int:
    """Parameters that a transformers config describes, counted without allocating any; 0 if only loading can tell."""
    from transformers import AutoConfig, AutoModel  # slow to import, and needed for this alone

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())
    except Exception:  # whatever is wrong with it, loading says so in the next step
        return 0


def _whole_numbers(config: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _whole_numbers(value, name)
    elif isinstance(config, list):
        for value in config:
            yield from _whole_numbers(value, key)
    elif type(config) is int:
        yield key, config


def _numel(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def load_head_config(folder: Path) -> BinarySparsityAlignment:
    """The head that ``config.json`` in a ``bsa`` folder describes, on the meta device: sizes, but no weights."""
    path = folder / "config.json"
    config = read_json(path, dict)
    version = config.get("format_version")
    if type(version) is not int:
        raise BSAError(f"{path}: no format_version")
    if version < FORMAT_VERSION:
        raise BSAError(
            f"{path}: format version {version} is of an earlier bsa_st, without routes for queries and documents; load the model with bsa_st 0.1 "
            "or distill it again, then save it"
        )
    if version > FORMAT_VERSION:
        raise BSAError(f"{path}: format version {version} is newer than this bsa_st reads ({FORMAT_VERSION}); update bsa_st")
    settings: dict[str, Any] = {key: config.get(key) for key in BinarySparsityAlignment.config_keys}
    settings["nested"] = [] if settings["nested"] is None else settings["nested"]
    if any(type(settings[key]) is not int for key in ("input_dim", "hidden_dim", "k")):
        raise BSAError(f"{path}: input_dim, hidden_dim and k must be whole numbers, got {settings}")
    if type(config.get("symmetric")) is not bool:
        raise BSAError(f"{path}: symmetric must be true or false, got {config.get('symmetric')!r}")
    try:
        with torch.device("meta"):
            head = BinarySparsityAlignment(**settings)
            if config["symmetric"]:
                head.symmetric = torch.empty(head.hidden_dim, 1 + head.input_dim)
            return head
    except BSAError as error:
        raise BSAError(f"{path}: {error}") from error
