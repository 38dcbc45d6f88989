"""Encoding on one machine: in this process, or in several processes and on several GPUs by sentence-transformers' own pool.

The pool's processes run the encoder; the head and refinement run here, in all threads, while the pool encodes the next texts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.encoding.encode import CHUNK_TEXTS, Recipe
from bsa_st.errors import BSAError

THREADS = "OMP_NUM_THREADS"


class Job(NamedTuple):
    """A shard to encode: its number, its texts and their SHA-256."""

    number: int
    texts: list[str]
    sha256: str


def choose_devices(device: str | None, processes: int | None) -> list[str]:
    """One device per process: those named, comma-separated, else CUDA devices where there are any, else the CPU; by default one process per device named, or
    a single one. Raises :class:`BSAError` if a device is unknown or not there, or there are fewer processes than devices."""
    if device is None:
        names = ([f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"])[: processes or 1]
    else:
        names = [name.strip() for name in device.split(",")]
    for name in names:
        try:
            found = torch.device(name)
            there = (found.index or 0) < getattr(torch, found.type).device_count()
        except (RuntimeError, AttributeError):
            there = False
        if not there:
            raise BSAError(f"device {name!r} cannot be used here: torch knows none of this name")
    if processes is not None and processes < len(names):
        raise BSAError(f"{len(names)} devices need as many processes, got {processes}")
    return [names[number % len(names)] for number in range(processes or len(names))]


def encode_locally(
    recipe: Recipe, jobs: Iterable[Job], devices: list[str], done: Callable[[int], object]
) -> Iterator[tuple[Job, BinaryCodes]]:
    """Every job with its codes, in order, made in this process for one device, else in a pool of processes; ``done`` is told the texts of each step.
    Raises :class:`BSAError` if a process died."""
    if len(devices) == 1:
        for job in jobs:
            yield job, recipe.encode(job.texts, done)
        return
    with _pool(recipe.encoder, devices) as pool, ThreadPoolExecutor(1) as thread:
        ahead: tuple[Job, Future[np.ndarray]] | None = None
        for next_job in chain(jobs, [None]):
            ready, ahead = ahead, None
            if next_job is not None:
                ahead = next_job, thread.submit(recipe.dense, next_job.texts, pool=pool, chunk_size=CHUNK_TEXTS)
            if ready is not None:
                try:
                    dense = ready[1].result()
                except RuntimeError as error:
                    raise BSAError(f"encoding stopped: {str(error).splitlines()[0]}; run it again to continue") from error
                codes = recipe.codes(dense)
                done(len(codes))
                yield ready[0], codes


@contextmanager
def _pool(encoder: SentenceTransformer, devices: list[str]) -> Iterator[Any]:
    """The encoder in a process for each device; processes on the CPU share its cores rather than each starting as many threads as there are cores."""
    encoder._ends_with_parent = EndsWithParent()  # type: ignore[assignment]  # travels to the processes with the encoder
    shared = THREADS not in os.environ and all(device.startswith("cpu") for device in devices)
    if shared:
        os.environ[THREADS] = str(max(1, torch.get_num_threads() // len(devices)))
    try:
        pool = encoder.start_multi_process_pool(devices)
    finally:
        if shared:
            del os.environ[THREADS]
    try:
        yield pool
    finally:
        encoder.stop_multi_process_pool(pool)


class EndsWithParent:
    """Unpickled in a process of the pool, ends that process when its parent is gone, even if it was killed: the pool's processes would
    else wait for work forever and keep their memory and GPU."""

    def __reduce__(self) -> tuple[Any, ...]:
        return watch_parent, (os.getpid(),)


def watch_parent(parent: int) -> None:
    """In a child of the process ``parent``: start a thread that ends this process when the parent is gone."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
