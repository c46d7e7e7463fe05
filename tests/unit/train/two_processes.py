"""One of several processes for test_device.py: python two_processes.py OUT WORLD."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file
from torch import nn

from allograft.contracts import Budget, Criterion, Loss, Optim
from allograft.objectives.task_loss import task_loss
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_plan, tiny_task
from allograft.train.device import Device
from allograft.train.loop import fit
from allograft.train.training import Training


class WithOwnModule(Criterion):
    """Owns a module whose gradients must be shared too."""

    def __init__(self, task):
        super().__init__()
        self.task_loss, self.own = task_loss(task), nn.Linear(8, 1)

    def forward(self, nets, batch, at, player):
        out = nets["net"](batch["train"].image)
        task = self.task_loss(out, batch["train"])
        mine = (self.own(out.pooled).squeeze(1) - batch["train"].targets["label"]).square().mean()
        return Loss(task.total + mine, {"task": task.total.detach(), "mine": mine.detach()})


def main(out, world):
    torch.manual_seed(0)
    task, net = tiny_task(), tiny_net(2, outputs=3, norm="none")
    criterion = WithOwnModule(task)
    training = Training(
        plans={"net": tiny_plan(net, {"stem": ((0, 0.0),), "stage1": ((0, 0.0), (2, 1.0))})},
        optim=Optim(name="sgd", lr=0.05, clip=1.0),
        budget=Budget(steps=5, evals=2),
        seed=0,
        device=Device(devices=world),
    )
    calls = []

    def validate(net):
        calls.append(1)
        return {"score": float(len(calls))}

    fit({"net": net}, criterion, TinyStreams(2, task, {"train": True}), training, validate=validate)
    tensors = {**net.state_dict(), **{f"criterion.{k}": v for k, v in criterion.state_dict().items()}}
    save_file({k: v.contiguous() for k, v in tensors.items()}, out, {"validations": str(len(calls))})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
