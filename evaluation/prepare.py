"""From what the user asks for to a checked plan: every mistake is found before any long work."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bsa_st import BSAError
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, load_encoder, short_name
from evaluation.methods import QUICK_METHODS, QUICK_STEPS, choose_methods
from evaluation.methods.base import Method
from evaluation.tasks import QUICK_CONCEPTS, EvaluationTask, hpo_task, resolve_tasks
from evaluation.threads import set_threads
from evaluation.training import SETTINGS, check_settings, general_texts


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        data: Folder of local tasks and training texts.
        tasks: Names, see :func:`evaluation.tasks.resolve_tasks`.
        methods: Names, see :func:`evaluation.methods.choose_methods`.
        settings: ``general``, ``adapted`` or both.
        model: Encoder, see :func:`evaluation.encoders.load_encoder`.
        train_texts: Files of the general setting.
        train_limit: Texts drawn from each of them.
        steps: Training steps of heads; default as each method says.
        seed: Seed of the heads.
        output: Folder of the rows.
        work: Folder for resuming.
        cache_dir: Folder of the embedding cache.
        precision: Number format in which evaluation texts are encoded.
        threads: CPU threads of each worker; default all, or one each if there are several.
        workers: Processes that fit and evaluate methods at the same time.
        quick: A small run: part of HPO, the adapted setting unless training files are given, few methods, short training.
        command: How the run was started.
    """

    data: Path | None = None
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    settings: Sequence[str] = SETTINGS
    model: str = MINILM
    train_texts: Sequence[Path] = ()
    train_limit: int = 150_000
    steps: int | None = None
    seed: int = 0
    output: Path = Path("evaluation/results")
    work: Path = Path("build/evaluation")
    cache_dir: Path | None = None
    precision: str = "float32"
    threads: int | None = None
    workers: int = 1
    quick: bool = False
    command: str = field(default_factory=lambda: _command())


@dataclass(frozen=True)
class Plan:
    """What is to be done; everything in it is checked already.

    Attributes:
        request: What it was made from; another process makes the same plan from it.
        model: Short name of the encoder.
        store: Its embeddings.
        tasks: Tasks.
        methods: Methods.
        general: Texts of the general setting; may be empty if only ``adapted`` is asked for.
    """

    request: Request
    model: str
    store: EmbeddingStore
    tasks: Sequence[EvaluationTask]
    methods: Sequence[Method]
    general: list[str]


def prepare(request: Request) -> Plan:
    """Check everything, cheapest first where possible.

    Raises:
        BSAError: On the first thing that cannot be used.
    """
    if not request.settings:
        raise BSAError("no setting given; use general, adapted or both")
    names = list(request.methods)
    choose_methods(names)  # a misspelt name stops here, before the encoder is loaded
    if request.quick and not (request.tasks or request.data):
        tasks = [hpo_task(QUICK_CONCEPTS)]
    else:
        tasks = resolve_tasks(list(request.tasks), request.data)
    settings = ["adapted"] if request.quick and not request.train_texts else list(request.settings)
    own = request.data is not None and not request.quick
    general = general_texts(request.data if own else None, request.train_texts, request.train_limit)
    check_settings(settings, general, tasks)
    limit_threads(request)
    encoder = load_encoder(request.model, request.cache_dir)
    steps = request.steps or (QUICK_STEPS if request.quick else None)
    width = encoder.get_embedding_dimension()
    if width is None:
        raise BSAError(f"{request.model} does not say how many dimensions its embeddings have")
    if request.quick:
        names = names or list(QUICK_METHODS)
    return Plan(
        request=replace(request, settings=tuple(settings)),
        model=short_name(request.model),
        store=EmbeddingStore(encoder, request.cache_dir, precision=request.precision),
        tasks=tasks,
        methods=choose_methods(names, steps, width, request.seed),
        general=general,
    )


def limit_threads(request: Request) -> None:
    """As many threads as asked for, one if several processes share the processor; those do the same when they prepare."""
    threads = request.threads or (1 if request.workers > 1 else None)
    if threads is not None:
        set_threads(threads)


def _command() -> str:
    """The command that makes these results, without the paths of one machine."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "evaluation", *words])
