"""Synthetic subjects at sites: domains, pairs, labels from anatomy, repeated draws; on a synthetic phantom."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.origins import Unreachable
from allograft.datasets import synthetic_protocols
from allograft.datasets.dataset import with_settings
from allograft.datasets.synthetic_protocols import BOXES, LEVELS, SyntheticProtocols, SyntheticProtocolsSettings
from allograft.testing.datasets import check_dataset_facts

ALL = ("siteA", "siteB", "siteC", "siteD")


def synthetic_maps(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """T1, grey and white matter of a synthetic head: white matter in grey in fluid, with soft borders."""
    axes = np.meshgrid(*[np.linspace(-1.1, 1.1, n) for n in shape], indexing="ij")
    away = np.sqrt(sum(axis**2 for axis in axes))
    brain, inner = (1 / (1 + np.exp((away - edge) / 0.02)) for edge in (0.8, 0.55))
    fluid = (away < 0.88) * (1 - brain)
    return tuple(
        np.asarray(each, np.float32)
        for each in (0.25 * fluid + 0.6 * (brain - inner) + 0.9 * inner, brain - inner, inner)
    )


@pytest.fixture
def on_the_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phantom in place of the template, on grids of twice the distance."""
    coarse = {dims: box.model_copy(update={"spacing": 2 * box.spacing}) for dims, box in BOXES.items()}
    monkeypatch.setattr(synthetic_protocols, "BOXES", coarse)
    monkeypatch.setattr(synthetic_protocols, "WINDOWS", {2: (1, 16, 16), 3: (6, 12, 12)})
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    monkeypatch.setattr(synthetic_protocols, "fetch", lambda files, progress=None: {})
    monkeypatch.setattr(synthetic_protocols, "maps_of", lambda name, files, box: synthetic_maps(box.shape))


def prepared(**said: Any) -> Cohort:
    return SyntheticProtocols(SyntheticProtocolsSettings(**{"subjects": 2, **said})).prepare()


def arrays(cohort: Cohort, dims: int) -> dict[str, tuple[np.ndarray, np.ndarray | int]]:
    found = {}
    for case in cohort:
        target = next(iter(case.targets.values()))
        masked = isinstance(target, ImageRef)
        found[case.id] = (
            read_channels(case.image).array[0],
            read_mask(target, onto=case.image[0], dims=dims).array[0] if masked else target,
        )
    return found


@pytest.mark.usefixtures("on_the_phantom")
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("task", ["tissue", "level"])
def test_every_site_is_a_domain_with_synthetic_subjects_of_its_own(dims: int, task: str) -> None:
    cohort = prepared(dims=dims, task=task, sites=ALL)
    of_subject = 1 if (dims, task) == (3, "tissue") else len(LEVELS)
    assert Counter(case.domain for case in cohort) == dict.fromkeys(ALL, 2 * of_subject)
    owners: dict[str, set[str]] = {}
    for case in cohort:
        owners.setdefault(case.group, set()).add(case.domain)
    assert len(owners) == 8
    assert all(len(sites) == 1 for sites in owners.values())
    shape = {(2, "tissue"): (32, 32), (2, "level"): (16, 16), (3, "tissue"): (16, 20, 16), (3, "level"): (6, 12, 12)}
    assert {image.shape for image, _ in arrays(cohort, dims).values()} == {shape[dims, task]}
    if task == "level":
        assert Counter(case.targets["level"] for case in cohort) == {0: 8, 1: 8, 2: 8}


@pytest.mark.usefixtures("on_the_phantom")
@pytest.mark.parametrize("dims", [2, 3])
def test_paired_synthetic_subjects_have_the_same_labels_at_every_site_and_other_images(dims: int) -> None:
    cohort = prepared(dims=dims, sites=ALL, paired=True)
    assert len(cohort.groups) == 2
    found = arrays(cohort, dims)
    for case in cohort:
        twin = case.id.replace(case.domain, "siteA")
        assert np.array_equal(found[case.id][1], found[twin][1])
        assert np.array_equal(found[case.id][0], found[twin][0]) == (case.domain == "siteA")
        assert cohort[twin].group == case.group
        assert cohort[twin].attributes == case.attributes
    unpaired = arrays(prepared(dims=dims, sites=ALL), dims)
    assert not np.array_equal(unpaired["siteB-subject-0-00" + "-level1" * (dims == 2)][1], found[cohort.ids[1]][1])


