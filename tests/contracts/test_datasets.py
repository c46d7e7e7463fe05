from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.origins import reachable
from allograft.data.preprocess import Preprocess
from allograft.datasets.dataset import Dataset, class_counts
from allograft.datasets.skin_histology import SkinHistology
from allograft.testing.datasets import check_dataset, check_dataset_facts

DATASETS: list[type[Dataset]] = [SkinHistology]


class Toy:
    """A synthetic data set of 12 cases in 6 groups, with one fault where a test asks for it."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "synthetic squares"
    licence: ClassVar[str] = "CC0"
    reference: ClassVar[Reference] = Reference(title="made in a test")
    unit: ClassVar[str] = "scan"
    task: ClassVar[Task] = Task(kind="multiclass", classes=("dark", "bright"))
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="standard")

    def __init__(self, folder: Path, fault: str = "") -> None:
        self.path, self.fault, self.calls = folder / "toy.npy", fault, 0
        np.save(self.path, np.random.RandomState(0).randint(0, 255, (48, 8, 8)).astype(np.uint8))

    def prepare(self, progress: object = None) -> Cohort:
        self.calls += 1
        notes = () if self.fault == "notes" else ("synthetic",)
        cases = tuple(
            Case(
                id=f"case{i + (self.calls if self.fault == 'drift' else 0)}",
                image=(ImageRef(self.path, row=i),),
                targets={"label": i % 2},
                group=f"scan{i // 8}",
            )
            for i in range(48)
        )
        return Cohort(self.name, self.task, cases, unit=self.unit, notes=notes)

    def validate(self, cohort: Cohort) -> None:
        if self.fault == "blind":
            return
        if class_counts(cohort) != {(f"scan{g}", name): 4 for g in range(6) for name in ("dark", "bright")}:
            msg = "toy: counts differ."
            raise DataError(msg)

    def card(self) -> dict[str, Any]:
        facts = {field: getattr(self, field) for field in ("name", "title", "licence", "unit")}
        facts |= {"origin": "made here", "reference": self.reference.model_dump(mode="json")}
        facts |= {"task": self.task.model_dump(mode="json"), "cases": 48, "groups": 6}
        if self.fault == "licence":
            del facts["licence"]
        if self.fault == "count":
            facts["cases"] = 47
        return facts | {"notes": ["synthetic"], "seen_as": []}


def test_a_sound_synthetic_data_set_keeps_the_contract(tmp_path: Path) -> None:
    assert isinstance(Toy(tmp_path), Dataset)
    check_dataset(Toy(tmp_path))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("licence", "the card lacks"),
        ("count", "48 cases, the card says 47"),
        ("notes", "the report would lose them"),
        ("drift", "another cohort on the second call"),
        ("blind", "does not notice a missing case"),
    ],
)
def test_the_suite_says_no_to_a_faulty_synthetic_data_set(fault: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=says):
        check_dataset(Toy(tmp_path, fault))


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda each: each.name)
def test_what_is_said_of_each_data_set(dataset: type[Dataset]) -> None:
    check_dataset_facts(dataset())


@pytest.mark.origin
@pytest.mark.parametrize("dataset", DATASETS, ids=lambda each: each.name)
def test_each_data_set_keeps_the_contract(dataset: type[Dataset]) -> None:
    for name, origin in dataset().card()["origin"].items():
        if not reachable(origin["origin"], sha256=origin["sha256"]):
            pytest.skip(f"{dataset.name}: {name} ({origin['origin']}) cannot be reached from this machine")
    check_dataset(dataset())
