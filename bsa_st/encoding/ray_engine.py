"""Encoding on a Ray cluster through Ray Data: one reader cuts the texts into shards, actors with the whole model turn them into codes.

The reader runs on the node that starts the run, so only that node needs the texts; codes come back to it, so only it writes. The model travels through
Ray's object store. bsa_st must be installed on every node.

Source: Ray Data, https://docs.ray.io/en/latest/data/data.html (``Datasource``, ``map_batches`` with a class).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.codes import file as codefile
from bsa_st.encoding.jobs import Encoded, Recipe, Source
from bsa_st.errors import BSAError

BLOCK_BYTES = 1 << 20
"""Ray Data starts a new block after so many bytes: a shard is then a block of its own, and all actors get work."""


def encode_on_ray(
    model: SentenceTransformer,
    recipe: Recipe,
    source: Source,
    finished: Collection[int],
    actors: int,
    device: str | None,
    advance: Callable[[int], object],
) -> Iterator[Encoded]:
    """Every shard of the source, in the order in which actors finish.

    Raises:
        BSAError: If ray is not installed, the cluster is too small or fails, or a text cannot be read.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise BSAError("the ray engine needs Ray: pip install 'bsa-st[ray]'") from error
    if not isinstance(source.texts, (str, list)) and not hasattr(source.texts, "__fspath__"):
        raise BSAError("the ray engine needs a file or a list of texts")
    if actors < 1:
        raise BSAError(f"processes must be at least 1, got {actors}")
    with _cluster(ray):
        gpus = _gpus_per_actor(ray, device, actors)
        shared = ray.put(model.to("cpu"))
        try:
            for row in _dataset(ray, shared, recipe, source, finished, actors, gpus).iter_rows():
                if row["error"]:
                    raise BSAError(row["error"])
                codes = codefile.decode(BinaryCodes, row["codes"]) if row["codes"] else None
                advance(row["count"])
                yield Encoded(int(row["number"]), int(row["count"]), row["sha256"], codes)
        except RayError as error:
            raise BSAError(f"Ray failed: {_last_line(error)}; run it again to continue") from error


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster this process is connected to, that of ``RAY_ADDRESS``, or a Ray on this machine for the time of the run."""
    connected = ray.is_initialized()
    if not connected:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            ray.init(
                include_dashboard=None if os.environ.get("RAY_ADDRESS") else False, log_to_driver=False, logging_level="ERROR"
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BSAError(f"cannot connect to Ray: {_last_line(error)}") from error
    try:
        yield
    finally:
        if not connected:
            ray.shutdown()


def _gpus_per_actor(ray: Any, device: str | None, actors: int) -> int:
    resources = ray.cluster_resources()
    if device not in (None, "cpu", "cuda"):
        raise BSAError(f"with the ray engine device is cpu or cuda, got {device!r}")
    wanted = "GPU" if device == "cuda" or (device is None and resources.get("GPU", 0) >= actors) else "CPU"
    there = int(resources.get(wanted, 0))
    if there < actors:
        raise BSAError(f"{actors} processes need as many {wanted}s, the Ray cluster has {there}")
    return int(wanted == "GPU")


def _dataset(ray: Any, model: Any, recipe: Recipe, source: Source, finished: Collection[int], actors: int, gpus: int) -> Any:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = False
    texts = ray.data.read_datasource(
        _datasource(source, finished),
        num_cpus=0,
        override_num_blocks=1,
        resources={f"node:{ray.util.get_node_ip_address()}": 0.001},
    )
    return texts.map_batches(
        ShardEncoder,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_args=([model], recipe),
        num_gpus=gpus,
    )


def _datasource(source: Source, finished: Collection[int]) -> Any:
    """One read task that streams the shards, each a row; an error travels as a row too, since Ray would wrap it in its own."""
    import pyarrow as pa
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    def read() -> Iterator[pa.Table]:
        def row(number: int, texts: list[str], count: int, sha256: str, error: str) -> pa.Table:
            columns = {"number": [number], "texts": pa.array([texts], pa.list_(pa.large_string()))}
            return pa.table({**columns, "count": [count], "sha256": [sha256], "error": [error]})

        try:
            for job in source.jobs(finished):
                yield row(*job, "")
        except BSAError as error:
            yield row(-1, [], 0, "", str(error))

    class Shards(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, unknown)]

    return Shards()


class ShardEncoder:
    """Ray Data's actor: holds the model, turns rows of texts into rows of codes.

    Args:
        model: A list with the reference of the model in the object store.
        recipe: How to encode.
    """

    def __init__(self, model: list[Any], recipe: Recipe) -> None:
        import ray
        import torch

        loaded: SentenceTransformer = ray.get(model[0])
        if ray.get_gpu_ids() and torch.cuda.is_available():
            loaded = loaded.to("cuda")
        self.recipe = recipe
        self.encoder, self.head = recipe.split(loaded)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        codes, errors = [], list(batch["error"])
        for place, texts in enumerate(batch["texts"]):
            raw = b""
            try:
                if len(texts):
                    found = self.recipe.codes(self.head, self.recipe.dense(self.encoder, list(texts)))
                    raw = codefile.encode(found)
            except BSAError as error:
                errors[place] = str(error)
            codes.append(raw)
        return {"number": batch["number"], "count": batch["count"], "sha256": batch["sha256"], "error": errors, "codes": codes}


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
