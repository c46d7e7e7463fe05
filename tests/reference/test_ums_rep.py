"""UMS-Rep: a representation first, then heads together; stages with a fake Lab, the encoder carried over."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from allograft.contracts import Lab, Started
from allograft.core.errors import ConfigError
from allograft.nets.network import Network
from allograft.objectives.multi_task import MultiTask
from allograft.procedures.ums_rep import UMSRep
from allograft.testing.procedures import FakeLab


class MovingLab(FakeLab):
    """A lab whose first stage also changes the encoder, and that keeps what the second one starts from."""

    begun: Started | None = None

    def train(self, stage: str, started: Started, **settings: Any) -> Network:
        if stage == "finetune":
            self.begun = Started(started.net, started.plan)
            self.first = {k: v.clone() for k, v in started.net.state_dict().items()}
        net = super().train(stage, started, **settings)
        if stage == "representation":
            with torch.no_grad():
                for parameter in net.encoder.parameters():
                    parameter.add_(0.25)
        return net


def run(dims: int = 2, objective: MultiTask | None = None, **settings: Any) -> tuple[MovingLab, Network]:
    lab = MovingLab(dims, objective=objective or MultiTask(on=("helper",)))
    return lab, UMSRep(**settings).run(cast("Lab", lab))


@pytest.mark.parametrize("dims", [2, 3])
def test_two_stages_share_the_budget_and_learn_the_same_tasks(dims: int) -> None:
    lab, _ = run(dims, share=0.25)
    first, second = lab.asked
    assert (first.stage, first.share, second.stage, second.share) == ("representation", 0.25, "finetune", 0.75)
    assert set(first.objective.streams()) == set(second.objective.streams()) == {"train", "helper"}
    assert first.tuning is not None
    assert first.tuning.name == "full"
    assert second.tuning is None
    assert lab.begun is not None
    assert set(lab.begun.net.tasks) == {"label", "helper"}


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_encoder_of_the_first_stage_bit_for_bit(dims: int) -> None:
    lab, net = run(dims)
    assert lab.begun is not None
    for key, value in lab.done["representation"].encoder.state_dict().items():
        assert torch.equal(lab.first[f"encoder.{key}"], value), key
    assert {str(e.action) for e in lab.begun.plan.entries if e.target.startswith("encoder.")} == {"copy"}
    assert net.encoder is lab.begun.net.encoder


def test_without_a_share_there_is_one_stage_and_the_mechanism_of_the_first_is_missing() -> None:
    lab, _ = run(share=0.0)
    assert [(one.stage, one.share) for one in lab.asked] == [("finetune", 1.0)]
    other, _ = run()
    assert any(not torch.equal(lab.first[k], other.first[k]) for k in lab.first if k.startswith("encoder."))


def test_the_network_that_is_judged_has_the_studied_head_alone() -> None:
    lab, net = run()
    assert set(net.heads) == set(net.tasks) == {"label"}
    assert net.decoder is None
    x = torch.randn(2, 3, 8, 8)
    net.eval()
    torch.testing.assert_close(net(x).logits["label"], lab.done["finetune"].eval()(x).logits["label"])


def test_what_the_study_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="multi_task"):
        UMSRep().run(cast("Lab", FakeLab()))
    with pytest.raises(ConfigError, match="helper"):
        run(objective=MultiTask(on=("elsewhere",)))
    with pytest.raises(ConfigError, match="lesion"):
        run(objective=MultiTask(also=("lesion",)))
    with pytest.raises(ConfigError, match="decoder"):
        run(objective=MultiTask(denoise=0.1))
