"""Whether two views of each image are made as fast as a step of SimCLR consumes them, and how long training waits.

    python benchmarks/view_loading.py [--share 0.2] [--only NAME ...] [--write]

Real images: skin_histology's patches and crops of its picture, windows of brain_tissue's template. Three questions.
One: a batch of two views against the step that it feeds, in one process and thread, turn by turn; CPU seconds.
Two: training by `fit`, each run in a process of its own: which share of the time do steps wait for batches that are
made in time, or ahead of the step in a thread; alone with one thread, alone with two, and two runs at once with one
thread each, as a study with two workers does. Wall seconds, so this needs an idle machine.
Three: the same work by MONAI and by torchvision, each behind PyTorch's DataLoader in the main process; CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import monai
import numpy as np
import torch
import torchvision
from torch.utils.data import DataLoader
from view_material import CASES, TASK, Given, Looks, network, opened, peers

from allograft.contracts import Budget, Optim, Progress
from allograft.data.prefetch import prefetch
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.objectives.simclr import SimCLR
from allograft.starts.scratch import Scratch
from allograft.train.device import Device
from allograft.train.loop import fit
from allograft.train.precision import cpu_name
from allograft.train.training import Training
from allograft.tunings.full import FullTuning

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "view_loading.md"
ROUNDS = 3


# one: a batch against its step


def costs(given: Given, source: StreamSource, repeats: int) -> dict[str, float]:
    """Return CPU milliseconds of a batch by preset, and of the step that it feeds: medians, turn by turn."""
    net = network(given).train()
    criterion = SimCLR(patients="negatives").build({"net": net}, TASK).train()
    optimizer = torch.optim.AdamW([*net.parameters(), *criterion.parameters()], fused=True)
    looks = ("views", "medical_views")
    made = {look: StoreStreams({"images": replace(source, augment=Augment(preset=look))}, seed=0) for look in looks}
    batch = made["views"].at(0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        criterion({"net": net}, batch, Progress(1, 10), "all").total.backward()
        optimizer.step()

    taken: dict[str, list[float]] = {look: [] for look in (*looks, "step")}
    for repeat in range(repeats + 1):
        for what, act in {**{k: lambda k=k, n=repeat: made[k].at(n) for k in looks}, "step": step}.items():
            begun = time.process_time()
            act()
            taken[what].append(time.process_time() - begun)
    return {what: statistics.median(each[1:]) * 1e3 for what, each in taken.items()}


# two: waiting in training


class Timed:
    """Streams that note when the loop asks, and how long it waits."""

    def __init__(self, inner) -> None:
        self.inner, self.asked, self.waited = inner, [], []

    def at(self, step):
        """Return the inner streams' batch."""
        begun = time.perf_counter()
        batch = self.inner.at(step)
        self.asked.append(begun)
        self.waited.append(time.perf_counter() - begun)
        return batch


def child(name: str, threads: int, ahead: bool, steps: int) -> dict[str, float]:
    """Train a few steps; return seconds of a step and of waiting in it, means without the first two steps."""
    given = CASES[name]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        streams = StoreStreams({"images": opened(given, Path(folder))}, seed=0)
        timed = Timed(prefetch(streams, 2, last=steps + 3) if ahead else streams)
        net = network(given)
        plan = FullTuning().learn(Scratch().plan(net, None), steps + 3)
        how = Training(
            plans={"net": plan},
            optim=Optim(),
            budget=Budget(steps=steps + 3, evals=1),
            seed=0,
            device=Device(threads=threads),
        )
        fit({"net": net}, SimCLR(patients="negatives").build({"net": net}, TASK), timed, how)
        if ahead:
            timed.inner.close()
    count = len(timed.asked) - 3
    return {"step": (timed.asked[-1] - timed.asked[2]) / count, "wait": sum(timed.waited[2:-1]) / count}


RUNS = {"1 thread": (1, 1), "2 threads": (1, 2), "2 runs, 1 thread each": (2, 1)}
"""Processes at once, and threads of each."""


def trainings(name: str, steps: int) -> dict[tuple[str, bool], tuple[float, float]]:
    """Return seconds of a step (of two runs at once, of either) and the waiting share; medians of turns."""
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for what, (processes, threads) in RUNS.items():
            for ahead in (False, True):
                call = [sys.executable, __file__, "--child", json.dumps([name, threads, ahead, steps])]
                started = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
                said = [json.loads(each.communicate()[0].splitlines()[-1]) for each in started]
                step, wait = (statistics.mean(one[key] for one in said) for key in ("step", "wait"))
                found.setdefault((what, ahead), []).append((step, wait / step))
    return {key: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for key, rows in found.items()}


# three: peers


