"""One of several processes for test_looks_of_all_processes.py: python two_process_looks.py OUT WORLD."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file
from torch import nn

from allograft.contracts import Budget, Optim
from allograft.core.task import Task
from allograft.objectives.barlow_twins import BarlowTwins
from allograft.objectives.byol import BYOL
from allograft.objectives.dino import DINO
from allograft.objectives.moco_v2 import MoCoV2
from allograft.objectives.patient_pairs import PatientPairs
from allograft.objectives.simclr import SimCLR
from allograft.objectives.simsiam import SimSiam
from allograft.objectives.swav import SwAV
from allograft.objectives.vicreg import VICReg
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_plan
from allograft.train.device import Device
from allograft.train.loop import Watch, fit
from allograft.train.training import Training
from two_view_material import AT, two_looks

SMALL = {"hidden": 8, "output": 6}
METHODS = (
    SimCLR(**SMALL),
    MoCoV2(**SMALL, queue=12, momentum=0.5, parts=1),
    BYOL(**SMALL, momentum=0.5),
    SimSiam(**SMALL, bottleneck=4),
    BarlowTwins(**SMALL),
    VICReg(**SMALL),
    SwAV(**SMALL, prototypes=4),
    DINO(**SMALL, bottleneck=4, momentum=0.5),
    PatientPairs(**SMALL),
)


class Looks:
    """Other synthetic images in every step."""

    def at(self, step):
        return {"images": two_looks(8, 2, seed=step), "partner": two_looks(8, 2, seed=100 + step)}


def without_norms(module):
    """Take batch norms out: they see the images of their own process, which Differs says."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            setattr(module, name, nn.Identity())
        else:
            without_norms(child)


def trained(method, world):
    """Return all tensors after five steps, in which only the first process looks at held-out images."""
    net = tiny_net(2, norm="none")
    torch.manual_seed(0)
    nets, task = {"net": net}, Task(kind="binary", classes=("no", "yes"))
    criterion = method.build(nets, task)
    without_norms(criterion)
    training = Training(
        plans={"net": tiny_plan(net)},
        optim=Optim(name="sgd", lr=0.05, clip=1.0),
        budget=Budget(steps=5, evals=2),
        seed=0,
        device=Device(devices=world),
    )

    def look():
        with torch.no_grad():
            loss = criterion.eval()(nets, Looks().at(9), AT, "all")
        criterion.train()
        return {"held_out_loss": float(loss.total)}

    fit(nets, criterion, Looks(), training, validate=Watch(look))
    return {**net.state_dict(), **{f"criterion.{k}": v for k, v in criterion.state_dict().items()}}


def main(out, world):
    found = {}
    for method in METHODS:
        tensors = trained(method, world)
        found |= {f"{method.name}.{name}": tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(found, out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