@pytest.mark.usefixtures("on_the_phantom")
def test_a_synthetic_site_does_not_depend_on_who_else_is_asked_for_and_other_seeds_are_others() -> None:
    alone, among = arrays(prepared(sites=("siteB",)), 2), arrays(prepared(sites=ALL, subjects=3), 2)
    assert all(np.array_equal(alone[name][0], among[name][0]) for name in alone)
    other = arrays(prepared(sites=("siteB",), seed=1), 2)
    assert not {name.split("subject-")[1] for name in other} & {name.split("subject-")[1] for name in alone}
    assert not np.array_equal(next(iter(other.values()))[1], next(iter(alone.values()))[1])


@pytest.mark.usefixtures("on_the_phantom")
def test_the_means_of_synthetic_tissues_follow_each_sites_weighting() -> None:
    cohort = prepared(dims=3, sites=ALL, paired=True)
    found = arrays(cohort, 3)
    for case in cohort:
        image, labels = found[case.id]
        air, fluid, grey, white = (image[labels == label].mean() for label in range(4))
        assert air < 80
        assert (fluid > grey > white) if case.domain == "siteD" else (white > grey)
    gap = {}
    for site in ("siteA", "siteB"):
        image, labels = found[f"{site}-subject-0-00"]
        gap[site] = image[labels == 3].mean() / image[labels == 2].mean()
    assert gap["siteB"] < 1 + 0.7 * (gap["siteA"] - 1)


@pytest.mark.usefixtures("on_the_phantom")
def test_a_missing_or_relabelled_synthetic_case_and_a_changed_file_are_noticed() -> None:
    data = SyntheticProtocols(SyntheticProtocolsSettings(subjects=2, task="level"))
    cohort = data.prepare()
    data.validate(cohort)
    assert data.prepare() == cohort
    with pytest.raises(DataError, match="not those of the data set"):
        data.validate(cohort.subset(cohort.ids[1:]))
    with pytest.raises(DataError, match=f"first {cohort.ids[0]}"):
        data.validate(cohort.with_targets({cohort.ids[0]: {"level": 2}}))
    first, second = (case.image[0].path for case in cohort.cases[:2])
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match="SHA-256 expected"):
        data.validate(cohort)


@pytest.mark.usefixtures("on_the_phantom")
def test_shares_of_another_synthetic_head_are_refused() -> None:
    data = SyntheticProtocols(SyntheticProtocolsSettings(subjects=1, dims=3))
    with pytest.raises(DataError, match="fills"):
        data.validate(data.prepare())


@pytest.mark.parametrize(
    ("said", "says"),
    [({"sites": ["siteA", "siteA"]}, "named once each"), ({"sites": ["siteE"]}, "siteA"), ({"dims": 4}, "dims")],
)
def test_settings_of_protocols_that_cannot_be_made_are_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_settings(SyntheticProtocols, said, where="datasets")


@pytest.mark.parametrize(
    ("dims", "task", "shape"), [(2, "level", [32, 32]), (3, "level", [16, 24, 24]), (3, "tissue", [32, 40, 32])]
)
def test_the_card_of_protocols_says_the_shape(dims: Any, task: Any, shape: list[int]) -> None:
    assert SyntheticProtocols(SyntheticProtocolsSettings(dims=dims, task=task)).card()["image"]["shape"] == shape


@pytest.mark.parametrize("paired", [False, True])
def test_the_first_note_and_the_card_of_protocols_say_synthetic(paired: bool) -> None:
    data = SyntheticProtocols(SyntheticProtocolsSettings(paired=paired, sites=ALL))
    check_dataset_facts(data)
    assert data.notes[0].startswith("SYNTHETIC data")
    assert data.card()["synthetic"] is True
    assert data.card()["groups"] == (24 if paired else 96)
    assert "SYNTHETIC" in data.title
    assert data.unit == "synthetic subject"


MOMENTS = {
    "siteA": (415.325, 383.475),
    "siteB": (472.5, 418.426),
    "siteC": (442.368, 410.135),
    "siteD": (292.287, 252.487),
}


@pytest.mark.origin
def test_the_shift_on_the_real_template_is_the_one_that_was_fixed() -> None:
    settings = SyntheticProtocolsSettings(subjects=2, sites=ALL)
    try:
        cohort = SyntheticProtocols(settings).prepare()
    except Unreachable as error:
        pytest.skip(str(error))
    found = arrays(cohort, 2)
    for site, (mean, deviation) in MOMENTS.items():
        pixels = np.stack([found[case.id][0] for case in cohort if case.domain == site]).astype(float)
        assert pixels.mean() == pytest.approx(mean, rel=2e-3), site
        assert pixels.std() == pytest.approx(deviation, rel=2e-3), site
