"""Encoding on one machine: in this process, or in several processes and on several GPUs by sentence-transformers' own pool.

The pool's processes run the encoder; the head and refinement run here, in all threads, while the pool encodes the next texts.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.encoding.encode import CHUNK_TEXTS
from bsa_st.encoding.jobs import Encoded, Job, Recipe, Source
from bsa_st.errors import BSAError

CHUNKS_AHEAD = 4
"""Chunks that each process of a pool is given at a time."""

Window = tuple[Job, list[str], bool]
"""Some texts of a shard, and whether they are its last."""


def choose_devices(device: str | None, processes: int | None) -> list[str]:
    """One device per process.

    Args:
        device: Names of torch devices, comma-separated; default the CUDA devices where there are any, else the CPU.
        processes: Number of processes, which take turns with the devices; default one per device named, or a single one.

    Raises:
        BSAError: If a device is unknown or not there, or there are fewer processes than devices.
    """
    if processes is not None and processes < 1:
        raise BSAError(f"processes must be at least 1, got {processes}")
    if device is None:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
        names = names[: processes or 1]
    else:
        names = [name.strip() for name in device.split(",")]
    for name in names:
        _check_device(name)
    if processes is not None and processes < len(names):
        raise BSAError(f"{len(names)} devices need as many processes, got {processes}")
    return [names[number % len(names)] for number in range(processes or len(names))]


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BSAError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    count = getattr(getattr(torch, device.type, None), "device_count", lambda: 0)
    if (device.index or 0) >= count():
        raise BSAError(f"device {name!r} cannot be used here: torch finds {count()} devices of type {device.type}")


def encode_locally(
    model: SentenceTransformer,
    recipe: Recipe,
    source: Source,
    finished: Collection[int],
    devices: list[str],
    advance: Callable[[int], object],
) -> Iterator[Encoded]:
    """Every shard of the source in order, in this process for one device, else in a pool of processes.

    Raises:
        BSAError: If a text cannot be read, or a process of the pool died.
    """
    encoder, head = recipe.split(model)
    parts: list[BinaryCodes] = []
    with _dense_encoder(encoder, recipe, devices) as (dense_of, size):
        windows = _windows(source.jobs(finished), size)
        for (job, texts, last), dense in dense_of(windows):
            if len(texts):
                parts.append(recipe.codes(head, dense))
            advance(len(texts) or job.size)
            if last:
                yield Encoded(job.number, job.size, job.sha256, BinaryCodes.concatenate(parts) if parts else None)
                parts = []


def _windows(jobs: Iterable[Job], size: int) -> Iterator[Window]:
    for job in jobs:
        for start in range(0, max(1, len(job.texts)), size):
            yield job, job.texts[start : start + size], start + size >= len(job.texts)


Ahead = Callable[[Iterable[Window]], Iterator[tuple[Window, np.ndarray]]]


@contextmanager
def _dense_encoder(encoder: SentenceTransformer, recipe: Recipe, devices: list[str]) -> Iterator[tuple[Ahead, int]]:
    """What gives windows their dense embeddings, and the texts it wants in each."""
    nothing = np.zeros((0, 0), np.float32)
    if len(devices) == 1:
        yield (
            lambda windows: ((window, recipe.dense(encoder, window[1]) if window[1] else nothing) for window in windows),
            CHUNK_TEXTS,
        )
        return
    encoder._ends_with_parent = EndsWithParent()  # type: ignore[assignment]  # travels to the processes with the encoder
    with _threads_per_process(devices):
        pool = encoder.start_multi_process_pool(devices)

    def dense(window: Window) -> np.ndarray:
        if not window[1]:
            return nothing
        try:
            return recipe.dense(encoder, window[1], pool)
        except RuntimeError as error:
            raise BSAError(f"encoding stopped: {str(error).splitlines()[0]}; run it again to continue") from error

    try:
        yield lambda windows: look_ahead(dense, windows), CHUNKS_AHEAD * len(devices) * CHUNK_TEXTS
    finally:
        encoder.stop_multi_process_pool(pool)


def look_ahead(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Items with their results, in order; the next result is computed in a thread while the caller works on the last one."""
    with ThreadPoolExecutor(1) as thread:
        pending: deque[tuple[Any, Future[Any]]] = deque()
        for item in items:
            pending.append((item, thread.submit(function, item)))
            if len(pending) == 2:
                first, future = pending.popleft()
                yield first, future.result()
        for last, future in pending:
            yield last, future.result()


@contextmanager
def _threads_per_process(devices: list[str]) -> Iterator[None]:
    """Processes on the CPU share its cores rather than each starting as many threads as there are cores."""
    name = "OMP_NUM_THREADS"
    if name in os.environ or any(not device.startswith("cpu") for device in devices):
        yield
        return
    os.environ[name] = str(max(1, torch.get_num_threads() // len(devices)))
    try:
        yield
    finally:
        del os.environ[name]


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
