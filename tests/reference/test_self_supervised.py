"""Self-supervised pre-training: stages, cases and labels with a fake Lab, and that the encoder is what moves."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from allograft import catalog
from allograft.contracts import Lab
from allograft.core.errors import ConfigError
from allograft.objectives.pretext import TESTED
from allograft.objectives.rotation import Rotation
from allograft.objectives.simclr import SimCLR
from allograft.objectives.supervised import Supervised
from allograft.procedures.self_supervised import SelfSupervised
from allograft.testing.fake_lab import FakeLab, synthetic_cohort
from moving_lab import MovingLab


def run(dims: int = 2, **settings) -> MovingLab:
    lab = MovingLab(dims)
    SelfSupervised(**settings).run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_two_stages_share_the_budget_and_the_first_reads_no_label(dims: int) -> None:
    lab = run(dims, share=0.25)
    first, second = lab.asked
    assert (first.stage, first.share, second.stage, second.share) == ("pretext", 0.25, "finetune", 0.75)
    assert isinstance(first.objective, Rotation)
    assert lab.labels == {"images": 0, "val:images": 0}
    assert lab.tasks == [dict(Rotation().tasks(dims)), None]
    assert first.augment is not None
    assert first.augment.preset == "views"
    assert (second.objective.name, second.tuning, second.augment) == ("supervised", None, None)
    assert run(dims, pretext=SimCLR()).tasks[0] == {}


def test_all_training_images_are_read_once_and_none_of_validation() -> None:
    lab = run()
    expected = {*lab.cohorts["train"].ids, *lab.cohorts["unlabelled"].ids, *lab.cohorts["target"].ids}
    assert len(lab.asked[0].ids["images"]) == len(expected)
    assert set(lab.asked[0].ids["images"]) == expected
    assert lab.asked[0].ids["val:images"] == lab.cohorts["val"].ids


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_pretext_encoder_bit_for_bit(dims: int) -> None:
    lab = run(dims)
    for key, value in lab.done["pretext"].encoder.state_dict().items():
        assert torch.equal(lab.first[f"encoder.{key}"], value), key
    assert lab.begun is not None
    copied = [e for e in lab.begun.plan.entries if e.target.startswith("encoder.")]
    assert copied
    assert {str(e.action) for e in copied} == {"copy"}


def test_the_mechanism_acts_the_second_stage_starts_elsewhere_than_without() -> None:
    plain, lab = FakeLab().start().net.state_dict(), run()
    moved = [k for k, v in lab.first.items() if k.startswith("encoder.") and v.is_floating_point()]
    assert any(not torch.equal(lab.first[k], plain[k]) for k in moved)


def test_an_objective_that_reads_labels_is_refused() -> None:
    assert "self_supervised" in catalog.PROCEDURES
    with pytest.raises(ValueError, match="needs none"):
        SelfSupervised(pretext=Supervised())


def test_images_of_test_cases_are_read_only_where_asked_for() -> None:
    lab = MovingLab(2)
    lab.cohorts = {**lab.cohorts, TESTED: synthetic_cohort("tested", 5)}
    SelfSupervised(images="all").run(cast("Lab", lab))
    assert set(lab.cohorts[TESTED].ids) < set(lab.asked[0].ids["images"])
    assert lab.labels["images"] == 0
    assert SelfSupervised(images="all").looks_at_tested
    assert not SelfSupervised().looks_at_tested


def test_images_of_another_data_set_come_in_place_of_the_own() -> None:
    lab = run(on="helper")
    assert lab.asked[0].ids["images"] == lab.cohorts["helper"].ids
    assert lab.asked[0].ids["val:images"] == lab.cohorts["val:helper"].ids
    with pytest.raises(ConfigError, match="nowhere"):
        run(on="nowhere")
    with pytest.raises(ValueError, match="drop one"):
        SelfSupervised(on="helper", images="all")
