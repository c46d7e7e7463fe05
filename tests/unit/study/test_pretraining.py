"""Settings of a pre-training, what is held out, and the folder's promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allograft.core.errors import ConfigError, DataError, ResumeError
from allograft.core.input_spec import InputSpec
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.image_cohort import NOTHING
from allograft.data.normalise import normaliser
from allograft.data.preprocess import Preprocess
from allograft.study.pretraining_folder import Place
from allograft.study.pretraining_images import hold_out
from allograft.study.pretraining_spec import Pretraining, pretext_names


def settings(**fields: Any) -> Pretraining:
    return Pretraining.from_data({"method": "rotation", "net": "resnet18", **fields}, where="here")


def cohort(groups: str, splits: str = "") -> Cohort:
    parts = {"t": "train", "v": "val"}
    both = zip(groups, splits or " " * len(groups), strict=True)
    cases = (Case(id=f"{i}", image=(), group=group, split=parts.get(part, "")) for i, (group, part) in enumerate(both))
    return Cohort("scans", NOTHING, tuple(cases))


def test_short_forms_are_those_of_study_files() -> None:
    assert settings(method={"simclr": {"temperature": 0.5}}).method.temperature == 0.5
    assert settings(net={"encoder": "resnet10_small", "width": 0.5}).with_dims(3).dims == 3
    assert settings(net={"encoder": "resnet10_small", "dims": 2}).with_dims(3).dims == 2
    assert settings().augment.preset == "views"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "simclrr"}, 'Did you mean "simclr"'),
        ({"method": "mean_teacher"}, "needs labels or other data"),
        ({"start": "mean_var"}, "needs a source"),
        ({"source": "x", "start": "scratch"}, "uses no weights"),
        ({"budget": {"patience": 3}}, "no validation chooses here"),
        ({"step": 3}, 'unknown field "step"'),
        ({"held_out": 0.9}, "held_out"),
    ],
)
def test_wrong_settings_are_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**fields)


def test_every_pretext_task_and_the_gan_can_be_named() -> None:
    names = pretext_names()
    assert {"rotation", "simclr", "gan", "patient_pairs"} <= set(names)
    assert "supervised" not in names
    assert all(settings(method=name).method.name == name for name in names)


def test_whole_groups_are_held_out_and_a_fixed_part_is_taken() -> None:
    learn, held = hold_out(cohort("aabbccddeeffgghh"), 0.1, seed=0)
    assert set(learn.groups) & set(held.groups) == set()
    assert len(held.groups) == 2
    assert len(hold_out(cohort("abc"), 0.1, seed=0)[1].groups) == 1
    assert hold_out(cohort("aabbccddeeffgghh"), 0.1, seed=0)[1].ids == held.ids
    assert any(hold_out(cohort("aabbccddeeffgghh"), 0.1, seed=seed)[1].ids != held.ids for seed in range(1, 5))
    learn, held = hold_out(cohort("abcd", "ttvt"), 0.1, seed=0)
    assert (learn.ids, held.ids) == (("0", "1", "3"), ("2",))
    with pytest.raises(DataError, match="all 2 images are of one patient"):
        hold_out(cohort("aa"), 0.1, seed=0)


def test_a_folder_is_claimed_once_training_began_and_says_what_differs(tmp_path: Path) -> None:
    place = Place(tmp_path / "out")
    claim = {"settings": {"budget": {"steps": 8}, "seed": 0}, "content": "c"}
    place.claim(claim)
    other = {**claim, "settings": {"budget": {"steps": 9}, "seed": 0}}
    place.claim(other)  # nothing was trained: a mistyped command is corrected
    place.begin()
    place.claim(other)
    with pytest.raises(ResumeError, match=r"budget\.steps: there 9, now 8") as told:
        place.claim(claim)
    assert "seed" not in str(told.value)
    with pytest.raises(ResumeError, match="content"):
        place.claim({**other, "content": "d"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ResumeError, match="no folder of a pre-training"):
        Place(tmp_path / "mine").claim(claim)
    assert Place(tmp_path / "_my source").name == "my-source"


def test_standardised_images_are_part_of_the_contract_and_old_contracts_read_as_before() -> None:
    plain, standard = InputSpec(channels=1), InputSpec(channels=1, standard=True)
    assert "standard" not in plain.model_dump(mode="json")
    assert InputSpec.model_validate(standard.model_dump(mode="json")) == standard
    assert standard.content_id() != plain.content_id()
    assert "as the weights expect" in normaliser(standard, "standard", 1).note
    with pytest.raises(DataError, match="intensity: standard"):
        normaliser(standard, "unit", 1, preprocess=Preprocess())
    normaliser(standard, "standard", 1, preprocess=Preprocess(intensity="percentile"))
