from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from allograft import catalog
from allograft.core.errors import ConfigError, DataError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.origins import reachable
from allograft.data.preprocess import Preprocess
from allograft.datasets.brain_regions import BrainRegions, MacaqueRegions
from allograft.datasets.brain_tissue import BrainTissue
from allograft.datasets.ct_organs import CTOrgans, CTOrgansSettings
from allograft.datasets.dataset import Dataset, class_counts, with_settings
from allograft.datasets.lung_tumour import LungTumour, LungTumourSettings
from allograft.datasets.nuclei_2d import Nuclei2D, Nuclei2DSettings
from allograft.datasets.nuclei_3d import Nuclei3D
from allograft.datasets.organ_blocks import OrganBlocks, OrganBlocksSettings
from allograft.datasets.prepared import Item, card_of, check_cohort, check_shares, cohort_of, made_once, save_pair
from allograft.datasets.skin_histology import SkinHistology
from allograft.datasets.synthetic_brains import SyntheticBrains, SyntheticBrainsSettings
from allograft.datasets.synthetic_protocols import SyntheticProtocols, SyntheticProtocolsSettings
from allograft.testing.datasets import check_dataset, check_dataset_facts

FOLDS: list[tuple[Dataset, int]] = [
    (SkinHistology(), 3),
    (BrainTissue(), 3),
    (BrainRegions(), 0),
    (MacaqueRegions(), 0),
    (CTOrgans(CTOrgansSettings(allow_build=True)), 0),
    (LungTumour(LungTumourSettings(accept_licence=True)), 0),
    (Nuclei2D(), 3),
    (Nuclei3D(), 0),
    (OrganBlocks(OrganBlocksSettings(allow_build=True)), 3),
    (SyntheticBrains(SyntheticBrainsSettings(subjects=12, spacing=3)), 3),
    (SyntheticProtocols(), 3),
]
VARIANTS: list[Dataset] = [
    OrganBlocks(OrganBlocksSettings(allow_build=True, dims=3)),
    OrganBlocks(OrganBlocksSettings(allow_build=True, task="patch")),
    Nuclei2D(Nuclei2DSettings(sources=("stardist", "scratch", "cells3d"), sixths=True)),
    SyntheticProtocols(SyntheticProtocolsSettings(task="level", subjects=9)),
    SyntheticProtocols(SyntheticProtocolsSettings(dims=3, subjects=9)),
    SyntheticProtocols(SyntheticProtocolsSettings(dims=3, task="level", subjects=9, paired=True)),
]


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


def test_the_list_here_is_the_catalogs() -> None:
    assert {each.name: type(each) for each, _ in FOLDS} == catalog.DATASETS


@pytest.mark.parametrize("dataset", [each for each, _ in FOLDS], ids=lambda each: each.name)
def test_what_is_said_of_each_data_set(dataset: Dataset) -> None:
    check_dataset_facts(dataset)


@pytest.mark.origin
@pytest.mark.parametrize(("dataset", "n_folds"), FOLDS, ids=lambda each: getattr(each, "name", ""))
def test_each_data_set_keeps_the_contract(dataset: Dataset, n_folds: int) -> None:
    _skip_what_cannot_be_reached(dataset)
    check_dataset(dataset, n_folds=n_folds)


@pytest.mark.origin
@pytest.mark.parametrize("dataset", VARIANTS, ids=lambda each: f"{each.name}-{each.settings.model_dump_json()}")
def test_settings_of_data_sets_with_domains_keep_the_contract(dataset: Dataset) -> None:
    _skip_what_cannot_be_reached(dataset)
    check_dataset(dataset)
    cohort = dataset.prepare()
    for domain in {case.domain for case in cohort}:
        assert len(cohort.where(lambda case, domain=domain: case.domain == domain).groups) >= 3


def _skip_what_cannot_be_reached(dataset: Dataset) -> None:
    for name, origin in dataset.card()["origin"].items():
        # pip asks that package for its metadata, as the test's owner allows.
        build = dataset.name in {"ct_organs", "organ_blocks"}
        if not reachable(origin["origin"], sha256=origin["sha256"], allow_build=build):
            pytest.skip(f"{dataset.name}: {name} ({origin['origin']}) cannot be reached from this machine")


