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

from bsa_st.encoding.jobs import Encoded, Job, Recipe, Source
from bsa_st.errors import BSAError


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
    with _pool(encoder, devices) as pool:

        def dense(job: Job) -> np.ndarray | None:
            if not job.texts:
                return None
            try:
                return recipe.dense(encoder, job.texts, pool, None if pool else advance)
            except RuntimeError as error:
                if pool is None:
                    raise
                raise BSAError(f"encoding stopped: {str(error).splitlines()[0]}; run it again to continue") from error

        jobs = source.jobs(finished)
        for job, rows in look_ahead(dense, jobs) if pool else ((job, dense(job)) for job in jobs):
            if pool or rows is None:
                advance(job.size)
            yield Encoded(*job.stamp) if rows is None else recipe.encoded(job, head, rows)


@contextmanager
def _pool(encoder: SentenceTransformer, devices: list[str]) -> Iterator[Any]:
    """The encoder in a process for each device; ``None`` for one device."""
    if len(devices) == 1:
        yield None
        return
    encoder._ends_with_parent = EndsWithParent()  # type: ignore[assignment]  # travels to the processes with the encoder
    with _threads_per_process(devices):
        pool = encoder.start_multi_process_pool(devices)
    try:
        yield pool
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
