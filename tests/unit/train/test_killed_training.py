"""A training process killed with SIGKILL at random moments and started again ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_run.py")


def start(folder, out, seconds):
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(out), str(seconds)], stderr=subprocess.PIPE)


def finish(process):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(tmp_path):
    whole, resumed, folder = tmp_path / "whole", tmp_path / "resumed", tmp_path / "run"
    reference = start(tmp_path / "reference", whole, 0)
    moments = random.Random(0)
    kills = 0
    for _ in range(3):
        process = start(folder, resumed, 0.05)
        checkpoint = folder / "checkpoint.safetensors"
        until = time.monotonic() + 60
        was = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while time.monotonic() < until and process.poll() is None:  # each life gets at least one checkpoint further
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != was:
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stderr.close()
    assert kills >= 2, "the run ended before it could be killed"
    finish(start(folder, resumed, 0))
    finish(reference)
    assert whole.read_bytes() == resumed.read_bytes()
