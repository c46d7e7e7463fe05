"""Every procedure obeys the contract of procedures, on synthetic cases and without training."""

from __future__ import annotations

from typing import ClassVar

import pytest

from allograft.catalog import PROCEDURES
from allograft.contracts import HOUSE, Lab, Method, Procedure
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.nets.network import Network
from allograft.objectives.multi_task import MultiTask
from allograft.testing.procedures import check_procedure, synthetic_cohort

SETTINGS = {"pretrain": {"on": ("helper",)}, "continual": {"links": ({"on": ("helper",), "share": 0.5},)}}
"""What a procedure must be told before it can do anything."""

OBJECTIVE = {"ums_rep": MultiTask()}
"""The recipe's objective, where the plain one would not do."""


TASK = {"voxel_classifier": Task(kind="segmentation", classes=("no", "yes"))}
"""What is predicted, where two classes of cases would not do."""


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_of_the_catalog(name: str, dims: int) -> None:
    assert PROCEDURES[name].name == name
    procedure = PROCEDURES[name](**SETTINGS.get(name, {}))
    check_procedure(procedure, dims=dims, objective=OBJECTIVE.get(name), task=TASK.get(name))


class Faulty(Method):
    """A sound procedure of two stages, for others to break."""

    name: ClassVar[str] = "faulty"
    paper: ClassVar[Reference] = HOUSE
    count: ClassVar[list[int]] = [0]

    def run(self, lab: Lab) -> Network:
        lab.train("one", lab.start(), share=0.5)
        return lab.train("two", lab.start(), share=0.5)


class Twice(Faulty):
    def run(self, lab: Lab) -> Network:
        lab.train("one", lab.start())
        return lab.train("one", lab.start())


class Idle(Faulty):
    def run(self, lab: Lab) -> Network:
        return lab.start().net


class Peeks(Faulty):
    def run(self, lab: Lab) -> Network:
        return lab.train("one", lab.start(), cohorts={"train": lab.cohorts["val"]})


class Invents(Faulty):
    def run(self, lab: Lab) -> Network:
        return lab.train("one", lab.start(), cohorts={"train": synthetic_cohort("test", 4)})


class Chance(Faulty):
    def run(self, lab: Lab) -> Network:
        self.count[0] += 1
        return lab.train(f"stage-{self.count[0]}", lab.start())


class Forgets(Faulty):
    def run(self, lab: Lab) -> Network:
        """Go on with a network of its own instead of the one that the stage gave back."""
        started = lab.start()
        lab.train("one", started)
        return started.net


class Foretells(Faulty):
    def run(self, lab: Lab) -> Network:
        net = lab.train("one", lab.start())
        lab.predict("guess", net, synthetic_cohort("test", 4))
        return net


def test_the_suite_says_yes_to_a_sound_procedure_of_two_stages() -> None:
    check_procedure(Faulty())


@pytest.mark.parametrize(
    ("procedure", "says"),
    [
        (Twice(), "stage names are not unique"),
        (Idle(), "trains nothing"),
        (Peeks(), "trains on validation cases"),
        (Invents(), "cases that the lab did not give"),
        (Foretells(), "predicted cases that the lab did not give"),
        (Chance(), "asked for other stages when run again"),
        (Forgets(), "another network when resumed after one"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else "",
)
def test_the_suite_can_say_no(procedure: Procedure, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_procedure(procedure)
