"""How much faster a frozen encoder trains on the feature cache than by encoding in every epoch.

    python benchmarks/feature_cache.py [--repeats 5] [--write]

Both sides call `fit` with the same plan (encoder frozen), optimiser and cases; one reads images that
lie in memory already, the other reads the cache from disk. Repeats are interleaved, medians compared.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from loop_overhead import Linear, ResNet18

from allograft.contracts import Budget, Optim
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_plan, tiny_task
from allograft.train.device import Device
from allograft.train.features import cache_features, encoder_frozen, feature_key
from allograft.train.loop import fit
from allograft.train.precision import cpu_name
from allograft.train.training import Training

TASK = tiny_task()
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "feature_cache.md"
CASES, BATCH, SIZE, EPOCHS = 128, 32, 64, 2


class Images:
    """All cases in memory, in order, epoch after epoch."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        image = torch.randn((CASES, 3, SIZE, SIZE), generator=generator)
        label = torch.randint(3, (CASES,), generator=generator)
        self.batches = [
            Batch(
                image=image[k : k + BATCH],
                targets={"label": label[k : k + BATCH]},
                present={"label": torch.ones(BATCH).bool()},
                ids=tuple(f"case-{i}" for i in range(k, k + BATCH)),
            )
            for k in range(0, CASES, BATCH)
        ]

    def at(self, step):
        return {"train": self.batches[step % len(self.batches)]}


class Features:
    """The same batches with levels in place of images, read from the cache at each step."""

    def __init__(self, images, cache):
        self.cache = cache
        self.batches = [
            Batch(image=torch.empty(0), targets=b.targets, present=b.present, ids=b.ids) for b in images.batches
        ]

    def at(self, step):
        return {"train": self.cache.fill(self.batches[step % len(self.batches)])}


def seconds(net, plan, data):
    """Return the seconds of one epoch."""
    net = copy.deepcopy(net)
    steps = EPOCHS * CASES // BATCH
    training = Training(plans={"net": plan}, optim=Optim(), budget=Budget(steps=steps, evals=1), seed=0)
    start = time.perf_counter()
    fit({"net": net}, Supervised().build({"net": net}, TASK), data, training)
    return (time.perf_counter() - start) / EPOCHS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    chosen = parser.parse_args()
    net, images = Network(ResNet18(), {"label": Linear()}), Images()
    plan = tiny_plan(net, {"body": ((0, 0.0),)})
    assert encoder_frozen(plan, 1)
    encoding, cached = [], []
    with tempfile.TemporaryDirectory() as folder, Device(threads=1).session():
        ids = tuple(name for batch in images.batches for name in batch.ids)
        start = time.perf_counter()
        cache = cache_features(net, images.batches, ids=ids, folder=Path(folder), key=feature_key(net, "noise"))
        making = time.perf_counter() - start
        for repeat in range(chosen.repeats + 1):
            found = seconds(net, plan, images), seconds(net, plan, Features(images, cache))
            if repeat:
                encoding.append(found[0])
                cached.append(found[1])
    slow, fast = statistics.median(encoding), statistics.median(cached)
    lines = [
        f"| {n} | {slow * n:.1f} | {making + fast * n:.1f} | **{slow * n / (making + fast * n):.1f}** |"
        for n in (1, 10, 30, 100)
    ]
    text = page(slow, fast, making, lines, chosen.repeats)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


def page(slow, fast, making, lines, repeats):
    return "\n".join(
        [
            "# Feature cache",
            "",
            f"ResNet-18 with a frozen encoder, {CASES} images of 3 x {SIZE} x {SIZE}, batch {BATCH}, one thread.",
            f"Medians of {repeats} interleaved repeats; `python benchmarks/feature_cache.py --write` makes this page.",
            "",
            f"An epoch takes **{slow * 1e3:.0f} ms** when every step encodes, **{fast * 1e3:.1f} ms** on the cache: "
            f"**{slow / fast:.0f} times faster**",
            f"(target: 10). Making the cache takes {making * 1e3:.0f} ms once,",
            "for all recipes and seeds with this encoder.",
            "Images are ready in memory here; decoding and augmenting them would add to the first number only.",
            "",
            "| epochs | encoding every epoch, s | making the cache + training on it, s | ratio |",
            "|---|---|---|---|",
            *lines,
            "",
            f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