class ToyVolumes:
    """A synthetic data set of four volumes with cubes, with one fault where a test asks for it."""

    name: ClassVar[str] = "toy_volumes"
    title: ClassVar[str] = "synthetic cubes"
    licence: ClassVar[str] = "CC0"
    reference: ClassVar[Reference] = Reference(title="made in a test")
    unit: ClassVar[str] = "scan"
    task: ClassVar[Task] = Task(kind="segmentation", classes=("background", "cube"), head="cubes")
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="standard")
    notes = ("synthetic",)
    seen_as = ()

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def prepare(self, progress: object = None) -> Cohort:
        return cohort_of(self, self._folder(), self.notes, self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        if self.fault != "blind":
            check_cohort(self, cohort, self._folder())
            check_shares(self, self._folder(), {"toy": (63 / 64, 1 / 64)}, tolerance=1e-6)

    def card(self) -> dict[str, Any]:
        return card_of(self, {}, {"cases": 4, "groups": 4, "notes": ["synthetic"], "seen_as": []})

    def _folder(self) -> Path:
        return made_once(self.name, {"fault": self.fault}, self._make)

    def _make(self, folder: Path) -> list[Item]:
        items = []
        for i in range(4):
            image = np.random.RandomState(i).rand(8, 8, 8 + 8 * (i % 2)).astype(np.float32)
            labels = np.zeros(image.shape, np.uint8)
            side = 0 if self.fault == "empty" and i == 0 else 2
            labels[:side, :side, : side * (1 + i % 2)] = 7 if self.fault == "class" else 1
            items.append(save_pair(folder, {"id": f"v{i}", "group": f"g{i}", "domain": "toy"}, image, labels, 2))
        return items


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    return tmp_path


def test_a_sound_synthetic_set_of_ragged_volumes_keeps_the_contract(empty_home: Path) -> None:
    assert isinstance(ToyVolumes(), Dataset)
    check_dataset(ToyVolumes(), n_folds=0)


@pytest.mark.parametrize(
    ("fault", "says"),
    [("blind", "does not notice a missing case"), ("empty", "the mask is all background|fills"), ("class", "class 7")],
)
def test_the_suite_says_no_to_faulty_synthetic_volumes(fault: str, says: str, empty_home: Path) -> None:
    with pytest.raises((AssertionError, DataError), match=says):
        check_dataset(ToyVolumes(fault), n_folds=0)


def test_a_changed_file_or_index_of_synthetic_volumes_is_named(empty_home: Path) -> None:
    data = ToyVolumes()
    cohort = data.prepare()
    path = cohort.cases[1].image[0].path
    np.save(path, np.zeros((8, 8, 8), np.float32))
    with pytest.raises(DataError, match="SHA-256 expected"):
        data.validate(cohort)
    (path.parent / "index.json").write_text("{}")
    with pytest.raises(DataError, match="Remove the folder"):
        data.prepare()


def test_settings_are_checked_by_name_and_refused_where_there_are_none() -> None:
    chosen = with_settings(BrainTissue, {"templates": ["mni152"], "blocks": [1, 1, 2]}, where="datasets")
    assert chosen.card()["cases"] == 2
    assert "deepmriprep" not in str(chosen.card()["origin"])
    with pytest.raises(ConfigError, match=r'unknown field "template"\. Did you mean "templates"'):
        with_settings(BrainTissue, {"template": ["mni152"]}, where="datasets")
    with pytest.raises(ConfigError, match="skin_histology has no settings"):
        with_settings(SkinHistology, {"template": ["mni152"]}, where="datasets")


def test_data_under_a_non_commercial_licence_want_a_yes() -> None:
    assert LungTumour().card()["commercial"] is False
    with pytest.raises(ConfigError, match="accept_licence: true"):
        LungTumour().prepare()
