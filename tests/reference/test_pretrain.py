"""Pre-train: two stages in their shares, an encoder that is carried over bit for bit, and one that acts."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from allograft.contracts import Lab, Started
from allograft.core.errors import ConfigError
from allograft.procedures.pretrain import Pretrain
from allograft.testing.procedures import FakeLab


class MovingLab(FakeLab):
    """A lab whose first stage also changes the encoder, and that keeps what the second one starts from."""

    begun: Started | None = None

    def train(self, stage, started, **settings):
        if stage == "finetune":
            self.begun = Started(started.net, started.plan)
            self.first = {k: v.clone() for k, v in started.net.state_dict().items()}
        net = super().train(stage, started, **settings)
        if stage == "pretrain":
            with torch.no_grad():
                for parameter in net.encoder.parameters():
                    parameter.add_(0.25)
        return net


def run(dims: int = 2, **settings) -> MovingLab:
    lab = MovingLab(dims)
    Pretrain(on=("helper",), **settings).run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_two_stages_that_share_the_budget(dims: int) -> None:
    first, second = run(dims, share=0.25).asked
    assert (first.stage, first.share, second.stage, second.share) == ("pretrain", 0.25, "finetune", 0.75)
    assert (first.objective.name, second.objective.name) == ("multi_head", "supervised")
    assert dict(first.objective.streams()) == {"helper": first.objective.streams()["helper"]}
    assert first.tuning is not None
    assert first.tuning.name == "full"
    assert second.tuning is None


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_pre_trained_encoder_bit_for_bit(dims: int) -> None:
    lab = run(dims)
    trained = lab.done["pretrain"].encoder.state_dict()
    assert lab.begun is not None
    for key, value in trained.items():
        assert torch.equal(lab.first[f"encoder.{key}"], value), key
    copied = [e for e in lab.begun.plan.entries if e.target.startswith("encoder.")]
    assert copied
    assert {str(e.action) for e in copied} == {"copy"}


def test_the_mechanism_acts_the_second_stage_starts_elsewhere_than_without() -> None:
    plain = FakeLab().start().net.state_dict()
    lab = run()
    moved = [k for k, v in lab.first.items() if k.startswith("encoder.") and v.is_floating_point()]
    assert any(not torch.equal(lab.first[k], plain[k]) for k in moved)
    heads = [k for k in plain if k.startswith("heads.")]
    assert all(torch.equal(lab.first[k], plain[k]) for k in heads)


def test_data_sets_that_the_study_lacks_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="helper"):
        Pretrain(on=("elsewhere",)).run(cast("Lab", FakeLab()))
    with pytest.raises(ConfigError, match="nothing"):
        Pretrain().run(cast("Lab", FakeLab()))
    with pytest.raises(ValueError, match="twice"):
        Pretrain(on=("a", "a"))
