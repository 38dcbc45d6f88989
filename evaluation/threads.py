"""How many threads the libraries of this process use, set while it runs: numba cannot follow a changed environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numba
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def set_threads(threads: int) -> None:
    """Let numpy, torch, faiss and numba use ``threads`` threads each, numba not more than the processor has."""
    threadpool_limits(threads)
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # set as numba starts


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each of them; then again as many as before."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads(), numba.get_num_threads()
    with threadpool_limits():  # restores what it finds
        set_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            faiss.omp_set_num_threads(before[1])
            numba.set_num_threads(before[2])
