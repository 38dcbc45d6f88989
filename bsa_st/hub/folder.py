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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense

from bsa_st.concepts.names import read_names, write_names
from bsa_st.encoding.encode import CARD_KEYS, rebuild, split_model
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import UnrolledEncoder, layer_shapes, steps_that_fit
from bsa_st.hub.card import model_card
from bsa_st.hub.checks import (
    FOLDER,
    FORMAT_VERSION,
    check_dense,
    check_encoder,
    check_header,
    load_head_config,
    read_json,
    read_layer,
)
from bsa_st.hub.export import STOCK_MODULES, common_name, named_modules, router_config, stock_modules
from bsa_st.hub.remote import download

ROUTER_CONFIG = "router_config.json"
WEIGHTS = "model.safetensors"


def save(model: SentenceTransformer, folder: str | Path) -> None:
    """Write a BSA model in the two-loader format.

    The folder is written aside and renamed at the end, so an earlier model in its place stays whole until then.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`load`.
        folder: Where to write; a BSA model there is replaced.

    Raises:
        BSAError: If the model has no BSA head, the folder holds something else, or the disk fails.
    """
    encoder, head = split_model(model)
    target = Path(folder)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            aside = Path(scratch) / "model"
            _write(encoder, head, aside)
            if target.exists():
                os.rename(target, Path(scratch) / "replaced")
            os.rename(aside, target)
    except OSError as error:
        raise BSAError(f"cannot write the model to {target}: {error.strerror or error}") from error


