"""From what the user asks for to a checked plan: every mistake is found before any long work."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import faiss
import torch

from bsa_st import BSAError
from evaluation.embeddings import EmbeddingStore, load_encoder, short_name
from evaluation.methods import QUICK_METHODS, QUICK_STEPS, choose_methods
from evaluation.run import Plan
from evaluation.tasks import QUICK_CONCEPTS, hpo_task, resolve_tasks
from evaluation.training import check_settings, general_texts


def prepare(
    *,
    data: Path | None,
    tasks: list[str],
    methods: list[str],
    settings: list[str],
    model: str,
    train_texts: list[Path],
    train_limit: int,
    steps: int | None,
    output: Path,
    work: Path,
    cache_dir: Path | None,
    threads: int | None,
    quick: bool,
) -> Plan:
    """Check everything, cheapest first, and load the encoder last.

    Args:
        data: Folder of local tasks and training texts.
        tasks: Names, see :func:`evaluation.tasks.resolve_tasks`.
        methods: Names, see :func:`evaluation.methods.choose_methods`.
        settings: ``general``, ``adapted`` or both.
        model: Encoder, see :func:`evaluation.embeddings.load_encoder`.
        train_texts: Files of the general setting.
        train_limit: Texts drawn from each of them.
        steps: Training steps of heads; default as each method says.
        output: Folder of the rows.
        work: Folder for resuming.
        cache_dir: Folder of the embedding cache.
        threads: CPU threads.
        quick: A small run: part of HPO, the adapted setting unless training files are given, few methods, short training.

    Raises:
        BSAError: On the first thing that cannot be used.
    """
    if not settings:
        raise BSAError("no setting given; use general, adapted or both")
    if quick:
        chosen = choose_methods(methods or list(QUICK_METHODS), steps or QUICK_STEPS)
        resolved = resolve_tasks(tasks, data) if tasks or data else [hpo_task(QUICK_CONCEPTS)]
        settings = settings if train_texts else ["adapted"]
    else:
        chosen = choose_methods(methods, steps)
        resolved = resolve_tasks(tasks, data)
    general = general_texts(data, train_texts, train_limit) if not quick or train_texts else []
    check_settings(settings, general, resolved)
    if threads is not None:
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
    return Plan(
        model=short_name(model),
        store=EmbeddingStore(load_encoder(model), cache_dir),
        tasks=resolved,
        methods=chosen,
        settings=settings,
        general=general,
        results=output,
        work=work,
        command=_command(),
    )


def _command() -> str:
    """The command that makes these results, without the paths of one machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "evaluation", *words])