def against_peers(given: Given, source: StreamSource, repeats: int) -> dict[str, float]:
    """Return CPU milliseconds of a batch of two views by maker: medians, turn by turn."""
    images = [torch.from_numpy(np.ascontiguousarray(source.store.image(case.id))) for case in source.cohort]
    ours = StoreStreams({"images": source}, seed=0)
    makers: dict[str, Callable[[int], object]] = {"allograft": ours.at}
    for name, chain in peers(given).items():
        batches = iter(DataLoader(Looks(images, chain), batch_size=given.batch, num_workers=0))
        makers[name] = lambda n, batches=batches: next(batches)
    taken: dict[str, list[float]] = {name: [] for name in makers}
    for repeat in range(repeats + 1):
        for name, make in makers.items():
            begun = time.process_time()
            make(repeat)
            taken[name].append(time.process_time() - begun)
    return {name: statistics.median(each[1:]) * 1e3 for name, each in taken.items()}


def rows(name: str, share: float) -> tuple[str, str, str]:
    """Return a case's row of each table."""
    given = CASES[name]
    steps = max(4, round(given.steps * share))
    with tempfile.TemporaryDirectory() as folder:
        source = opened(given, Path(folder))
        cost, peer = costs(given, source, steps), against_peers(given, source, steps)
    what = f"{name}, batch {given.batch}"
    net = f"{given.net.encoder}"
    cells = [f"{cost[look]:.0f} | {100 * cost[look] / cost['step']:.1f} %" for look in ("views", "medical_views")]
    one = f"| {what} | `{net}` | {cost['step']:.0f} | {' | '.join(cells)} |"
    others = [
        f"{peer[k]:.0f} ({peer[k] / peer['allograft']:.1f})" if k in peer else "-" for k in ("MONAI", "torchvision")
    ]
    three = f"| {what} | {peer['allograft']:.0f} | {' | '.join(others)} |"
    waits = trainings(name, steps)
    pairs = [
        f"{waits[run, ahead][0] * 1e3:.0f} | {100 * waits[run, ahead][1]:.1f} %"
        for run in RUNS
        for ahead in (False, True)
    ]
    two = f"| {what} | {' | '.join(pairs)} |"
    return one, two, three


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the steps, for a quick look")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="cases")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(child(*json.loads(chosen.child))))
        return
    torch.set_num_threads(1)
    found = []
    for name in chosen.only:
        found.append(rows(name, chosen.share))
        print("\n".join(found[-1]), flush=True)
        if chosen.write:  # after each case, for all of them take half an hour
            PAGE.write_text(page(*map(list, zip(*found, strict=True))), encoding="utf-8")


def page(one: list[str], two: list[str], three: list[str]) -> str:
    """Return the page."""
    runs = "".join(f" {run}: step, ms | waits | ahead: step, ms | waits |" for run in RUNS)
    return "\n".join(
        [
            "# Making views",
            "",
            "Are two views of each image made as fast as a step consumes them, and how long does training wait?",
            "The step is SimCLR's, the preset `views`, images are real: patches of `skin_histology` (48 x 48",
            "grey), crops of its picture (3 x 224 x 224), windows of `brain_tissue`'s template `mni152` at 1.5",
            "mm. `python benchmarks/view_loading.py --write` makes this page.",
            "",
            "## A batch against its step",
            "",
            "One process, one thread, turn by turn; CPU milliseconds, medians. `medical_views` adds the smooth",
            "deformation and, where images have several channels, modality dropout. The target is less than the",
            "step itself, so that a second processor keeps up with it.",
            "",
            "| images | network | step, ms | `views`, ms | of the step | `medical_views`, ms | of the step |",
            "|---|---|---|---|---|---|---|",
            *one,
            "",
            "## Waiting in training",
            "",
            "`fit`, each run in a process of its own: wall milliseconds of a step, and the share of them in which",
            "it waits for its batch; medians of turns. First with batches made when the step asks, then *ahead*",
            "of it in a thread, which `fit` does wherever a processor is free beside those that compute. Of two",
            "runs at once the step of either is told.",
            "",
            f"| images |{runs}",
            "|---|" + "---|" * (4 * len(RUNS)),
            *two,
            "",
            "## Against MONAI and torchvision",
            "",
            "The same work (a window where there is one, mirror, part of the image, values, blur; two looks at",
            "each) on images in memory, each behind PyTorch's `DataLoader` in the main process, one thread, turn",
            "by turn; CPU milliseconds of a batch, medians; in brackets how many times allograft's. Torchvision",
            "has no volumes, and of values brightness and contrast only, no gamma.",
            "",
            "| images | allograft, ms | MONAI, ms | torchvision, ms |",
            "|---|---|---|---|",
            *three,
            "",
            f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}, MONAI {monai.__version__}, "
            f"torchvision {torchvision.__version__}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
