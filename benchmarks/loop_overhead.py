"""How much time `fit` takes over a bare PyTorch loop on the same prepared batches.

    python benchmarks/loop_overhead.py [--repeats 15] [--write]

Both sides train the same network with the same optimiser (fused AdamW) on the same batches in one
thread; repeats are interleaved and the medians compared. The bare loop has no schedule, no log and no
checks besides reading the loss. CPU seconds are the judge, since wall seconds also measure whatever
else the machine does.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from allograft.contracts import Budget, Optim
from allograft.data.case import Batch
from allograft.nets.network import Head, Network, Stage
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_plan, tiny_task
from allograft.train.device import Device
from allograft.train.loop import fit
from allograft.train.precision import cpu_name
from allograft.train.training import Training

TASK = tiny_task()
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "loop_overhead.md"


class ResNet18(nn.Module):
    """torchvision's ResNet-18 as an encoder."""

    dims, in_channels, channels, strides = 2, 3, (512,), (32,)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])

    def forward(self, x):
        return (self.body(x),)

    def stages(self):
        return (Stage("body", ("body",)),)


class Linear(Head):
    """A linear head."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(512, 3)

    def forward(self, pooled, decoded):
        return self.linear(pooled)


class Prepared:
    """Batches made before the clock starts."""

    def __init__(self, size, image):
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            {
                "train": Batch(
                    image=torch.randn((image[0], 3, *image[1:]), generator=generator),
                    targets={"label": torch.randint(3, (image[0],), generator=generator)},
                    present={"label": torch.ones(image[0]).bool()},
                    ids=tuple(map(str, range(image[0]))),
                )
            }
            for _ in range(size)
        ]

    def at(self, step):
        return self.batches[step % len(self.batches)]


def ours(net, data, steps):
    training = Training(plans={"net": tiny_plan(net)}, optim=Optim(), budget=Budget(steps=steps, evals=1), seed=0)
    criterion = Supervised().build({"net": net}, TASK)
    start = time.process_time(), time.perf_counter()
    fit({"net": net}, criterion, data, training)
    return time.process_time() - start[0], time.perf_counter() - start[1]


def bare(net, data, steps):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    net.train()
    start = time.process_time(), time.perf_counter()
    for step in range(steps):
        batch = data.at(step)["train"]
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(batch.image).logits["label"], batch.targets["label"])
        loss.backward()
        optimizer.step()
        loss.item()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def compare(make, image, steps, repeats):
    """Return milliseconds per step (CPU, wall) of both sides, medians of interleaved repeats."""
    data, net = Prepared(4, image), make()
    seconds = {ours: [], bare: []}
    for repeat in range(repeats + 1):
        for side in (ours, bare) if repeat % 2 else (bare, ours):
            found = side(copy.deepcopy(net), data, steps)
            if repeat:  # the first warms up
                seconds[side].append(found)
    return {
        side.__name__: [statistics.median(x) / steps * 1e3 for x in zip(*found, strict=True)]
        for side, found in seconds.items()
    }


CASES = {
    "ResNet-18, 32 x 3 x 64 x 64": (lambda: Network(ResNet18(), {"label": Linear()}), (32, 64, 64), 4),
    "ResNet-18, 8 x 3 x 64 x 64": (lambda: Network(ResNet18(), {"label": Linear()}), (8, 64, 64), 8),
    "tiny (3 convolutions), 32 x 3 x 32 x 32": (lambda: tiny_net(2, outputs=3), (32, 32, 32), 60),
    "tiny (3 convolutions), 8 x 3 x 8 x 8": (lambda: tiny_net(2, outputs=3), (8, 8, 8), 150),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    chosen = parser.parse_args()
    lines = []
    with Device(threads=1, deterministic=False).session():
        for name, (make, image, steps) in CASES.items():
            found = compare(make, image, steps, chosen.repeats)
            (cpu, wall), (bare_cpu, bare_wall) = found["ours"], found["bare"]
            lines.append(
                f"| {name} | {bare_cpu:.2f} | {cpu:.2f} | **{(cpu / bare_cpu - 1) * 100:+.1f} %** "
                f"| {(wall / bare_wall - 1) * 100:+.1f} % | {(cpu - bare_cpu) * 1000:.0f} |"
            )
            print(lines[-1], flush=True)
    if chosen.write:
        PAGE.write_text(page(lines, chosen.repeats), encoding="utf-8")


def page(lines, repeats):
    return "\n".join(
        [
            "# Overhead of the training loop",
            "",
            "`fit` against a bare PyTorch loop: same network, same prepared batches, same fused AdamW, one thread.",
            f"Medians per step of {repeats} interleaved repeats;",
            "`python benchmarks/loop_overhead.py --write` makes this page.",
            "What the loop adds is a fixed time per step (last column), so its share falls as networks grow;",
            "the target is below 5 % for a realistic small network, the first row.",
            "",
            "| network and batch | bare, CPU ms | `fit`, CPU ms | added (CPU) | added (wall) | added, CPU µs |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
            f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
