"""Synthetic subjects: labels follow images, subjects differ, draws repeat; on a phantom, and once on the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.origins import Unreachable
from allograft.datasets import synthetic_brains
from allograft.datasets.dataset import with_settings
from allograft.datasets.synthetic_brains import SyntheticBrains, SyntheticBrainsSettings, subject
from allograft.datasets.synthetic_scans import MEANS, Anatomy, deform, smooth_noise
from allograft.testing.datasets import check_dataset_facts

ALL = ("t1", "t1c", "t2", "flair")


def phantom(shape: tuple[int, ...] = (39, 47, 37)) -> Anatomy:
    """A synthetic head: white matter in grey in fluid, with soft borders, on a grid of 4 mm."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    away = np.sqrt(sum(axis**2 for axis in axes))
    brain, inner = (1 / (1 + np.exp((away - edge) / 0.02)) for edge in (0.8, 0.55))
    fluid = ((away < 0.88) * (1 - brain)).astype(np.float32)
    grey, white = (brain - inner).astype(np.float32), inner.astype(np.float32)
    mean = MEANS["t1"]
    return Anatomy((mean[0] * fluid + mean[1] * grey + mean[2] * white).astype(np.float32), grey, white)


HEAD = phantom()


def made(number: int = 0, **said: Any) -> synthetic_brains.Subject:
    return subject(HEAD, SyntheticBrainsSettings(spacing=4, **said), number)


def dice(a: np.ndarray, b: np.ndarray, label: int) -> float:
    return float(2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum()))


def test_the_shares_of_tissue_are_the_synthetic_templates_in_every_subject() -> None:
    expected = np.bincount(HEAD.labels().ravel(), minlength=3) / HEAD.t1.size
    for number in range(4):
        got = np.bincount(made(number).labels.ravel(), minlength=3) / HEAD.t1.size
        assert np.abs(got / expected - 1).max() < 0.2  # a small ball: displacements of its size


def test_synthetic_subjects_are_neither_the_template_nor_each_other() -> None:
    labels = [HEAD.labels(), *(made(number).labels for number in range(3))]
    for i, one in enumerate(labels):
        for other in labels[:i]:
            assert 0.3 < dice(one, other, 1) < 0.95
    assert dice(made(0).labels, made(0, seed=1).labels, 1) < 0.95


def test_the_deformation_of_a_synthetic_head_has_the_amplitude_asked_for_and_does_not_fold() -> None:
    ramps = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (40, 44, 48)], indexing="ij")
    moved = np.stack(deform(Anatomy(*ramps), 1.0, 4.0, np.random.default_rng(0)))[:, 6:-6, 6:-6, 6:-6]
    shift = moved - np.stack(ramps)[:, 6:-6, 6:-6, 6:-6]
    assert 0.7 < shift.std() < 1.3
    slopes = np.stack([np.stack(np.gradient(axis)) for axis in moved])
    assert np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1))).min() > 0


def test_synthetic_noise_is_smooth_and_of_unit_variance() -> None:
    noise = smooth_noise((40, 40, 40), 4.0, np.random.default_rng(0))
    assert abs(float(noise.mean())) < 1e-3
    assert float(noise.std()) == pytest.approx(1, abs=1e-3)
    assert float(np.diff(noise, axis=0).std()) < 0.3


def test_the_brightness_of_synthetic_tissues_follows_the_labels() -> None:
    made_one = made(modalities=("t1", "t2"))
    white, grey = (made_one.labels == 2), (made_one.labels == 1)
    assert made_one.images["t1"][white].mean() > 1.2 * made_one.images["t1"][grey].mean()
    assert made_one.images["t2"][grey].mean() > 1.1 * made_one.images["t2"][white].mean()
    moved = np.roll(made_one.labels, 6, axis=0)
    right = np.corrcoef(made_one.images["t1"][grey | white], white[grey | white])[0, 1]
    wrong = np.corrcoef(made_one.images["t1"].ravel(), (moved == 2).ravel())[0, 1]
    assert right > 0.7 > wrong


def test_a_synthetic_draw_repeats_by_seed_and_modalities_share_the_anatomy() -> None:
    one, again = made(1, modalities=ALL), made(1, modalities=ALL)
    assert all(np.array_equal(one.images[name], again.images[name]) for name in ALL)
    assert np.array_equal(one.images["t2"], made(1, modalities=("t2",)).images["t2"])
    assert not np.array_equal(one.images["t1"], made(1, seed=2).images["t1"])
    outside = [one.images[name] == 0 for name in ALL]
    assert all(np.mean(outside[0] == other) > 0.99 for other in outside)


def test_automatic_labels_of_synthetic_subjects_are_good_but_not_the_truth() -> None:
    for number in range(3):
        truth, automatic = made(number), made(number, labels="automatic")
        assert np.array_equal(truth.images["t1"], automatic.images["t1"])
        for label in (1, 2):
            assert 0.5 < dice(truth.labels, automatic.labels, label) < 0.99


