"""Active learning: rounds, labels and steps counted with a fake lab; the acquisition decides; parts of old labels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from allograft.contracts import Lab
from allograft.core.errors import ConfigError
from allograft.procedures.active_learning import ActiveLearning
from allograft.testing.procedures import FakeLab


def ran(lab: FakeLab | None = None, **settings: Any) -> FakeLab:
    lab = lab or FakeLab()
    ActiveLearning(**{"rounds": 2, "per_round": 4, **settings}).run(cast("Lab", lab))
    return lab


def trained(lab: FakeLab) -> list[set[str]]:
    return [set(asked.ids["train"]) for asked in lab.asked]


@pytest.mark.parametrize("acquisition", ["random", "entropy", "margin", "k_centre", "medal", "o_medal"])
def test_rounds_labels_and_steps_are_as_asked_and_no_case_comes_twice(acquisition: str) -> None:
    lab = ran(acquisition=acquisition)
    assert [asked.stage for asked in lab.asked] == ["round-0", "round-1", "round-2"]
    assert np.isclose(sum(asked.share for asked in lab.asked), 1)
    assert lab.milestones == [("round-0", 12), ("round-1", 16), ("round-2", 20)]
    rounds = trained(lab)
    assert rounds[0] == set(lab.cohorts["train"].ids)
    assert [len(each) for each in rounds] == [12, 16, 20]
    assert rounds[0] < rounds[1] < rounds[2], "the last round trains on all labels"
    for asked in lab.asked:
        assert not set(asked.ids["train"]) & set(asked.ids.get("unlabelled", ()))
        assert len(asked.ids["train"]) == len(set(asked.ids["train"]))


def test_the_pool_runs_out_and_the_steps_are_shared_by_what_is_left() -> None:
    lab = ran(rounds=9, per_round=5)
    assert [labels for _, labels in lab.milestones] == [12, 17, 22, 24]
    assert np.isclose(sum(asked.share for asked in lab.asked), 1)


def test_the_acquisition_decides_who_is_asked() -> None:
    found = {name: frozenset(trained(ran(acquisition=name))[-1]) for name in ("random", "entropy", "k_centre")}
    assert len(set(found.values())) == 3
    lab = FakeLab()
    rest = lab.cohorts["unlabelled"]
    from allograft.procedures.acquisition.measures import entropy

    doubt = lab.doubt(cast("Any", None), rest, entropy, seed=lab.seed("doubt", "1"))
    most = {rest.ids[i] for i in np.argsort(-doubt)[:4]}
    assert trained(ran(acquisition="entropy", rounds=1))[1] - trained(ran())[0] == most


def test_arms_of_one_seed_begin_with_the_same_labels() -> None:
    for start in ("random", "orb"):
        first = {frozenset(trained(ran(start=start, acquisition=name))[0]) for name in ("random", "medal")}
        assert len(first) == 1


def test_orb_takes_as_many_far_from_each_other_out_of_all_training_cases() -> None:
    lab = ran(start="orb")
    first = trained(lab)[0]
    assert len(first) == 12
    assert first != set(lab.cohorts["train"].ids)
    assert first <= set(lab.cohorts["train"].ids) | set(lab.cohorts["unlabelled"].ids)
    assert lab.milestones[0] == ("round-0", 12)


def test_online_trains_on_all_new_labels_and_a_drawn_part_of_the_old() -> None:
    whole, part = trained(ran()), trained(ran(online=0.5))
    assert part[0] == whole[0]
    new = whole[1] - whole[0]
    assert new <= part[1] if part[1] >= new else True
    assert [len(each) for each in part] == [12, 6 + 4, 8 + 4]
    assert [labels for _, labels in ran(online=0.5).milestones] == [12, 16, 20]
    with pytest.raises(Exception, match="continue_weights"):
        ActiveLearning(online=0.5, continue_weights=False)


def test_weights_go_on_from_the_last_round_or_begin_anew() -> None:
    class Keeps(FakeLab):
        def train(self, stage: str, started: Any, **more: Any) -> Any:
            self.begun = {
                **getattr(self, "begun", {}),
                stage: {k: v.clone() for k, v in started.net.state_dict().items()},
            }
            return super().train(stage, started, **more)

    on, anew = ran(Keeps()), ran(Keeps(), continue_weights=False)
    for key, value in on.done["round-0"].state_dict().items():
        assert torch.equal(on.begun["round-1"][key], value), key
    first, second = anew.begun["round-0"], anew.begun["round-1"]
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_reports_count_classes_and_doubt_of_what_was_asked_for() -> None:
    facts = [facts for _, facts in ran(acquisition="entropy").reports]
    assert [each["labels"] for each in facts] == [16, 20]
    assert all(sum(cast("list[float]", each["acquired"])) == each["asked"] == 4 for each in facts)
    assert all(each["entropy_bits"] > each["entropy_bits_of_all"] for each in facts)


def test_without_unlabelled_cases_it_says_what_to_do() -> None:
    lab = FakeLab()
    lab.cohorts = {role: cohort for role, cohort in lab.cohorts.items() if role != "unlabelled"}
    with pytest.raises(ConfigError, match="label_counts"):
        ran(lab)


def test_bald_on_a_network_without_dropout_is_refused_before_any_training() -> None:
    lab = FakeLab()
    with pytest.raises(ConfigError, match=r"net\.dropout"):
        ran(lab, acquisition="bald")
    assert lab.asked == []


def test_a_person_is_asked_for_classes_and_masks_only() -> None:
    lab = FakeLab()
    lab.task = lab.task.model_copy(update={"kind": "regression"})
    with pytest.raises(ConfigError, match="oracle: person gives classes or masks"):
        ran(lab, oracle="person")
    assert lab.asked == []
