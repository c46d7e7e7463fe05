from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import polygon2mask

from allograft.core.errors import DataError
from allograft.data.cohort import Cohort
from allograft.data.origins import reachable, resolve
from allograft.datasets import skin_histology
from allograft.datasets.dataset import class_counts
from allograft.datasets.outline import fill, read_napari_shapes
from allograft.datasets.skin_histology import GAP, PER_CLASS, SIZE, STRIPS, WIDTH, SkinHistology, tissue_map


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    for name, (origin, sha256) in skin_histology._FILES.items():
        if not reachable(origin, sha256=sha256):
            pytest.skip(f"skin_histology: {name} ({origin}) cannot be reached from this machine")
    return SkinHistology().prepare()


@pytest.fixture
def picture(cohort: Cohort) -> np.ndarray:
    import tifffile

    origin, sha256 = skin_histology._FILES["picture"]
    return tifffile.imread(resolve(origin, sha256=sha256))


def outlines() -> Path:
    origin, sha256 = skin_histology._FILES["outlines"]
    return resolve(origin, sha256=sha256)


@pytest.mark.origin
def test_every_strip_holds_the_same_number_of_every_class(cohort: Cohort) -> None:
    assert len(cohort) == 576
    counts = class_counts(cohort)
    assert set(counts.values()) == {PER_CLASS}
    assert len(counts) == STRIPS * len(cohort.task.classes)


@pytest.mark.origin
def test_no_two_strips_share_a_pixel_and_a_patch_lies_between_them(cohort: Cohort) -> None:
    owner = np.full((960, 1280), -1)
    for case in cohort:
        top, left = int(case.attributes["top"]), int(case.attributes["left"])
        window = owner[top : top + SIZE, left : left + SIZE]
        assert window.shape == (SIZE, SIZE)
        strip = cohort.groups.index(case.group)
        assert set(np.unique(window)) <= {-1, strip}
        window[:] = strip
    columns = [np.flatnonzero((owner == strip).any(axis=0)) for strip in range(STRIPS)]
    for before, after in pairwise(columns):
        assert after[0] - before[-1] - 1 >= GAP >= SIZE
    assert max(c[-1] - c[0] + 1 for c in columns) <= WIDTH


@pytest.mark.origin
def test_patches_are_the_grey_of_the_picture_where_the_case_says(cohort: Cohort, picture: np.ndarray) -> None:
    from skimage.color import rgb2yuv

    stored = np.load(cohort.cases[0].image[0].path)
    assert stored.shape == (576, SIZE, SIZE)
    assert stored.dtype == np.uint8
    for case in cohort.cases[::25]:
        top, left = int(case.attributes["top"]), int(case.attributes["left"])
        grey = rgb2yuv(picture[top : top + SIZE, left : left + SIZE])[..., 0] * 255
        row = case.image[0].row
        assert row is not None
        np.testing.assert_allclose(stored[row], grey, atol=0.51)


@pytest.mark.origin
def test_a_patch_has_the_class_that_covers_most_of_it(cohort: Cohort) -> None:
    classes = tissue_map(outlines(), (960, 1280))
    for case in cohort:
        top, left = int(case.attributes["top"]), int(case.attributes["left"])
        share = (classes[top : top + SIZE, left : left + SIZE] == case.targets["tissue"]).mean()
        assert share >= 0.6


@pytest.mark.origin
def test_classes_look_as_the_tissues_do(cohort: Cohort, picture: np.ndarray) -> None:
    """The empty slide is bright and even, the corneum a dark net on bright ground, the epidermis the darkest."""
    classes = tissue_map(outlines(), (960, 1280))
    grey = picture.mean(axis=-1)
    mean = [grey[classes == label].mean() for label in range(4)]
    spread = [grey[classes == label].std() for label in range(4)]
    assert mean[0] == max(mean)
    assert mean[2] == min(mean)
    assert spread[0] == min(spread)
    assert spread[1] == max(spread)
    assert (classes == -1).mean() < 0.005


@pytest.mark.origin
def test_cutting_again_gives_the_same_bytes(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cohort.cases[0].image[0].path
    files = {name: resolve(origin, sha256=sha256) for name, (origin, sha256) in skin_histology._FILES.items()}
    monkeypatch.setattr(skin_histology, "_FILES", {name: (f"file:{path}", "") for name, path in files.items()})
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    again = SkinHistology().prepare()
    assert again.cases[0].image[0].path.read_bytes() == first.read_bytes()
    assert again.ids == cohort.ids


@pytest.mark.origin
def test_validate_says_no_to_changed_patches_and_to_strips_that_touch(cohort: Cohort, tmp_path: Path) -> None:
    data = SkinHistology()
    data.validate(cohort)
    path = tmp_path / "patches.npy"
    patches = np.load(cohort.cases[0].image[0].path)
    patches[5, 0, 0] ^= 1
    np.save(path, patches)
    moved = tuple(replace(case, image=(case.image[0]._replace(path=path),)) for case in cohort)
    with pytest.raises(DataError, match="SHA-256 expected"):
        data.validate(replace(cohort, cases=moved))
    case = cohort.cases[0]
    near = replace(case, attributes={**case.attributes, "left": "60"})
    with pytest.raises(DataError, match="less than 48 pixels apart"):
        data.validate(replace(cohort, cases=(near, *cohort.cases[1:])))


@pytest.mark.origin
def test_damaged_preparation_is_named(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cohort.cases[0].image[0].path.parent
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    copy = tmp_path / "datasets" / "skin_histology" / folder.name
    copy.mkdir(parents=True)
    (copy / "patches.json").write_text(json.dumps([[0, 1]]))
    with pytest.raises(DataError, match="Remove the folder"):
        SkinHistology().prepare()


def test_the_card_carries_licence_origin_and_notes() -> None:
    card = SkinHistology().card()
    assert "ONE picture" in card["notes"][0]
    assert card["counts"] == dict.fromkeys(SkinHistology.task.classes, 144)
    assert all(len(item["sha256"]) == 64 for item in card["origin"].values())


@pytest.mark.parametrize("seed", range(5))
def test_filling_random_synthetic_polygons_agrees_with_scikit_image(seed: int) -> None:
    polygon = np.random.RandomState(seed).uniform(-5, 45, (7, 2))
    np.testing.assert_array_equal(fill(polygon, (40, 50)), polygon2mask((40, 50), polygon))


def test_filling_counts_a_square_exactly() -> None:
    square = np.array([(1.5, 2.5), (1.5, 7.5), (4.5, 7.5), (4.5, 2.5)])
    filled = fill(square, (8, 10))
    assert filled[2:5, 3:8].all()
    assert filled.sum() == 15


def test_outlines_with_other_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "shape.csv"
    path.write_text("index,shape-type,vertex-index,axis-0,axis-1\n0,path,0,1.0,x\n")
    with pytest.raises(DataError, match=r"shape\.csv, line 2"):
        read_napari_shapes(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="axis-0"):
        read_napari_shapes(path)
