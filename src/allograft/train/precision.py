"""Whether bfloat16 is faster than float32 on this CPU: measured once, then remembered."""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from allograft.core.atomic import write_text
from allograft.core.private import home

__all__ = ["cpu_name", "fastest_on_cpu", "measure_bf16_gain"]

WORTH_IT = 1.15
"""bf16 loses 16 bits of every product; it must be at least this much faster to be chosen by itself."""


def fastest_on_cpu(threads: int) -> Literal["32-true", "bf16-mixed"]:
    """Return "bf16-mixed" where it is measured to be faster on this CPU, else "32-true".

    Args:
        threads: CPU threads that training will use, >= 1.
    """
    path = home() / "device.json"
    key = f"{cpu_name()} | torch {torch.__version__} | {threads} threads"
    known = _read(path)
    if key not in known:
        known[key] = round(measure_bf16_gain(threads), 3)
        write_text(path, json.dumps(known, indent=1, sort_keys=True))
    return "bf16-mixed" if known[key] >= WORTH_IT else "32-true"


def measure_bf16_gain(threads: int, repeats: int = 5) -> float:
    """Return time in float32 / time in bf16-mixed of a small convolutional step, medians interleaved."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            net = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
            image = torch.randn(4, 32, 28, 28)
        times: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(repeats + 1):
            for low, seconds in times.items():
                start = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
                    out = net(image)
                out.float().square().mean().backward()
                if repeat:  # the first pass warms up
                    seconds.append(time.perf_counter() - start)
        return statistics.median(times[False]) / statistics.median(times[True])
    finally:
        torch.set_num_threads(before)


def cpu_name() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> dict[str, float]:
    """Return what was measured before; an unreadable cache counts as empty, since it can be made again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): float(v) for k, v in known.items()} if isinstance(known, dict) else {}
