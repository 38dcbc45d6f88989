"""Encoding on a Ray cluster: this process cuts the texts into shards, actors with the whole model turn them into codes.

Only the node that starts the run needs the texts; codes come back to it, so only it writes. Texts and the model travel through Ray's object store. bsa_st
must be installed on every node.

Source: Ray's actor pools, https://docs.ray.io/en/latest/ray-core/actors/actor-utils.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.encoding.encode import Recipe
from bsa_st.encoding.pool import Job
from bsa_st.errors import BSAError

TRIES = 3  # times that a shard is begun anew on another actor when one is lost


def encode_on_ray(
    model: SentenceTransformer, settings: dict[str, Any], jobs: Iterable[Job], actors: int, device: str | None
) -> Iterator[tuple[Job, BinaryCodes]]:
    """Every job, without its texts, and its codes, in the order in which actors finish; raises :class:`BSAError` if ray is not installed, or the cluster
    is too small or fails."""
    try:
        import ray
        from ray.exceptions import RayError
        from ray.util import ActorPool
    except ImportError as error:
        raise BSAError("the ray engine needs Ray: pip install 'bsa-st[ray]'") from error
    if device not in (None, "cpu", "cuda"):
        raise BSAError(f"with the ray engine device is cpu or cuda, got {device!r}")
    with _cluster(ray):
        resources = ray.cluster_resources()
        wanted = "GPU" if device == "cuda" or (device is None and resources.get("GPU", 0) >= actors) else "CPU"
        there, gpus = int(resources.get(wanted, 0)), int(wanted == "GPU")
        if there < actors:
            raise BSAError(f"{actors} processes need as many {wanted}s, the Ray cluster has {there}")
        kind: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=TRIES, max_task_retries=TRIES)(ShardEncoder)
        shared = ray.put(model.to("cpu"))
        try:
            pool = ActorPool([kind.remote([shared], settings) for _ in range(actors)])
            for job in jobs:  # one more than there are actors is read ahead
                if not pool.has_free():
                    yield pool.get_next_unordered()
                pool.submit(lambda actor, job: actor.encode.remote(job), job)
            while pool.has_next():
                yield pool.get_next_unordered()
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, BSAError):
                raise BSAError(str(cause)) from error
            raise BSAError(f"Ray failed: {_last_line(error)}; run it again to continue") from error


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster this process is connected to, that of ``RAY_ADDRESS``, or a Ray on this machine for the time of the run."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    dashboard = None if os.environ.get("RAY_ADDRESS") else False
    try:
        ray.init(include_dashboard=dashboard, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BSAError(f"cannot connect to Ray: {_last_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


class ShardEncoder:
    """An actor: holds the model, given as a list with its reference in the object store, and turns shards of texts into codes."""

    def __init__(self, model: list[Any], settings: dict[str, Any]) -> None:
        import ray
        import torch

        loaded: SentenceTransformer = ray.get(model[0])
        if ray.get_gpu_ids() and torch.cuda.is_available():
            loaded = loaded.to("cuda")
        self.recipe = Recipe(loaded, **settings)

    def encode(self, job: Job) -> tuple[Job, BinaryCodes]:
        return job._replace(texts=[]), self.recipe.encode(job.texts)


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
