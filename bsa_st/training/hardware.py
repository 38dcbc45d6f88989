"""The name of the hardware that something ran on, for reports."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def hardware_name(device: torch.device | str = "cpu") -> str:
    """E.g. ``"NVIDIA A10"`` or ``"Intel(R) Xeon(R) Gold 6330, 8 threads"``."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
