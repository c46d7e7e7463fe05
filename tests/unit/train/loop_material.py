"""Networks, streams and validations for the loop's tests. Synthetic data."""

from __future__ import annotations

import torch
from torch import nn

from allograft.contracts import Budget, Criterion, Loss, Optim, Player
from allograft.nets.network import Head, Network
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import TinyEncoder
from allograft.testing.training import TinyStreams, tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training

TASK = tiny_task()
FROZEN = ((0, 0.0),)


def streams(dims=2):
    return TinyStreams(dims, TASK, {"train": True})


def training(net, learns=None, *, steps=6, evals=2, patience=None, save_every=100, penalties=None, **optim):
    return Training(
        plans={"net": tiny_plan(net, learns)},
        optim=Optim(**{"lr": 0.01, "weight_decay": 0.1, **optim}),
        budget=Budget(steps=steps, evals=evals, patience=patience),
        seed=0,
        penalties=penalties or {},
        save_every=save_every,
    )


def run(net, how, *, criterion=None, data=None, **rest):
    nets = {"net": net}
    return fit(nets, criterion or Supervised().build(nets, TASK), data or streams(), how, **rest)


def tensors(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def differing(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


class DropoutHead(Head):
    """Noise in the network, which a resumed run must draw again."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, pooled, decoded):
        return self.linear(nn.functional.dropout(pooled, 0.5, self.training))


def noisy_net(dims=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(TinyEncoder(dims), {"label": DropoutHead()})


class Scores:
    """A validation that returns given scores in turn, or one that depends on the weights."""

    def __init__(self, scores=None):
        self.scores, self.calls = list(scores or []), 0

    def __call__(self, net):
        self.calls += 1
        if self.scores:
            return {"score": self.scores[self.calls - 1]}
        net.eval()  # a careless validation that leaves the mode behind
        with torch.no_grad():
            batch = tiny_batch(2, TASK, seed=99)
            return {
                "score": -float(nn.functional.cross_entropy(net(batch.image).logits["label"], batch.targets["label"]))
            }


class Adversary(Criterion):
    """The network lowers a number that its opponent raises."""

    def __init__(self):
        super().__init__()
        self.knob = nn.Linear(8, 1)
        self.register_buffer("calls", torch.zeros(()))

    def players(self, nets):
        return (
            Player("net", [*nets["net"].parameters()]),
            Player("knob", [*self.knob.parameters()], Optim(name="sgd", lr=0.1), 2),
        )

    def forward(self, nets, batch, at, player):
        value = self.knob(nets["net"](batch["train"].image).pooled).mean()
        return Loss(value if player == "net" else -value, {"value": value.detach()})

    def after_step(self, nets, at):
        self.calls += 1
