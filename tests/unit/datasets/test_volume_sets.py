"""What the packaged volumes are known to show: positions, brightness, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import Image, read_image
from allograft.data.io.mask import read_mask
from allograft.data.origins import Unreachable
from allograft.datasets.brain_regions import BrainRegions, MacaqueRegions
from allograft.datasets.brain_tissue import GREY, WHITE, BrainTissue, BrainTissueSettings
from allograft.datasets.ct_organs import CLASSES, CODES, CTOrgans, CTOrgansSettings, meaning
from allograft.datasets.dataset import Dataset
from allograft.datasets.lung_tumour import LungTumour, LungTumourSettings
from allograft.datasets.nuclei_2d import Nuclei2D
from allograft.datasets.nuclei_3d import Nuclei3D

pytestmark = pytest.mark.origin


def prepared(dataset: Dataset) -> Cohort:
    try:
        return dataset.prepare()
    except Unreachable as error:
        pytest.skip(f"{dataset.name}: {error}")


def read(case: Case) -> tuple[Image, np.ndarray]:
    target = next(iter(case.targets.values()))
    assert isinstance(target, ImageRef)
    image = read_image(case.image[0])
    return image, read_mask(target, onto=case.image[0], dims=image.dims).array[0]


def means(case: Case) -> list[float]:
    image, labels = read(case)
    return [float(image.array[0][labels == k].mean()) for k in range(int(labels.max()) + 1)]


def test_in_every_block_white_matter_is_brighter_than_grey_and_grey_than_the_rest() -> None:
    for case in prepared(BrainTissue()):
        rest, grey, white = means(case)
        assert rest < grey < white, case.id


def box_of(image: Image) -> tuple[np.ndarray, np.ndarray]:
    low = np.array(image.geometry.origin)[::-1]
    return low, low + (np.array(image.geometry.shape) - 1) * image.geometry.spacing


def test_blocks_of_a_template_are_at_least_6_mm_apart_in_the_world() -> None:
    cohort = prepared(BrainTissue(BrainTissueSettings(templates=("mni152",))))
    assert len(cohort) == 8
    boxes = [box_of(read_image(case.image[0])) for case in cohort]
    for (low_a, high_a), (low_b, high_b) in combinations(boxes, 2):
        assert np.maximum(low_a - high_b, low_b - high_a).max() >= 6.0


def test_templates_lie_over_each_other_tissue_by_tissue() -> None:
    """Dice of two templates in one box: same space, so far above chance; not equal, so other pictures."""
    settings = BrainTissueSettings(blocks=(1, 1, 1))
    a, b = (read(case)[1] for case in prepared(BrainTissue(settings)))
    for label, least in ((1, 0.6), (2, 0.6)):
        dice = 2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum())
        assert least < dice < 0.95, (label, dice)
        flipped = b[:, :, ::-1] == label
        assert dice > 2 * ((a == label) & np.roll(flipped, 12, axis=1)).sum() / ((a == label).sum() + flipped.sum())


def test_asegs_codes_are_sorted_once() -> None:
    assert not set(GREY) & set(WHITE)


@pytest.mark.parametrize(("scan", "low", "high"), [("plain", 30, 60), ("contrast", 140, 220)])
def test_the_aorta_tells_plain_from_contrast_ct(scan: Any, low: float, high: float) -> None:
    (case,) = prepared(CTOrgans(CTOrgansSettings(scans=(scan,), allow_build=True)))
    mean = dict(zip(CLASSES, means(case), strict=True))
    assert low < mean["aorta"] < high
    assert mean["vertebrae"] > 150
    assert 30 < mean["liver"] < 130


def test_each_code_of_a_list_has_one_meaning_and_each_organ_a_code() -> None:
    for name, known in CODES.items():
        assert len(known.codes) == len(CLASSES) - 1
        pairs = meaning(name)
        assert [int(code) for code, _ in pairs] == list(range(known.length + 1))
        assert {index for _, index in pairs} == set(range(len(CLASSES)))


def test_tumours_have_known_sizes_and_lie_inside() -> None:
    cohort = prepared(LungTumour(LungTumourSettings(accept_licence=True)))
    case = cohort["pat_2"]
    image, labels = read(case)
    volume = labels.sum() * np.prod(image.geometry.spacing) / 1000
    assert image.units == "HU"
    assert 5 < volume < 8  # ml
    with pytest.raises(DataError, match="not those of the data set"):
        LungTumour(LungTumourSettings(accept_licence=True)).validate(cohort.subset(["pat_1", "pat_2"]))


@pytest.mark.parametrize("dataset", [Nuclei2D(), Nuclei3D()], ids=lambda each: each.name)
def test_nuclei_are_brighter_than_what_lies_between_them(dataset: Dataset) -> None:
    for case in prepared(dataset):
        rest, nuclei = means(case)
        assert nuclei > 1.1 * rest, case.id


def test_all_frames_of_a_place_lie_in_one_group() -> None:
    cohort = prepared(Nuclei2D())
    frames: Mapping[str, list[str]] = {group: [] for group in cohort.groups}
    for case in cohort:
        frames[case.group].append(case.id)
    assert sorted(map(len, frames.values())) == [1, 1, 1, 1, 10, 10]


@pytest.mark.parametrize("dataset", [BrainRegions(), MacaqueRegions()], ids=lambda each: each.name)
def test_halves_are_on_their_side_and_hold_every_region_in_like_size(dataset: Dataset) -> None:
    left, right = prepared(dataset)
    sizes = []
    for case, sign in ((left, -1), (right, 1)):
        image, labels = read(case)
        assert sign * box_of(image)[0][2] > 0 or sign * box_of(image)[1][2] > 0
        assert (sign * np.array([box_of(image)[0][2], box_of(image)[1][2]]) > 1).all()
        sizes.append(np.bincount(labels.ravel(), minlength=len(dataset.task.classes))[1:])
    assert (np.abs(np.log(sizes[0] / sizes[1])) < 0.2).all()
