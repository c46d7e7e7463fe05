"""GAN pre-training: stages, cases and labels with a fake Lab, and that the encoder is what moves."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from allograft.contracts import Lab
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.objectives.gan import GAN
from allograft.procedures.gan_pretrain import GANPretrain
from allograft.testing.procedures import FakeLab
from moving_lab import MovingLab


def run(dims: int = 2, **settings) -> MovingLab:
    lab = MovingLab(dims)
    GANPretrain(**settings).run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_two_stages_that_share_the_budget_and_a_first_that_reads_no_label(dims: int) -> None:
    lab = run(dims, share=0.25)
    first, second = lab.asked
    assert (first.stage, first.share, second.stage, second.share) == ("gan", 0.25, "finetune", 0.75)
    assert isinstance(first.objective, GAN)
    assert not any(spec.labelled for spec in first.objective.streams().values())
    assert lab.tasks == [{"real": Task(kind="binary", classes=("made", "real"), head="real")}, None]
    assert second.objective.name == "supervised"
    assert second.tuning is None


def test_all_training_images_are_read_labelled_or_not_and_none_of_validation() -> None:
    lab = run()
    expected = (*lab.cohorts["train"].ids, *lab.cohorts["unlabelled"].ids)
    assert lab.asked[0].ids["images"] == expected
    fewer = MovingLab()
    fewer.cohorts = {name: fewer.cohorts[name] for name in ("train", "val")}
    GANPretrain().run(cast("Lab", fewer))
    assert fewer.asked[0].ids["images"] == fewer.cohorts["train"].ids
    assert isinstance(fewer.cohorts["train"], Cohort)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_discriminators_encoder_bit_for_bit(dims: int) -> None:
    lab = run(dims)
    trained = lab.done["gan"].encoder.state_dict()
    for key, value in trained.items():
        assert torch.equal(lab.first[f"encoder.{key}"], value), key
    assert lab.begun is not None
    copied = [e for e in lab.begun.plan.entries if e.target.startswith("encoder.")]
    assert copied
    assert {str(e.action) for e in copied} == {"copy"}


def test_the_mechanism_acts_the_second_stage_starts_elsewhere_than_without() -> None:
    plain, lab = FakeLab().start().net.state_dict(), run()
    moved = [k for k, v in lab.first.items() if k.startswith("encoder.") and v.is_floating_point()]
    assert any(not torch.equal(lab.first[k], plain[k]) for k in moved)
    heads = [k for k in plain if k.startswith("heads.")]
    assert all(torch.equal(lab.first[k], plain[k]) for k in heads)
