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
    if processes is not None and processes < 1:
        raise BSAError(f"processes must be at least 1, got {processes}")
    if device is None:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
        names = names[: processes or 1]
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
            parts = []
            for part in recipe.encode(job.texts):
                parts.append(part)
                done(len(part))
            yield job, BinaryCodes.concatenate(parts)
        return
    with _pool(recipe.encoder, devices) as pool:

        def dense(job: Job) -> np.ndarray:
            try:
                return recipe.dense(job.texts, pool=pool, chunk_size=CHUNK_TEXTS)
            except RuntimeError as error:
                raise BSAError(f"encoding stopped: {str(error).splitlines()[0]}; run it again to continue") from error

        for job, rows in look_ahead(dense, jobs):
            codes = recipe.codes(rows)
            done(len(codes))
            yield job, codes


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


def look_ahead(function: Callable[[Job], np.ndarray], jobs: Iterable[Job]) -> Iterator[tuple[Job, np.ndarray]]:
    """Jobs with their results, in order; the next result is computed in a thread while the caller works on the last one."""
    with ThreadPoolExecutor(1) as thread:
        begun: tuple[Job, Future[np.ndarray]] | None = None
        for job in jobs:
            last, begun = begun, (job, thread.submit(function, job))
            if last is not None:
                yield last[0], last[1].result()
        if begun is not None:
            yield begun[0], begun[1].result()


class EndsWithParent:
    """Unpickled in a process of the pool, ends that process when its parent is gone, even if it was killed: the pool's processes would
    else wait for work forever and keep their memory and GPU."""

    def __reduce__(self) -> tuple[Any, ...]:
        return watch_parent, (os.getpid(),)


def watch_parent(parent: int) -> EndsWithParent:
    """In a child of the process ``parent``: start a thread that ends this process when the parent is gone."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    return EndsWithParent()
