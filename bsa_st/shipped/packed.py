"""The small form of a head: what cannot be computed from the rest, in half precision; and named features, their atoms in eight bits.

A shipped head is a file ``NAME.safetensors``, whose metadata say what it is (:class:`HeadFacts`, as JSON), and its card ``NAME.md``. Stored are the
decoder ``V`` (D, d), the offset, the mean, the thresholds and a few numbers; computed are the linear encoder and the layers of the unrolled encoder.

The layer of codes that are compared with each other is stored in eight bits, each row up to a factor, which its threshold at 0 does not see; a head that
would grow beyond a megabyte goes without, and compares its plain codes. ``evaluation/heads/train.py`` writes such files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bsa_st.concepts.dictionary import NamedDictionary, unit
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.unrolled import Steps, StepSchedule, linear_encoder, unroll

FOLDER = Path(__file__).with_name("heads")
FACTS = "facts"
COMPUTED = "weight"
HALVED = "decoder_weight"
FINGERPRINT = "fingerprint"
SYMMETRIC = "symmetric"
NAMES = "names"  # of the metadata that hold names, aliases and ``k`` as JSON, in the file of an encoder's named features


@dataclass(frozen=True)
class HeadFacts:
    """What the metadata of a shipped head say."""

    encoder: str  # its name on the Hub
    license: str  # of the encoder
    language: str  # of the encoder
    code_bytes: int | None  # None for a sparse head
    input_dim: int
    hidden_dim: int
    k: int
    damping: float  # of the linear encoder, in units of the mean eigenvalue of V^T V
    constant: int  # the feature that is always active in the unrolled encoder's codes
    schedule: StepSchedule
    softening: float  # of the lengths of the unrolled encoder's codes
    report: dict[str, Any]  # settings, texts, seconds and figures of the training

    @property
    def name(self) -> str:
        """Name of the files."""
        size = f"sparse-{self.hidden_dim}" if self.code_bytes is None else f"{self.code_bytes}"
        return f"{self.encoder.rsplit('/', 1)[-1]}-{size}"


@cache
def shipped_heads(folder: Path = FOLDER) -> tuple[HeadFacts, ...]:
    """All heads that ship, in the order of their names."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
        if FACTS not in metadata:  # names
            continue
        content = json.loads(metadata[FACTS])
        found.append(HeadFacts(**{**content, "schedule": StepSchedule(**content["schedule"])}))
    return tuple(found)


def read_head(facts: HeadFacts, folder: Path = FOLDER) -> BinarySparsityAlignment:
    """A shipped head, whole again, on the CPU, in evaluation mode."""
    tensors = _tensors(facts, folder)
    head = BinarySparsityAlignment(facts.input_dim, facts.hidden_dim, facts.k)
    fixed = {name: tensor.float() for name, tensor in tensors.items() if name not in (FINGERPRINT, SYMMETRIC)}
    fixed[COMPUTED] = linear_encoder(fixed[HALVED], facts.damping)
    head.load_state_dict(fixed)
    if SYMMETRIC in tensors:
        head.symmetric = tensors[SYMMETRIC].float()
    head.report = facts.report
    steps = Steps(head.decoder_weight, head.decoder_bias, head.mean, facts.constant)
    head.unrolled = unroll(steps, facts.schedule, facts.softening)
    return head.eval()


def read_fingerprint(facts: HeadFacts, folder: Path = FOLDER) -> np.ndarray:
    """The encoder's embedding of the test sentence, float32 (d,)."""
    return _tensors(facts, folder)[FINGERPRINT].float().numpy()


def names_file(encoder: str, folder: Path = FOLDER) -> Path:
    """Where the names of an encoder ship, by its name on the Hub."""
    return folder / f"{encoder.rsplit('/', 1)[-1]}-names.safetensors"


def read_names(encoder: str, folder: Path = FOLDER) -> NamedDictionary | None:
    """The named features that ship for an encoder; None where there are none."""
    path = names_file(encoder, folder)
    if not path.is_file():
        return None
    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()[NAMES])
        arrays = {name: file.get_tensor(name) for name in ("atoms", "mean", "thresholds", "rates")}
    arrays["atoms"] = unit(arrays["atoms"])
    return NamedDictionary(tuple(content["names"]), tuple(map(tuple, content["aliases"])), k=content["k"], **arrays)


def _tensors(facts: HeadFacts, folder: Path) -> dict[str, Tensor]:
    path = folder / f"{facts.name}.safetensors"
    try:
        return load_file(path)
    except OSError as error:
        raise BSAError(f"{path}: the weights of a shipped head cannot be read; install bsa-st again") from error