def check_target(folder: Path) -> None:
    """Whether a model can be written to a folder, before anything long is done for it.

    Raises:
        BSAError: If the folder holds something else, or cannot be made or written to.
    """
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
    """

    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = download(
            str(name_or_folder), revision=revision, cache_folder=cache_folder, local_files_only=local_files_only, token=token
        )
    head = check_folder(folder)
    config = read_json(folder / FOLDER / "config.json", dict)
    try:
        options = {"local_files_only": not kwargs.get("trust_remote_code"), "token": token, **kwargs}
        stock = SentenceTransformer(str(folder), device=device, **options)
        for name in CARD_KEYS:
            setattr(stock.model_card_data, name, config.get(name))
        return rebuild(stock, [*list(stock)[:-STOCK_MODULES], head.to(stock.device)])
    except Exception as error:  # a damaged or hostile encoder can fail in any way
        raise BSAError(f"{folder}: sentence-transformers cannot load the encoder ({_first_line(error)})") from error


def check_folder(folder: Path) -> BinarySparsityAlignment:
    """Check a model folder, its encoder's files included, before sentence-transformers loads it.

    Returns:
        The head, with the unrolled encoder of the ``document`` route.

    Raises:
        BSAError: What :func:`load` raises for a folder.
    """
    head = load_head(folder / FOLDER)
    config = read_json(folder / FOLDER / "config.json", dict)
    steps, softening = config.get("unrolled_steps"), config.get("unrolled_softening")
    if type(steps) is not int or not 0 <= steps <= steps_that_fit(head.input_dim, head.hidden_dim):
        raise BSAError(
            f"{folder / FOLDER / 'config.json'}: unrolled_steps must be a whole number that fits the head, got {steps!r}"
        )
    if type(softening) is not float or not 0 <= softening < math.inf:
        raise BSAError(f"{folder / FOLDER / 'config.json'}: unrolled_softening must be a number, at least 0, got {softening!r}")
    places = check_encoder(folder, STOCK_MODULES)
    if steps:
        shapes = layer_shapes(head.input_dim, head.hidden_dim, steps)
        layers = [
            read_layer(folder / places[0] / f"document_{number}_Dense" / WEIGHTS, *shape) for number, shape in enumerate(shapes)
        ]
        decoder, _ = read_layer(folder / places[0] / "query_0_Dense" / WEIGHTS, head.input_dim, head.hidden_dim, bias=False)
        head.unrolled = UnrolledEncoder(tuple(layers), decoder, softening)
    for router, place in zip(stock_modules(head), places, strict=True):
        path = folder / place / ROUTER_CONFIG
        if read_json(path, dict) != router_config(router):
            raise BSAError(f"{path}: not the routes that a BSA model of this head has; save it again")
        for name, module in named_modules(router).items():
            inside = folder / place / name
            if isinstance(module, Dense):
                check_dense(
                    inside, module.get_config_dict(), {key: tuple(value.shape) for key, value in module.state_dict().items()}
                )
                found = load_file(inside / WEIGHTS)
                if not all(torch.isfinite(tensor).all() for tensor in found.values()):
                    raise BSAError(f"{inside / WEIGHTS}: holds NaN or infinite values")
                if not all(torch.equal(tensor, found[key].float()) for key, tensor in module.state_dict().items()):
                    raise BSAError(f"{folder}: {place}/{name} and {FOLDER}/{WEIGHTS} are not of the same model; save it again")
    return head


def load_head(folder: Path) -> BinarySparsityAlignment:
    """The head in a ``bsa`` folder, every size checked before memory is allocated for it."""
    head = load_head_config(folder)
    head.load_state_dict(_read_weights(folder / WEIGHTS, head), assign=True)
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    if (folder / "training.json").is_file():
        head.report = read_json(folder / "training.json", dict)
    head.names = read_names(folder, head)
    return head.eval()


def export(encoder: SentenceTransformer, head: BinarySparsityAlignment) -> SentenceTransformer:
    """The encoder with a head as stock modules, scored by dot products; see :mod:`bsa_st.hub.export`."""
    exported = rebuild(encoder, [*encoder, *stock_modules(head)])
    exported.similarity_fn_name = "dot"
    return exported


def save_sparse_encoder(model: SentenceTransformer, folder: str | Path) -> None:
    """Write a BSA model as a ``SparseEncoder``: float query weights and sparse documents, scored by dot products, from the same stock modules.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`load`.
        folder: A folder that is not there yet, or empty. ``SparseEncoder(folder)`` loads it; :func:`load` and ``SentenceTransformer`` want what :func:`save` writes.

    Raises:
        BSAError: If the model has no BSA head, the folder holds something, or the disk fails.
    """
    encoder, head = split_model(model)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BSAError(f"{target} exists and is not empty; choose another folder")
    exported = export(encoder, head)
    sparse = SparseEncoder(
        modules=list(exported)[:-1],
        prompts={name: text for name, text in exported.prompts.items() if text is not None},
        similarity_fn_name="dot",
        device="cpu",
    )
    try:
        sparse.save_pretrained(str(target), create_model_card=False)
        _finish_files(target, list(exported)[-STOCK_MODULES:-1])
    except OSError as error:
        raise BSAError(f"cannot write the model to {target}: {error.strerror or error}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _write(encoder: SentenceTransformer, head: BinarySparsityAlignment, folder: Path) -> None:
    exported = export(encoder, head)
    exported.save_pretrained(str(folder), create_model_card=False)
    _finish_files(folder, list(exported)[-STOCK_MODULES:])
    beside = folder / FOLDER
    beside.mkdir()
    config = {
        "format_version": FORMAT_VERSION,
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


def _finish_files(folder: Path, routers: list[Any]) -> None:
    """Name classes as every release of sentence-transformers knows them, and store in half precision the layers that it holds exactly."""
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    for entry in modules:
        entry["type"] = common_name(entry["type"])
    path.write_text(json.dumps(modules, indent=2) + "\n")
    for entry, router in zip(modules[-len(routers) :], routers, strict=True):
        place = folder / entry["path"]
        (place / ROUTER_CONFIG).write_text(json.dumps(router_config(router), indent=2) + "\n")
        for file in place.rglob(WEIGHTS):
            exact = load_file(file)
            halved = {name: tensor.half() for name, tensor in exact.items()}
            if all(torch.equal(halved[name].float(), tensor) for name, tensor in exact.items()):
                save_file(halved, file)


def _read_weights(path: Path, head: BinarySparsityAlignment) -> dict[str, torch.Tensor]:
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    check_header(path, expected)
    weights = {name: tensor for name, tensor in load_file(path).items() if name in expected}
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise BSAError(f"{path}: {name} holds NaN or infinite values")
    return weights
