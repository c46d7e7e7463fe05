"""What the synthetic change of protocol costs: a network of one site on the others, and one of each site itself.

    python benchmarks/protocol_shift.py [--dims 2 3] [--task tissue level] [--sites A B] [--seeds 3] [--steps 150]

Plain supervised training from scratch, without any method of adaptation: this is how SITES was chosen, and what must
hold before a method is run (docs/data.md states the numbers). Sixteen subjects of a site are learnt from and the other
eight are tested on; subjects of one site are never at another. Source-only: learnt at the first site. Target: learnt
at the tested site. Segmentation is judged by the mean Dice of the three tissues over all test images together,
classification by balanced accuracy; both in per cent.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from allograft.catalog import parts
from allograft.data.case import ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.preprocess import prepare
from allograft.datasets.synthetic_protocols import SyntheticProtocols, SyntheticProtocolsSettings
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec

SITES = ("siteA", "siteB", "siteC", "siteD")
TRAIN, LR = 16, {True: 1e-2, False: 3e-3}
"""Subjects of a site that are learnt from, and the rates for masks and for classes."""

BATCH = {(2, True): 8, (3, True): 2, (2, False): 16, (3, False): 8}


class Part(NamedTuple):
    """Images (N, 1, *S) and targets: (N, *S) or (N,)."""

    image: Tensor
    target: Tensor


def read(cohort: Cohort, dims: int) -> dict[str, tuple[Part, Part]]:
    """Return what each site learns from and is tested on."""
    data = SyntheticProtocols
    found: dict[str, tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.int64]], list[str]]] = {}
    for case in cohort:
        images, targets, groups = found.setdefault(case.domain, ([], [], []))
        target = case.targets[cohort.task.head]
        images.append(prepare(read_channels(case.image), data.preprocess))
        held = read_mask(target, onto=case.image[0], dims=dims).array[0] if isinstance(target, ImageRef) else target
        targets.append(np.asarray(held))
        groups.append(case.group)
    out = {}
    for site, (images, targets, groups) in found.items():
        order = list(dict.fromkeys(groups))
        learnt = torch.tensor([order.index(group) < TRAIN for group in groups])
        shown = torch.from_numpy(np.stack(images)).float()
        true = torch.from_numpy(np.stack(targets).astype(np.int64))
        out[site] = Part(shown[learnt], true[learnt]), Part(shown[~learnt], true[~learnt])
    return out


def train(net: Network, part: Part, steps: int, seed: int) -> None:
    """Adam with a cosine, left and right exchanged half of the time."""
    draw, head = torch.Generator().manual_seed(seed), next(iter(net.tasks))
    mover = torch.optim.Adam(net.parameters(), lr=LR[part.target.ndim > 1])
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(mover, steps)
    net.train()
    for _ in range(steps):
        rows = torch.randint(len(part.image), (BATCH[part.image.ndim - 2, part.target.ndim > 1],), generator=draw)
        image, target = part.image[rows], part.target[rows]
        if torch.rand((), generator=draw) < 0.5:
            image, target = image.flip(-1), target.flip(-1) if target.ndim > 1 else target
        loss = nn.functional.cross_entropy(net(image).logits[head], target)
        mover.zero_grad(set_to_none=True)
        loss.backward()
        mover.step()
        plan.step()
    net.eval()


@torch.no_grad()
def judge(net: Network, part: Part) -> float:
    """Return mean Dice of the tissues, or balanced accuracy, in per cent."""
    (head, task), chunks = next(iter(net.tasks.items())), part.image.split(8)
    found = torch.cat([net(image).logits[head].argmax(1) for image in chunks])
    first = 1 if task.dense else 0
    table = torch.bincount((part.target * len(task.classes) + found).flatten(), minlength=len(task.classes) ** 2)
    table = table.reshape(len(task.classes), -1).double()
    hit, true, said = table.diag(), table.sum(1), table.sum(0)
    each = 2 * hit / (true + said).clamp(min=1) if task.dense else hit / true
    return 100 * float(each[first:].mean())


def fresh(dataset: SyntheticProtocols, dims: int, seed: int) -> Network:
    """Return a small network with fresh values."""
    task = dataset.task
    encoder, decoder = ("genesis", "genesis") if task.dense else ("resnet10_small", "")
    spec = NetSpec(encoder=encoder, dims=dims, width=0.125 if task.dense and dims == 3 else 0.25, decoder=decoder)
    return build_network(spec, {task.head: task}, in_channels=1, seed=seed, parts=parts(spec))


def measure(dims: int, task: str, sites: Sequence[str], seeds: int, steps: int) -> None:
    """Print a line for each site."""
    settings = SyntheticProtocolsSettings.model_validate({"dims": dims, "task": task, "sites": sites})
    dataset = SyntheticProtocols(settings)
    data, began = read(dataset.prepare(), dims), time.perf_counter()
    source: dict[str, list[float]] = {site: [] for site in sites}
    own: dict[str, list[float]] = {site: [] for site in sites}
    for seed in range(seeds):
        for site in sites:
            net = fresh(dataset, dims, seed)
            train(net, data[site][0], steps, seed)
            own[site].append(judge(net, data[site][1]))
            if site == sites[0]:
                for other in sites:
                    source[other].append(judge(net, data[other][1]))
    print(f"\n{task}, {dims}-D, {seeds} seeds of {steps} steps, {time.perf_counter() - began:.0f} s")
    print("| site | source-only | target | lost |\n|---|---|---|---|")
    for site in sites:
        low, high = (statistics.mean(each[site]) for each in (source, own))
        print(f"| {site} | {said(source[site])} | {said(own[site])} | {high - low:.1f} |", flush=True)


def said(values: list[float]) -> str:
    """Return mean and range."""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--task", nargs="+", default=["tissue", "level"])
    parser.add_argument("--sites", nargs="+", default=SITES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for dims in args.dims:
        for task in args.task:
            measure(dims, task, args.sites, args.seeds, args.steps)


if __name__ == "__main__":
    main()
