"""Casting: who is in which role of a run."""

from __future__ import annotations

from allograft.core.seeds import seed_for
from allograft.data.cohort import Cohort
from allograft.data.split import label_fraction
from allograft.data.unlabelled import without_label
from allograft.study.outcome import RunKey
from allograft.study.prepared import Prepared
from allograft.study.shift import Learn, Shift, shift_roles
from allograft.study.tested_images import tested_role

__all__ = ["cast_run", "stand_in_roles"]


def cast_run(prepared: Prepared, key: RunKey) -> dict[str, Cohort]:
    """Return the cohorts of a run by role; whoever is unlabelled in it comes without labels, test is not among them.

    Only a procedure that asks for the images of test cases is given those, without labels, in a role of their own.
    """
    cohort, fold = prepared.cohorts[key.dataset], prepared.folds[key.dataset][key.fold]
    seed = seed_for("fraction", key.dataset, key.fold, key.seed)
    if (shift := prepared.shift(key.dataset)) is not None:
        cohorts = shift_roles(cohort, fold, shift, prepared.study.recipe(key.recipe).learn or "source", seed)
    else:
        count = prepared.budgets(key.dataset)[key.label_fraction]
        labelled = label_fraction(fold.train, cohort, key.label_fraction, seed, count=count)
        cohorts = {"train": cohort.subset(labelled), "val": cohort.subset(fold.val)}
        unlabelled = cohort.subset(without_label(fold, labelled))
        if len(unlabelled):  # procedures get their labels from the lab, by asking for them
            cohorts["unlabelled"] = unlabelled.without_labels()
    for helper in prepared.study.auxiliary:
        whole, own = prepared.cohorts[helper.name], prepared.folds[helper.name][0]
        cohorts |= {helper.name: whole.subset(own.train), f"val:{helper.name}": whole.subset(own.val)}
    return cohorts | tested_role(prepared.study.recipe(key.recipe).procedure, cohort.subset(fold.test))


def stand_in_roles(cohort: Cohort, shift: Shift, learn: Learn) -> dict[str, Cohort]:
    """Return cohorts in the roles of a run under a shift, where only shapes count; "train" and "target" differ."""
    target = cohort.where(lambda case: shift.is_target(case.domain))
    source = cohort.where(lambda case: not shift.is_target(case.domain))
    bare = target.without_labels()
    train = {"target": target, "few": target}.get(learn, source)
    roles = {"train": train, "val": target if learn == "target" else source, "target": bare}
    return roles if learn == "target" else {**roles, "unlabelled": bare}
