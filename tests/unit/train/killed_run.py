"""A small training run for test_killed_training.py: python killed_run.py FOLDER OUT [SLEEP]."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from allograft.contracts import Budget, Optim
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training


class Slow:
    """Streams that take their time, so that a kill falls between any two lines."""

    def __init__(self, seconds):
        self.seconds, self.inner = seconds, TinyStreams(2, tiny_task(), {"train": True})

    def at(self, step):
        time.sleep(self.seconds)
        return self.inner.at(step)


def score(net):
    net.eval()
    with torch.no_grad():
        batch = tiny_batch(2, tiny_task(), seed=99)
        return {
            "score": -float(torch.nn.functional.cross_entropy(net(batch.image).logits["label"], batch.targets["label"]))
        }


def main(folder, out, seconds):
    net = tiny_net(2, outputs=3)
    nets = {"net": net}
    training = Training(
        plans={"net": tiny_plan(net, {"stem": ((0, 0.0), (7, 1.0))})},
        optim=Optim(lr=0.01),
        budget=Budget(steps=30, evals=4),
        seed=0,
        save_every=3,
    )
    history = fit(nets, Supervised().build(nets, tiny_task()), Slow(seconds), training, validate=score, where=folder)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out, {"history": history.model_dump_json()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
