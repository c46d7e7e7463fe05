"""How much time `fit` takes over a bare PyTorch loop on the same prepared batches.

    python benchmarks/loop_overhead.py [--share 0.2] [--write]

Both sides train the same network with the same optimiser (fused AdamW) on the same batches in one
thread. Their steps alternate one by one in one process, so that whatever else the machine does hits
both alike, and the medians are compared. The bare loop has no schedule, no log and no checks besides
reading the loss. CPU seconds are the judge: wall seconds also measure other processes.
"""

from __future__ import annotations

import argparse
import copy
import platform
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


def prepared(size, image):
    """Return batches made before the clock starts."""
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(
            image=torch.randn((image[0], 3, *image[1:]), generator=generator),
            targets={"label": torch.randint(3, (image[0],), generator=generator)},
            present={"label": torch.ones(image[0]).bool()},
            ids=tuple(map(str, range(image[0]))),
        )
        for _ in range(size)
    ]


def clock():
    return torch.tensor([time.process_time(), time.perf_counter()], dtype=torch.float64)


class Alternating:
    """Streams for `fit` that time its steps, and do a bare step on a twin network before each."""

    def __init__(self, batches, twin):
        self.batches, self.twin = batches, twin.train()
        self.optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        self.ours, self.bare, self.released = [], [], None

    def at(self, step):
        now = clock()
        if self.released is not None:
            self.ours.append(now - self.released)
        batch = self.batches[step % len(self.batches)]
        torch.use_deterministic_algorithms(False)  # PyTorch's default, which a bare loop would have
        start = clock()
        self.bare_step(batch)
        self.bare.append(clock() - start)
        torch.use_deterministic_algorithms(True)
        self.released = clock()
        return {"train": batch}

    def bare_step(self, batch):
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.twin(batch.image).logits["label"], batch.targets["label"])
        loss.backward()
        self.optimizer.step()
        loss.item()


def compare(net, image, steps):
    """Return milliseconds per step (CPU, wall) of the bare loop and of `fit`: medians of alternating steps."""
    streams = Alternating(prepared(4, image), copy.deepcopy(net))
    training = Training(plans={"net": tiny_plan(net)}, optim=Optim(), budget=Budget(steps=steps, evals=1), seed=0)
    fit({"net": net}, Supervised().build({"net": net}, TASK), streams, training)
    warm = 3
    return [(torch.stack(x[warm:]).median(0).values * 1e3).tolist() for x in (streams.bare, streams.ours)]


CASES = {
    "ResNet-18, 32 x 3 x 64 x 64": (lambda: Network(ResNet18(), {"label": Linear()}), (32, 64, 64), 60),
    "ResNet-18, 8 x 3 x 64 x 64": (lambda: Network(ResNet18(), {"label": Linear()}), (8, 64, 64), 100),
    "tiny (3 convolutions), 32 x 3 x 32 x 32": (lambda: tiny_net(2, outputs=3), (32, 32, 32), 400),
    "tiny (3 convolutions), 8 x 3 x 8 x 8": (lambda: tiny_net(2, outputs=3), (8, 8, 8), 1000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the steps, for a quick look")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    chosen = parser.parse_args()
    lines = []
    for name, (make, image, steps) in CASES.items():
        (bare_cpu, bare_wall), (cpu, wall) = compare(make(), image, max(10, round(steps * chosen.share)))
        lines.append(
            f"| {name} | {bare_cpu:.2f} | {cpu:.2f} | **{(cpu / bare_cpu - 1) * 100:+.1f} %** "
            f"| {(wall / bare_wall - 1) * 100:+.1f} % | {(cpu - bare_cpu) * 1000:.0f} |"
        )
        print(lines[-1], flush=True)
    if chosen.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(lines), encoding="utf-8")


def page(lines):
    return "\n".join(
        [
            "# Overhead of the training loop",
            "",
            "`fit` against a bare PyTorch loop: same network, same prepared batches, same fused AdamW, one thread.",
            "Steps of both alternate one by one in one process; medians per step. The bare loop has no schedule,",
            "no log and no checks besides reading the loss.",
            "`python benchmarks/loop_overhead.py --write` makes this page.",
            "What the loop adds is a fixed time per step (last column), so its share falls as networks grow;",
            "the target is below 5 % for a realistic small network, the first row. Differences between rows show the",
            "noise of a shared machine: a loop cannot be faster than what it contains.",
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
