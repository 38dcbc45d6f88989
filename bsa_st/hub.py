"""One folder, two loaders: a BSA model on disk or on the Hub.

``modules.json`` lists stock modules only, so ``SentenceTransformer(folder)`` needs neither a flag nor bsa_st. The folder ``bsa/``
beside it holds the full head for :func:`load`: ``config.json``, ``model.safetensors``, ``training.json`` and, once
``bsa-st explore`` has labelled the features, ``features.json``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from bsa_st.card import model_card
from bsa_st.encoding import rebuild, split_model
from bsa_st.errors import BSAError
from bsa_st.explain.store import FILE as FEATURES
from bsa_st.explain.store import read_features, write_features
from bsa_st.module import BinarySparsityAlignment
from bsa_st.stock import STOCK_MODULES, stock_modules

FORMAT_VERSION = 1
FOLDER = "bsa"


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
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / FOLDER).is_dir())):
        raise BSAError(f"{target} exists and is no BSA model; choose another folder")
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


def load(
    name_or_folder: str | Path,
    *,
    device: str | None = None,
    revision: str | None = None,
    cache_folder: str | None = None,
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
        The encoder's modules followed by a :class:`~bsa_st.module.BinarySparsityAlignment`, in evaluation mode.

    Raises:
        BSAError: If the model is missing, has no ``bsa`` folder, or a file of it is damaged, does not fit or is newer
            than this version; the message names the file.
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = _download(str(name_or_folder), revision, cache_folder, local_files_only, token)
    head = load_head(folder / FOLDER)
    stock = SentenceTransformer(str(folder), device=device, local_files_only=local_files_only, **kwargs)
    expected = stock_modules(head)[-1].linear.weight
    found = getattr(stock[-1], "linear", None)
    if found is None or not torch.equal(expected, found.weight.cpu()):
        raise BSAError(f"{folder}: the stock modules and {FOLDER}/model.safetensors are not of the same model; save it again")
    return rebuild(stock, [*list(stock)[:-STOCK_MODULES], head.to(stock.device)])


def load_head(folder: Path) -> BinarySparsityAlignment:
    """The head in a ``bsa`` folder, every size checked before memory is allocated for it."""
    config = _read_json(folder / "config.json")
    version = config.get("format_version")
    if not isinstance(version, int):
        raise BSAError(f"{folder / 'config.json'}: no format_version")
    if version > FORMAT_VERSION:
        raise BSAError(
            f"{folder / 'config.json'}: format version {version} is newer than this bsa_st reads ({FORMAT_VERSION}); update bsa_st"
        )
    settings: dict[str, Any] = {key: config.get(key) for key in BinarySparsityAlignment.config_keys}
    if any(type(settings[key]) is not int for key in ("input_dim", "hidden_dim", "k")):
        raise BSAError(f"{folder / 'config.json'}: input_dim, hidden_dim and k must be whole numbers, got {settings}")
    try:
        with torch.device("meta"):
            head = BinarySparsityAlignment(**settings)
    except BSAError as error:
        raise BSAError(f"{folder / 'config.json'}: {error}") from error
    head.load_state_dict(_read_weights(folder / "model.safetensors", head), assign=True)
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    if (folder / "training.json").is_file():
        head.report = _read_json(folder / "training.json")
    if (folder / FEATURES).is_file():
        head.labels = read_features(folder / FEATURES, head)
    return head.eval()


def _write(encoder: SentenceTransformer, head: BinarySparsityAlignment, folder: Path) -> None:
    rebuild(encoder, [*encoder, *stock_modules(head)]).save_pretrained(str(folder), create_model_card=False)
    beside = folder / FOLDER
    beside.mkdir()
    config = {
        "format_version": FORMAT_VERSION,
        **head.get_config_dict(),
        "stock_export": "exact" if head.selection == "threshold" else "threshold calibrated to k active features on average",
    }
    (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (beside / "training.json").write_text(json.dumps(head.report, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, beside / "model.safetensors")
    if head.labels is not None:
        write_features(head.labels, beside)
    (folder / "README.md").write_text(model_card(encoder, head), encoding="utf-8")


def _read_weights(path: Path, head: BinarySparsityAlignment) -> dict[str, torch.Tensor]:
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            if missing := expected.keys() - set(file.keys()):
                raise BSAError(f"{path}: lacks {', '.join(sorted(missing))}")
            for name, shape in expected.items():
                part = file.get_slice(name)
                if tuple(part.get_shape()) != shape or part.get_dtype() != "F32":
                    raise BSAError(
                        f"{path}: {name} has shape {tuple(part.get_shape())} and type {part.get_dtype()}, expected {shape} F32"
                    )
            weights = {name: file.get_tensor(name) for name in expected}
    except FileNotFoundError as error:
        raise BSAError(f"{path}: file not found") from error
    except (SafetensorError, OSError) as error:
        raise BSAError(f"{path}: damaged ({error})") from error
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise BSAError(f"{path}: {name} holds NaN or infinite values")
    return weights


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BSAError(f"{path}: file not found; the folder holds no BSA model, or only its stock modules")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BSAError(f"{path}: damaged ({error})") from error
    if not isinstance(content, dict):
        raise BSAError(f"{path}: damaged (not a JSON object)")
    return content


def _download(
    name: str, revision: str | None, cache_folder: str | None, local_files_only: bool, token: bool | str | None
) -> Path:
    try:
        return Path(
            snapshot_download(name, revision=revision, cache_dir=cache_folder, local_files_only=local_files_only, token=token)
        )
    except HFValidationError as error:
        raise BSAError(f"model folder not found: {name}") from error
    except RepositoryNotFoundError as error:
        raise BSAError(f"model not found: no folder and no model on the Hub is called {name!r}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise BSAError(f"cannot download the model {name!r}: {str(error).splitlines()[0]}") from error
