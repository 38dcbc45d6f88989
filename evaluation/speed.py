"""Queries per second of a method on one thread, after the dense encoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from evaluation.methods.base import Encoded, Method

QUERIES = 200
ROUNDS = 5


def queries_per_second(method: Method, queries: np.ndarray, documents: Encoded, scoring: str) -> float:
    """Exhaustive search for the best 10, in one batch of 200 queries: the best of five rounds, in CPU time.

    On one thread CPU time is the time that passes on an idle machine; unlike that, it does not count what other programs take.

    What a method does to a query between the dense encoder and the result is counted: projecting, coding, scoring, ranking.

    Args:
        method: A fitted method.
        queries: float32 (n, d); repeated or cut to 200.
        documents: Encoded documents.
        scoring: One of the method's scorings.
    """
    batch = np.ascontiguousarray(np.resize(queries, (QUERIES, queries.shape[1])))
    with one_thread():
        search = method.searcher(documents, scoring)
        search(batch[:10])
        seconds = []
        for _ in range(ROUNDS):
            started = time.process_time()
            search(batch)
            seconds.append(time.process_time() - started)
    return len(batch) / max(min(seconds), 1e-6)


@contextmanager
def one_thread() -> Iterator[None]:
    """numpy, torch and faiss on one thread each."""
    torch_threads, faiss_threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(torch_threads)
        faiss.omp_set_num_threads(faiss_threads)