def test_synthetic_scanner_b_has_another_contrast_and_the_same_labels() -> None:
    for task in ("tissue", "lesion"):
        a, b = (made(task=task, scanner=name) for name in "ab")
        assert np.array_equal(a.labels, b.labels)
    a, b = (made(scanner=name) for name in "ab")

    def apart(one: synthetic_brains.Subject) -> float:
        white, grey = (one.images["t1"][one.labels == label].astype(float) for label in (2, 1))
        return float((white.mean() - grey.mean()) / np.sqrt((white.var() + grey.var()) / 2))

    assert apart(b) < 0.8 * apart(a)


def test_synthetic_lesions_are_nested_and_bright_where_they_should_be() -> None:
    places = set()
    for number in range(3):
        one = made(number, task="lesion", modalities=ALL)
        parts = [one.labels == label for label in (1, 2, 3)]
        assert all(part.any() for part in parts)
        places.add(tuple(np.argwhere(one.labels > 0).mean(0).round().astype(int)))
        whole, bright = one.labels > 0, one.images
        well = (bright["t1"] > 0) & ~whole
        assert bright["flair"][parts[0]].mean() > 1.5 * bright["flair"][well].mean()
        assert bright["t1c"][parts[2]].mean() > 1.3 * bright["t1c"][parts[0]].mean()
        assert bright["t2"][whole].mean() > 1.1 * bright["t2"][well].mean()
        automatic = made(number, task="lesion", modalities=ALL, labels="automatic").labels
        assert 0.5 < dice(automatic > 0, whole, 1) < 1
    assert len(places) == 3


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"modalities": ["t1", "t1"]}, "named once each"),
        ({"amplitude": 6.0}, "at least four times"),
        ({"task": "lesion", "labels": "automatic"}, '"t1c" and "flair"'),
        ({"subject": 3}, 'Did you mean "subjects"'),
    ],
)
def test_settings_that_cannot_be_made_are_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_settings(SyntheticBrains, said, where="datasets")


@pytest.mark.parametrize("task", ["tissue", "lesion"])
@pytest.mark.parametrize("labels", ["truth", "automatic"])
def test_the_first_note_and_the_card_say_synthetic(task: Any, labels: Any) -> None:
    data = SyntheticBrains(SyntheticBrainsSettings(task=task, labels=labels, modalities=("t1c", "flair")))
    check_dataset_facts(data)
    assert data.notes[0].startswith("SYNTHETIC data")
    assert data.card()["synthetic"] is True
    assert "SYNTHETIC" in data.title
    assert data.unit == "synthetic subject"


def prepared_from_the_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **said: Any) -> tuple[Any, Cohort]:
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    monkeypatch.setattr(synthetic_brains, "fetch", lambda files, progress=None: {})
    monkeypatch.setattr(synthetic_brains, "maps_of", lambda name, files, box: tuple(phantom(box.shape)))
    data = SyntheticBrains(SyntheticBrainsSettings(spacing=4, subjects=3, **said))
    return data, data.prepare()


def read(case: Case) -> tuple[Any, np.ndarray]:
    target = next(iter(case.targets.values()))
    assert isinstance(target, ImageRef)
    return read_channels(case.image), read_mask(target, onto=case.image[0], dims=3).array[0]


def test_files_of_synthetic_subjects_have_four_channels_on_one_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cohort = prepared_from_the_phantom(tmp_path, monkeypatch, modalities=ALL, task="lesion")
    data.validate(cohort)
    assert cohort == data.prepare()
    assert cohort.groups == tuple(f"synthetic-subject-0-{i:02d}" for i in range(3))
    for case in cohort:
        image, labels = read(case)
        assert [ref.path.name.split("-")[-1] for ref in case.image] == [f"{name}.nii.gz" for name in ALL]
        assert image.array.shape == (4, *labels.shape)
        assert image.geometry.spacing == (4, 4, 4)
        assert {ref.path.name.startswith("synthetic-subject") for ref in case.image} == {True}


def test_a_changed_channel_or_a_missing_synthetic_subject_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cohort = prepared_from_the_phantom(tmp_path, monkeypatch, modalities=("t1", "t2"), task="lesion")
    with pytest.raises(DataError, match="not those of the data set"):
        data.validate(cohort.subset(cohort.ids[:2]))
    first, second = cohort.cases[0].image
    second.path.write_bytes(first.path.read_bytes())
    with pytest.raises(DataError, match=r"t2\.nii\.gz: SHA-256 expected"):
        data.validate(cohort)


def test_tissue_shares_of_another_template_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cohort = prepared_from_the_phantom(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="fills"):
        data.validate(cohort)


@pytest.mark.origin
def test_synthetic_subjects_of_the_real_template_keep_its_shares_and_differ() -> None:
    settings = SyntheticBrainsSettings(subjects=2, spacing=3.0)
    try:
        truth = SyntheticBrains(settings).prepare()
    except Unreachable as error:
        pytest.skip(str(error))
    SyntheticBrains(settings).validate(truth)
    automatic = SyntheticBrains(settings.model_copy(update={"labels": "automatic"})).prepare()
    (image, one), (_, other) = (read(case) for case in truth)
    assert dice(one, other, 1) < 0.85
    assert image.array[0][one == 2].mean() > 1.2 * image.array[0][one == 1].mean()
    for label in (1, 2):
        assert 0.5 < dice(one, read(automatic.cases[0])[1], label) < 0.99
