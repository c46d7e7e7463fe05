"""Billion-scale recipe: stages, cases and shares with a lab whose teacher is an oracle, or says always the same."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from allograft.contracts import Lab
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.procedures.billion_scale import BillionScale
from allograft.testing.procedures import synthetic_cohort
from labelling_lab import LabellingLab, constant, oracle, truth


def run(lab: LabellingLab | None = None, **settings: Any) -> LabellingLab:
    lab = lab or LabellingLab()
    BillionScale(**settings).run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_three_stages_share_the_budget_and_true_labels_come_last(dims: int) -> None:
    lab = run(LabellingLab(dims), teacher=0.5, finetune=0.2)
    assert [(a.stage, pytest.approx(a.share)) for a in lab.asked] == [
        ("teacher", 0.5),
        ("student", 0.3),
        ("finetune", 0.2),
    ]
    labelled, pool = lab.cohorts["train"].ids, set(lab.cohorts["unlabelled"].ids)
    assert lab.asked[0].ids["train"] == lab.asked[2].ids["train"] == labelled
    assert set(lab.asked[1].ids["train"]) <= pool
    assert not set(lab.asked[1].ids["train"]) & set(labelled)


def test_equals_the_choice_worked_by_hand() -> None:
    """Case i is class i % 2 with a sureness that falls with i; twelve cases, K = 12 / (2 * 2) = 3 by default."""

    def falling(case: Case) -> tuple[float, ...]:
        sure = 0.99 - int(case.id.split("-")[1]) / 50
        return (sure, 1 - sure) if truth(case) == 0 else (1 - sure, sure)

    taught = run(LabellingLab(says=falling)).given["student"]["train"]
    assert taught.ids == tuple(f"unlabelled-{i}" for i in range(6))
    assert [case.targets["label"] for case in taught] == [0, 1, 0, 1, 0, 1]
    assert taught.weights is not None
    assert set(taught.weights.values()) == {1.0}
    both = run(LabellingLab(says=falling), per_image=2, top=12).given["student"]["train"]
    assert all(case.targets["label"] == (0.5, 0.5) for case in both)
    assert both.weights is not None
    assert set(both.weights.values()) == {2.0}


def test_a_true_teacher_of_an_even_pool_gives_the_true_labels() -> None:
    lab = run(LabellingLab(says=oracle), top=6)
    taught = lab.given["student"]["train"]
    assert taught.ids == lab.cohorts["unlabelled"].ids
    assert all(case.targets["label"] == truth(case) for case in taught)
    (_, facts) = lab.reports[0]
    assert (facts["agreement"], facts["kept_share"], facts["classes"], facts["note"]) == (1.0, 1.0, [0.5, 0.5], "")


def test_a_constant_teacher_is_told() -> None:
    (_, facts) = run(LabellingLab(says=constant)).reports[0]
    assert str(facts["note"]).startswith("Collapsed (pseudo-labels of round 1): 100% of the pseudo-labels are yes")
    assert facts["classes"] == [0.0, 1.0]
    assert facts["agreement"] == pytest.approx(1 / 3)  # the first three, of which one is a yes


def test_the_mechanism_acts_students_begin_anew_and_go_on_bit_for_bit() -> None:
    lab = LabellingLab()
    first: dict[str, dict[str, torch.Tensor]] = {}
    train = lab.train

    def watched(stage: str, started: Any, **settings: Any) -> Any:
        first[stage] = {k: v.clone() for k, v in started.net.state_dict().items()}
        net = train(stage, started, **settings)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.125)
        return net

    lab.train = watched  # type: ignore[method-assign]
    BillionScale().run(cast("Lab", lab))
    fresh = lab.start().net.state_dict()
    assert all(torch.equal(first["student"][k], v) for k, v in fresh.items())
    after = lab.done["student"].state_dict()
    assert all(torch.equal(first["finetune"][k], v) for k, v in after.items())
    assert any(not torch.equal(after[k], fresh[k]) for k in fresh)


def test_what_cannot_be_ranked_is_refused() -> None:
    without = LabellingLab()
    without.cohorts = {name: without.cohorts[name] for name in ("train", "val")}
    with pytest.raises(ConfigError, match="every training case is labelled"):
        run(without)
    several = LabellingLab()
    several.task = Task(kind="multilabel", classes=("no", "yes"))
    with pytest.raises(ConfigError, match="this task is multilabel"):
        run(several)
    with pytest.raises(ConfigError, match="per_image is 3"):
        run(per_image=3)
    with pytest.raises(ValueError, match="leaves none for pseudo-labels"):
        BillionScale(teacher=0.5, finetune=0.5)
    assert synthetic_cohort("unlabelled", 2, labelled=False).labelled().ids == ()
