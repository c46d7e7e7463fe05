"""One of several processes for test_pretext_processes.py: python two_process_rotation.py OUT WORLD."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file

from allograft.contracts import Budget, Criterion, Loss, Optim
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.rotation import Rotation
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_plan
from allograft.train.device import Device, share_of
from allograft.train.loop import fit
from allograft.train.training import Training

SEED = 3


class Shared(Criterion):
    """Rotation in one process as two would do it: each share with the draws of its process, then the mean."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, nets, batch, at, player):
        losses = []
        for rank in range(2):
            torch.default_generator.manual_seed(seed_for("step", SEED, at.step, rank))
            shares = {name: share_of(part, rank, 2) for name, part in batch.items()}
            losses.append(self.inner(nets, shares, at, player).total)
        return Loss(sum(losses) / 2, {})


class SyntheticStreams:
    """Noise images, others in every step."""

    def at(self, step):
        image = torch.randn((6, 3, 8, 8), generator=torch.Generator().manual_seed(step))
        return {"images": Batch(image=image, ids=tuple("abcdef"), groups=tuple("ppqqrr"))}


def main(out, world):
    torch.manual_seed(0)
    net = tiny_net(2, outputs=4, norm="none")
    net.tasks = Rotation().tasks(2)
    net.heads["rotation"] = net.heads.pop("label")
    task = Task(kind="restoration", classes=("image",))
    criterion = Rotation().build({"net": net}, task)
    training = Training(
        plans={"net": tiny_plan(net)},
        optim=Optim(name="sgd", lr=0.05),
        budget=Budget(steps=5, evals=1),
        seed=SEED,
        device=Device(devices=world),
    )
    fit({"net": net}, Shared(criterion) if world == 1 else criterion, SyntheticStreams(), training)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
