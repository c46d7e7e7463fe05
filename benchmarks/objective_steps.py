"""How much time each objective's step takes over the bare forward and backward passes that it needs by definition.

    python benchmarks/objective_steps.py [--share 0.2] [--only NAME ...] [--write]

Both sides use the same network and the same prepared images in one thread and alternate step by step, so that
whatever else the machine does hits both alike. The ratio of each pair of neighbours is taken, and its median told.
A bare pass computes the sum of squares of the logits; a step adds probabilities, distances, noise, the task's loss
and, after it, the teacher's average. The optimiser is on neither side. CPU seconds are the judge.

An objective adds one line to `STEPS`: its settings, and its passes by definition.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allograft.catalog import parts
from allograft.contracts import Paired, Progress
from allograft.core.task import Task
from allograft.data.case import Batch, View
from allograft.nets.build import build_network
from allograft.nets.discriminator import Discriminator
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.cct import CCT
from allograft.objectives.cps import CPS
from allograft.objectives.cross_teaching import CrossTeaching
from allograft.objectives.deep_adversarial import DeepAdversarial
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.fix_match import FixMatch
from allograft.objectives.ict import ICT
from allograft.objectives.mean_teacher import MeanTeacher
from allograft.objectives.r_drop import RDrop
from allograft.objectives.supervised import Supervised
from allograft.objectives.ua_mt import UAMT
from allograft.objectives.urpc import URPC
from allograft.train.precision import cpu_name

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "objective_steps.md"
TARGET = 1.1
BATCH = {"classify 2-D": 16, "segment 2-D": 4, "segment 3-D": 4}
"""Labelled cases in a step, and as many unlabelled ones."""


class Passes(NamedTuple):
    """What a step needs by definition, each of one batch.

    Args:
        learn: forward and backward of the network, one for each batch that a gradient comes from.
        look: forward without gradient.
        bare: in place of these, a function of (nets, batches) that does one step's passes.
    """

    learn: int
    look: int = 0
    bare: Callable[[Mapping[str, Network], Mapping[str, Batch]], None] | None = None


def _each_learns(nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> None:
    """Two learnt batches of every network: cross supervision."""
    image = batch["unlabelled"].image
    logits = [one for net in nets.values() for _ in range(2) for one in net(image).logits.values()]
    torch.stack([one.square().sum() for one in logits]).sum().backward()


def _four_decoders(nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> None:
    """Two batches through the encoder once and through four decoders: CCT."""
    net, image, logits = nets["net"], batch["unlabelled"].image, []
    for _ in range(2):
        levels = net.encode(image)
        logits += [one for _ in range(4) for one in net.decode(levels).logits.values()]
    torch.stack([one.square().sum() for one in logits]).sum().backward()


def _with_critic(nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> None:
    """Two learnt batches and two looks of the network; a discriminator learns from two and judges one."""
    net, image = nets["net"], batch["unlabelled"].image
    dense, (found, said) = net.decoder is not None, (net(image), net(image))
    inputs = (3, net.shape.in_channels if dense else net.shape.channels[-1])
    key = (*inputs, net.shape.dims)
    if key not in CRITICS:
        CRITICS[key] = Discriminator(net.shape.dims if dense else 0, inputs, 64)
    critic = CRITICS[key]
    (logits,), (more,) = found.logits.values(), said.logits.values()
    sees = image if dense else found.pooled.detach()
    (logits.square().sum() + critic(more, sees).sum()).backward()
    with torch.no_grad():
        looks = [next(iter(net(image).logits.values())) for _ in range(2)]
    torch.stack([critic(look, sees).sum() for look in looks]).sum().backward()


CRITICS: dict[tuple[int, ...], Discriminator] = {}
"""A discriminator for each kind of input, made once."""
UNLIKE = NetSpec(encoder="cbr_tiny", decoder="unet", width=0.5)

STEPS: dict[str, tuple[Any, Passes]] = {
    "supervised": (Supervised(), Passes(1)),
    "entropy_minimisation": (EntropyMinimisation(), Passes(2)),
    "mean_teacher": (MeanTeacher(ramp=0), Passes(2, 1)),
    "ua_mt": (UAMT(ramp=0), Passes(2, 9)),
    "ict": (ICT(ramp=0), Passes(2, 1)),
    "fix_match": (FixMatch(threshold=0.4), Passes(2, 1)),
    "r_drop": (RDrop(), Passes(4)),
    "cps": (CPS(ramp=0), Passes(4, bare=_each_learns)),
    "cross_teaching": (CrossTeaching(ramp=0, partner=UNLIKE), Passes(4, bare=_each_learns)),
    "deep_adversarial": (DeepAdversarial(ramp=0), Passes(2, 2, bare=_with_critic)),
    "cct": (CCT(ramp=0), Passes(2, bare=_four_decoders)),
    "urpc": (URPC(ramp=0), Passes(2)),
}

CASES: dict[str, tuple[NetSpec, Task, tuple[int, ...]]] = {
    "classify 2-D": (
        NetSpec(encoder="resnet18", dropout=0.1),
        Task(kind="multiclass", classes=("a", "b", "c")),
        (3, 64, 64),
    ),
    "segment 2-D": (
        NetSpec(encoder="resnet18_small", decoder="unet", width=0.25, dropout=0.1),
        Task(kind="segmentation", classes=("background", "a", "b")),
        (1, 64, 64),
    ),
    "segment 3-D": (
        NetSpec(encoder="resnet18_small", decoder="unet", dims=3, width=0.125, dropout=0.1),
        Task(kind="segmentation", classes=("background", "a", "b")),
        (1, 16, 32, 32),
    ),
}


def networks(case: str, objective: Any) -> dict[str, Network]:
    """Return the network and its partners."""
    spec, task, shape = CASES[case]
    specs = {"net": spec, **(objective.partners(spec) if isinstance(objective, Paired) else {})}
    return {
        name: build_network(each, {task.head: task}, in_channels=shape[0], seed=i, parts=parts(each)).train()
        for i, (name, each) in enumerate(specs.items())
    }


def batches(case: str) -> dict[str, Batch]:
    """Return a labelled and an unlabelled batch of noise, the latter with one view."""
    (_, task, shape), size = CASES[case], BATCH[case]
    image = torch.randn(2 * size, *shape)
    target = torch.randint(3, (size, *(shape[1:] if task.kind == "segmentation" else ())))
    names = tuple(map(str, range(size)))
    train = Batch(image=image[:size], targets={task.head: target}, present={task.head: torch.ones(size).bool()})
    view = View(image[size:] + 0.1, ({},) * size)
    return {"train": replace(train, ids=names), "unlabelled": Batch(image=image[size:], views=(view,), ids=names)}


def bare(passes: Passes, head: str) -> Callable[[Mapping[str, Network], Mapping[str, Batch]], None]:
    """Return the passes of a step with nothing around them."""

    def step(nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> None:
        image, net = batch["unlabelled"].image, nets["net"]
        total: Tensor | float = 0.0
        for _ in range(passes.learn):
            total = total + net(image).logits[head].square().sum()
        with torch.no_grad():
            for _ in range(passes.look):
                net(image)
        torch.as_tensor(total).backward()

    return passes.bare or step


def compare(name: str, case: str, steps: int) -> tuple[float, float, float]:
    """Return milliseconds of the bare passes and of the step, and the median ratio of neighbours."""
    objective, passes = STEPS[name]
    task = CASES[case][1]
    nets, batch = networks(case, objective), batches(case)
    twins = copy.deepcopy(nets)
    criterion, plain, at = objective.build(nets, task).train(), bare(passes, task.head), Progress(5, 10)
    players = [p.name for p in criterion.players(nets)]

    def ours() -> None:
        for player in players:
            criterion(nets, batch, at, player).total.backward()
        criterion.after_step(nets, at)

    pairs = []
    for step in range(steps + 3):
        timed = {}
        for side, run in sorted({"bare": lambda: plain(twins, batch), "ours": ours}.items(), reverse=bool(step % 2)):
            for module in (*nets.values(), *twins.values(), criterion):
                module.zero_grad(set_to_none=True)
            begun = time.process_time()
            run()
            timed[side] = time.process_time() - begun
        pairs.append((timed["bare"], timed["ours"]))
    kept = pairs[3:]
    medians = [statistics.median(side) * 1e3 for side in zip(*kept, strict=True)]
    return medians[0], medians[1], statistics.median(b / a for a, b in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the steps, for a quick look")
    parser.add_argument("--only", nargs="*", default=list(STEPS), help="objectives")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = []
    for name in chosen.only:
        passes, cells = STEPS[name][1], []
        for case in CASES:
            plain, ours, ratio = compare(name, case, max(6, round(40 * chosen.share)))
            cells.append(
                f"{plain:.0f} | {ours:.0f} | {'**' if ratio > TARGET else ''}{ratio:.2f}{'**' * (ratio > TARGET)}"
            )
        lines.append(f"| `{name}` | {passes.learn} | {passes.look} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if chosen.write:
        PAGE.write_text(page(lines), encoding="utf-8")


def page(lines: list[str]) -> str:
    """Return the page."""
    heads = "".join(f" {case}: bare ms | step ms | ratio |" for case in CASES)
    return "\n".join(
        [
            "# Steps of objectives",
            "",
            "The step of each objective against the bare forward and backward passes that it needs by definition: same",
            "network, same prepared images, one thread. Steps of both alternate in one process; CPU milliseconds,",
            f"medians; the ratio is the median over neighbouring steps. The target is at most {TARGET}; what is above",
            "it is bold. *Learn* counts passes with a gradient, *look* passes without, each of one batch of "
            f"{BATCH['classify 2-D']} images, or {BATCH['segment 2-D']} windows of a segmentation.",
            "What a step adds: probabilities, distances, noise, the task's loss and the teacher's average; of a",
            "segmentation the supervised line shows how much of it is the task's own loss. The optimiser is on neither",
            "side. `python benchmarks/objective_steps.py --write` makes this page.",
            "",
            f"| objective | learn | look |{heads}",
            "|---|---|---|" + "---|" * (3 * len(CASES)),
            *lines,
            "",
            f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
