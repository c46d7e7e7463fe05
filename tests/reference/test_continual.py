"""Continual pre-training: links in their order and shares, each begun from the one before, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from allograft import catalog
from allograft.contracts import Lab
from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.procedures.continual import Continual, Link
from allograft.procedures.finetune import Finetune
from allograft.procedures.pretrain import Pretrain
from allograft.testing.procedures import FakeLab, synthetic_cohort

NAMES = ("photographs", "tissue")


def helped(*names: str) -> Mapping[str, Cohort]:
    cohorts = dict(FakeLab().cohorts)
    for name in names:
        cohorts[name] = replace(synthetic_cohort(name, 6).under_head(name), name=name)
        cohorts[f"val:{name}"] = replace(synthetic_cohort(f"val:{name}", 4).under_head(name), name=name)
    return cohorts


class MovingLab(FakeLab):
    """A lab in which training also moves the encoder, and that keeps what every stage began with."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__(dims, cohorts=helped(*NAMES))
        self.begun: dict[str, dict[str, Tensor]] = {}
        self.ended: dict[str, dict[str, Tensor]] = {}
        self.plans: dict[str, Any] = {}
        self.heads: dict[str, tuple[str, ...]] = {}

    def train(self, stage, started, **settings):
        self.begun[stage] = {k: v.clone() for k, v in started.net.state_dict().items()}
        self.plans[stage], self.heads[stage] = started.plan, tuple(started.net.tasks)
        net = super().train(stage, started, **settings)
        with torch.no_grad():
            for parameter in net.encoder.parameters():
                parameter.mul_(1 + 0.1 * len(self.asked))
        self.ended[stage] = {k: v.clone() for k, v in net.state_dict().items()}
        return net


def chain(*shares: float, **settings: Any) -> Continual:
    return Continual(links=tuple(Link(on=(n,), share=s, **settings) for n, s in zip(NAMES, shares, strict=False)))


def run(procedure: Any, dims: int = 2) -> MovingLab:
    lab = MovingLab(dims)
    procedure.run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_links_follow_in_their_order_and_share_the_budget(dims: int) -> None:
    lab = run(chain(0.25, 0.5), dims)
    assert [(one.stage, one.share) for one in lab.asked] == [("link1", 0.25), ("link2", 0.5), ("finetune", 0.25)]
    assert sum(one.share for one in lab.asked) == 1
    assert [tuple(one.objective.streams()) for one in lab.asked] == [("photographs",), ("tissue",), ("train",)]
    assert [one.tuning and one.tuning.name for one in lab.asked] == ["full", "full", None]
    assert lab.heads == {"link1": ("photographs",), "link2": ("tissue",), "finetune": ("label",)}


@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_is_handed_on_bit_for_bit_link_by_link(dims: int) -> None:
    lab = run(chain(0.25, 0.5), dims)
    for before, after in (("link1", "link2"), ("link2", "finetune")):
        given = {k: v for k, v in lab.ended[before].items() if k.startswith("encoder.")}
        assert given
        assert all(torch.equal(lab.begun[after][key], value) for key, value in given.items())
        assert lab.plans[after].source == before
        assert {str(e.action) for e in lab.plans[after].entries if e.target.startswith("encoder.")} == {"copy"}
        assert {str(e.action) for e in lab.plans[after].entries if e.target.startswith("heads.")} == {"fresh"}


@pytest.mark.parametrize("dims", [2, 3])
def test_without_links_it_is_fine_tuning_to_the_byte(dims: int) -> None:
    none, plain = run(Continual(), dims), run(Finetune(), dims)
    assert none.asked == plain.asked
    assert none.plans["finetune"].content_id() == plain.plans["finetune"].content_id()
    one, two = (lab.ended["finetune"] for lab in (none, plain))
    assert all(one[key].numpy().tobytes() == value.numpy().tobytes() for key, value in two.items())


def test_one_link_equals_pretrain_but_for_the_name_of_its_stage() -> None:
    one, other = run(chain(0.3)), run(Pretrain(on=("photographs",), share=0.3))
    assert [a.share for a in one.asked] == [a.share for a in other.asked]
    assert one.asked[0].objective == other.asked[0].objective
    first, second = one.begun["finetune"], other.begun["finetune"]
    encoder = [key for key in first if key.startswith("encoder.")]
    assert all(torch.equal(first[key], second[key]) for key in encoder)


def test_the_mechanism_acts_each_link_more_starts_the_task_elsewhere() -> None:
    states = [run(chain(*shares)).begun["finetune"] for shares in ((), (0.3,), (0.3, 0.3))]
    keys = [k for k in states[0] if k.startswith("encoder.") and states[0][k].is_floating_point()]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert any(not torch.equal(states[i][k], states[j][k]) for k in keys)
    heads = [k for k in states[0] if k.startswith("heads.")]
    assert all(torch.equal(state[k], states[0][k]) for state in states for k in heads)


def test_a_link_has_an_objective_a_tuning_and_a_move_of_its_own() -> None:
    text = {"on": ["tissue"], "share": 0.5, "objective": "supervised", "tuning": "bn_only"}
    procedure = catalog.resolve(
        "procedure", {"continual": {"links": [{**text, "move": {"partial": {"until": "stem"}}}]}}
    )
    lab = run(procedure)
    first, plans = lab.asked[0], lab.plans["finetune"]
    assert (first.objective.name, first.tuning.name) == ("supervised", "bn_only")
    assert set(first.ids["train"]) == set(lab.cohorts["tissue"].ids)
    assert set(first.ids["val"]) == set(lab.cohorts["val:tissue"].ids)
    copied = {e.stage for e in plans.entries if str(e.action) == "copy"}
    assert copied == {"stem"}
    assert catalog.resolve("procedure", catalog.spell(procedure)) == procedure
    assert Continual.model_validate_json(procedure.model_dump_json()) == procedure


def test_wrong_names_and_shares_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"continual: on names \['elsewhere'\].*photographs, tissue"):
        run(Continual(links=(Link(on=("elsewhere",), share=0.5),)))
    with pytest.raises(ConfigError, match="reads one data set"):
        run(Continual(links=(Link(on=NAMES, share=0.5, objective="supervised"),)))
    with pytest.raises(ConfigError, match='move "scratch" takes nothing from link1'):
        run(chain(0.5, move="scratch"))
    with pytest.raises(ValueError, match="leaves no steps for the task"):
        chain(0.5, 0.5)
    with pytest.raises(ValueError, match="twice"):
        Link(on=("a", "a"), share=0.5)
    with pytest.raises(ValueError, match=r'no objective "supervisd".*supervised'):
        catalog.resolve("procedure", {"continual": {"links": [{"on": ["a"], "share": 0.5, "objective": "supervisd"}]}})
    with pytest.raises(ValueError, match=r"links\[0\]\.on"):
        catalog.resolve("procedure", {"continual": {"links": [{"on": [], "share": 0.5}]}})


def test_a_wrong_link_is_refused_before_any_link_is_trained() -> None:
    lab = MovingLab()
    with pytest.raises(ConfigError, match="elsewhere"):
        Continual(links=(Link(on=("tissue",), share=0.2), Link(on=("elsewhere",), share=0.2))).run(cast("Lab", lab))
    assert lab.asked == []
