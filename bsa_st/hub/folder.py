"""One folder, two loaders: a BSA model on disk or on the Hub.

``modules.json`` lists stock modules only, so ``SentenceTransformer(folder)`` needs neither a flag nor bsa_st. The folder ``bsa/``
beside it holds the full head for :func:`load`: ``config.json``, ``model.safetensors``, ``training.json`` and, once
``bsa-st names`` has named features, ``names.json`` and ``names.safetensors``.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as tensor_bytes
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Router

from bsa_st.atomic import atomic_file, write_json
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.encoding.encode import CARD_KEYS, rebuild, split_model
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import UnrolledEncoder, layer_shapes, steps_that_fit
from bsa_st.hub import checks
from bsa_st.hub.card import model_card
from bsa_st.hub.checks import FOLDER, WEIGHTS
from bsa_st.hub.export import STOCK_MODULES, common_name, router_files, stock_modules
from bsa_st.hub.remote import download, reason

ROUTER_CONFIG = "router_config.json"
NAMES, NAME_WEIGHTS, NAMES_VERSION = "names.json", "names.safetensors", 1


def save(model: SentenceTransformer, folder: str | Path) -> None:
    """Write a BSA model in the two-loader format.

    The folder is written aside and renamed at the end, so an earlier model in its place stays whole until then.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`load`.
        folder: Where to write; a BSA model there is replaced.

    Raises:
        BSAError: If the model has no BSA head, the folder holds something else, or the disk fails.

    Example: ``bsa_st.save(model, "my-bsa-model")``
    """
    encoder, head = split_model(model)
    target = Path(folder)
    check_target(target)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            aside = Path(scratch) / "model"
            _write(encoder, head, aside)
            if target.exists():
                os.rename(target, Path(scratch) / "replaced")
            os.rename(aside, target)
    except OSError as error:
        raise BSAError(f"cannot write the model to {target}: {error.strerror or error}") from error


def check_target(folder: Path) -> None:
    """Raise :class:`BSAError` if a folder holds something else than a BSA model or cannot be written to, before anything long is done for it."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / FOLDER).is_dir())):
        raise BSAError(f"{folder} exists and is no BSA model; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent) as probe:
            probe.write(b"0")
    except OSError as error:
        raise BSAError(f"cannot write the model to {folder}: {error.strerror or error}") from error


def load(
    name_or_folder: str | Path,
    *,
    device: str | None = None,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    token: bool | str | None = None,
    **kwargs: Any,
) -> SentenceTransformer:
    """Load a BSA model with its full head: decoding, exact top-k, figures of its training.

    Args:
        name_or_folder: A folder written by :func:`save`, or the name of such a model on the Hub.
        device: Where to put the model, e.g. ``"cuda"``.
        revision: Branch, tag or commit on the Hub.
        cache_folder: Folder for downloads; default that of huggingface_hub.
        local_files_only: Use only what is already in the cache.
        token: Access token for the Hub; default the one logged in with.
        **kwargs: Passed to :class:`sentence_transformers.SentenceTransformer`, e.g. ``model_kwargs``.

    Returns:
        The encoder's modules followed by a :class:`~bsa_st.head.layer.BinarySparsityAlignment`, in evaluation mode.

    Raises:
        BSAError: If the model is missing, has no ``bsa`` folder, or a file of it is damaged, does not fit or is newer
            than this version; the message names the file.

    Example: ``model = bsa_st.load("my-bsa-model")``
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        source: dict[str, Any] = {"revision": revision, "cache_dir": cache_folder, "token": token}
        folder = download(str(name_or_folder), local_files_only=local_files_only, **source)
    head, config = check_folder(folder)
    try:
        options = {"local_files_only": not kwargs.get("trust_remote_code"), "token": token, **kwargs}
        stock = SentenceTransformer(str(folder), device=device, **options)
        for name in CARD_KEYS:
            setattr(stock.model_card_data, name, config.get(name))
        return rebuild(stock, [*list(stock)[:-STOCK_MODULES], head.to(stock.device)])
    except Exception as error:  # a damaged or hostile encoder can fail in any way
        raise BSAError(f"{folder}: sentence-transformers cannot load the encoder ({reason(error)})") from error


def check_folder(folder: Path) -> tuple[BinarySparsityAlignment, dict[str, Any]]:
    """Check a model folder, its encoder's files included, before sentence-transformers loads it; raises what :func:`load` raises for a folder. Returns
    the head, with the unrolled encoder of the ``document`` route, and the content of its ``config.json``."""
    beside = folder / FOLDER
    head, config = checks.load_head_config(beside)
    shapes = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    head.load_state_dict(checks.read_tensors(beside / WEIGHTS, shapes), assign=True)
    head.requires_grad_(True).eval()
    if (beside / "training.json").is_file():
        head.report = checks.read_json(beside / "training.json", dict)
    head.names = read_names(beside, head.input_dim)
    steps, softening = config.get("unrolled_steps"), config.get("unrolled_softening")
    if type(steps) is not int or not 0 <= steps <= steps_that_fit(head.input_dim, head.hidden_dim):
        raise BSAError(f"{beside / 'config.json'}: unrolled_steps must be a whole number that fits the head, got {steps!r}")
    if type(softening) is not float or not 0 <= softening < math.inf:
        raise BSAError(f"{beside / 'config.json'}: unrolled_softening must be a number, at least 0, got {softening!r}")
    places = checks.check_encoder(folder, STOCK_MODULES)
    if steps:
        layers = []
        for number, (width, height) in enumerate(layer_shapes(head.input_dim, head.hidden_dim, steps)):
            shape = {"linear.weight": (height, width), "linear.bias": (height,)}
            layer = checks.read_layer(folder / places[0] / f"document_{number}_Dense", shape)
            layers.append((layer["linear.weight"], layer["linear.bias"]))
        query = checks.read_layer(folder / places[0] / "query_0_Dense", {"linear.weight": (head.hidden_dim, head.input_dim)})
        head.unrolled = UnrolledEncoder(tuple(layers), query["linear.weight"], softening)
    for router, place in zip(stock_modules(head), places, strict=True):
        path = folder / place / ROUTER_CONFIG
        routes, modules = router_files(router)
        if checks.read_json(path, dict) != routes:
            raise BSAError(f"{path}: not the routes that a BSA model of this head has; save it again")
        for name, module in modules.items():
            if isinstance(module, Dense):
                _check_dense(folder / place / name, module)
    return head, config


def _check_dense(folder: Path, module: Dense) -> None:
    """Raise :class:`BSAError` unless a folder holds this ``Dense``."""
    expected, config = module.get_config_dict(), checks.read_json(folder / "config.json", dict)
    if config.get("use_residual") or any(config.get(key) != value for key, value in expected.items()):
        raise BSAError(f"{folder / 'config.json'}: expected a Dense with {expected}, found {config}")
    weights = module.state_dict()
    found = checks.read_layer(folder, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    if not all(torch.equal(tensor, found[name]) for name, tensor in weights.items()):
        raise BSAError(f"{folder}: not of the same model as {FOLDER}/{WEIGHTS}; save it again")


def write_names(dictionary: NamedDictionary, folder: Path) -> None:
    """Write ``names.json`` and ``names.safetensors`` into a ``bsa`` folder, each atomically."""
    (folder / NAMES).unlink(missing_ok=True)  # so that names never stand beside weights of others
    with atomic_file(folder / NAME_WEIGHTS) as file:
        file.write(tensor_bytes({name: torch.from_numpy(np.array(getattr(dictionary, name))) for name in _name_shapes(0, 0)}))
    content = {"format_version": NAMES_VERSION, "k": dictionary.k, "names": dictionary.names, "aliases": dictionary.aliases}
    write_json(folder / NAMES, content)


def read_names(folder: Path, width: int) -> NamedDictionary | None:
    """What :func:`write_names` has written for a head of an input width; None where a folder has no names."""
    path = folder / NAMES
    if not path.is_file():
        return None
    content = checks.read_json(path, dict)
    version = content.get("format_version")
    if type(version) is not int or version > NAMES_VERSION:
        raise BSAError(f"{path}: format version {version!r} is not one that this bsa_st reads ({NAMES_VERSION}); update bsa_st")
    names, aliases, k = (content.get(key) for key in ("names", "aliases", "k"))
    whole = _strings(names) and isinstance(aliases, list) and len(aliases) == len(names) and all(map(_strings, aliases))
    if not whole or type(k) is not int or k < 1 or len(names) < 2 or len(set(names)) < len(names):
        raise BSAError(f"{path}: damaged (it needs k, at least 1; two names or more that differ; a list of aliases for each)")
    weights = checks.read_tensors(folder / NAME_WEIGHTS, _name_shapes(len(names), width))
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    return NamedDictionary(names=tuple(names), aliases=tuple(map(tuple, aliases)), k=k, **arrays)


def _name_shapes(count: int, width: int) -> dict[str, tuple[int, ...]]:
    return {"atoms": (count, width), "mean": (width,), "thresholds": (count,), "rates": (count,)}


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def save_sparse_encoder(model: SentenceTransformer, folder: str | Path) -> None:
    """Write a BSA model as a ``SparseEncoder``: float query weights and sparse documents, scored by dot products, from the same stock modules.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`load`.
        folder: A folder that is not there yet, or empty. ``SparseEncoder(folder)`` loads it; :func:`load` and ``SentenceTransformer`` want what :func:`save` writes.

    Raises:
        BSAError: If the model has no BSA head, the folder holds something, or the disk fails.

    Example: ``bsa_st.save_sparse_encoder(model, "my-sparse-encoder")``
    """
    encoder, head = split_model(model)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BSAError(f"{target} exists and is not empty; choose another folder")
    router, _ = stock_modules(head)
    prompts = {name: text for name, text in encoder.prompts.items() if text is not None}
    sparse = SparseEncoder(modules=[*encoder, router], prompts=prompts, similarity_fn_name="dot", device="cpu")
    try:
        sparse.save_pretrained(str(target), create_model_card=False)
        _finish_files(target, [router])
    except OSError as error:
        raise BSAError(f"cannot write the model to {target}: {error.strerror or error}") from error


def _write(encoder: SentenceTransformer, head: BinarySparsityAlignment, folder: Path) -> None:
    routers = stock_modules(head)
    exported = rebuild(encoder, [*encoder, *routers])
    exported.similarity_fn_name = "dot"
    exported.save_pretrained(str(folder), create_model_card=False)
    _finish_files(folder, routers)
    beside = folder / FOLDER
    beside.mkdir()
    config = {
        "format_version": checks.FORMAT_VERSION,
        **head.get_config_dict(),
        "unrolled_steps": 0 if head.unrolled is None else len(head.unrolled.layers),
        "symmetric": head.symmetric is not None,
        "unrolled_softening": 0.0 if head.unrolled is None else head.unrolled.softening,
        **{name: getattr(encoder.model_card_data, name) or None for name in CARD_KEYS},
    }
    (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (beside / "training.json").write_text(json.dumps(head.report, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, beside / WEIGHTS)
    if head.names is not None:
        write_names(head.names, beside)
    (folder / "README.md").write_text(model_card(encoder, head), encoding="utf-8")


def _finish_files(folder: Path, routers: Sequence[Router]) -> None:
    """Name classes as every release of sentence-transformers knows them, and store in half precision the layers that it holds exactly."""
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    for entry in modules:
        entry["type"] = common_name(entry["type"])
    path.write_text(json.dumps(modules, indent=2) + "\n")
    for entry, router in zip(modules[-len(routers) :], routers, strict=True):
        place = folder / entry["path"]
        (place / ROUTER_CONFIG).write_text(json.dumps(router_files(router)[0], indent=2) + "\n")
        for file in place.rglob(WEIGHTS):
            exact = load_file(file)
            halved = {name: tensor.half() for name, tensor in exact.items()}
            if all(torch.equal(halved[name].float(), tensor) for name, tensor in exact.items()):
                save_file(halved, file)
