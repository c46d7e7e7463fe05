"""The optimiser of adversaries: flat, then linearly to 0; Adam with its own first moment; recipes stay as they were."""

from __future__ import annotations

import pytest
import torch

from allograft.contracts import Budget, Criterion, Optim, Player
from allograft.core.budget import PlayerOptim
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_plan
from allograft.train.learning import Learning
from allograft.train.optim import build_movers, lr_at


def test_half_linear_is_flat_and_then_falls_to_0() -> None:
    optim = Optim(lr=2.0, warmup=0, schedule="half_linear")
    rates = [lr_at(optim, step, 8) for step in range(8)]
    assert rates == [2.0] * 5 + [1.5, 1.0, 0.5]
    assert lr_at(optim, 8, 8) == 0


@pytest.mark.parametrize(("own", "betas"), [(None, (0.9, 0.999)), (PlayerOptim(name="adam", beta=0.5), (0.5, 0.999))])
def test_a_player_brings_its_own_first_moment(own: Optim | None, betas: tuple[float, float]) -> None:
    class One(Criterion):
        def players(self, nets):
            return (Player("net", tuple(nets["net"].parameters()), own),)

    nets = {"net": tiny_net(2)}
    learning = Learning(nets, {"net": tiny_plan(nets["net"])})
    (mover,) = build_movers(nets, One(), learning, Optim(), Budget().steps)
    assert isinstance(mover.optimizer, torch.optim.Adam)
    assert all(group["betas"] == betas for group in mover.optimizer.param_groups)


def test_recipes_identity_is_as_before() -> None:
    assert set(Optim().model_dump()) == {"name", "lr", "weight_decay", "schedule", "warmup", "clip"}
