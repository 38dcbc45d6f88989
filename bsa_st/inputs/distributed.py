"""Training in several processes, as ``torchrun`` and ``accelerate launch`` start them. In a single process nothing here does anything."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import PartialState
from torch import distributed

from bsa_st.head.layer import BinarySparsityAlignment

PATIENCE = timedelta(days=7)  # that processes wait for each other: one may embed a large collection meanwhile


def join() -> tuple[int, int]:
    """Join the other processes, if this one was launched with others: its rank and how many there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return state.process_index, state.num_processes


def wait_for_all() -> None:
    """Return when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


@torch.no_grad()
def share(head: BinarySparsityAlignment) -> None:
    """Give every process the first one's head, with its report and what is fitted after training."""
    if not distributed.is_initialized():
        return
    for name, tensor in head.state_dict().items():
        if name != "symmetric":  # only the first has it
            distributed.broadcast(tensor, 0)
    beside = [head.report, head.unrolled, head.symmetric]
    distributed.broadcast_object_list(beside, 0)
    head.report, head.unrolled, head.symmetric = beside  # type: ignore[assignment]


def leave() -> None:
    """Take leave of the other processes."""
    if distributed.is_initialized():
        wait_for_all()
        distributed.destroy_process_group()
