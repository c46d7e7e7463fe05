"""A store whose cases got masks after it was built reads them, and is otherwise the store that it was; synthetic."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.drawn_store import DrawnStore, with_masks
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store

TASK = Task(kind="segmentation", classes=("background", "lesion"), head="mask")


def synthetic_cohort(folder: Path, *, same_size: bool) -> tuple[Cohort, dict[str, ImageRef]]:
    """Write pictures of which only the first has its mask in the cohort; return the masks of the others apart."""
    rng, cases = np.random.default_rng(0), []
    drawn: dict[str, ImageRef] = {}
    for i in range(3):
        shape = (10, 12) if same_size else (10 + i, 12)
        labels = np.zeros(shape, np.uint8)
        labels[i : i + 3, 2:5] = 1
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(folder / f"{i}.png")
        Image.fromarray(labels).save(folder / f"{i}-mask.png")
        mask = ImageRef(folder / f"{i}-mask.png")
        targets = {"mask": mask} if i == 0 else {}
        drawn |= {} if i == 0 else {f"c{i}": mask}
        cases.append(Case(id=f"c{i}", image=(ImageRef(folder / f"{i}.png"),), targets=targets, group=f"g{i}"))
    return Cohort("synthetic", TASK, tuple(cases)), drawn


def with_them(cohort: Cohort, drawn: dict[str, ImageRef]) -> Cohort:
    return cohort.subset(drawn).with_targets({name: {"mask": ref} for name, ref in drawn.items()})


@pytest.mark.parametrize("same_size", [True, False])
def test_drawn_masks_are_read_and_the_key_stays(same_size: bool, tmp_path: Path) -> None:
    cohort, drawn = synthetic_cohort(tmp_path, same_size=same_size)
    store = Store.build(cohort, Preprocess(), tmp_path / "stores")
    assert not store.has_mask("c1", "mask")
    one = with_masks(store, with_them(cohort, {"c1": drawn["c1"]}))
    both = with_masks(one, with_them(cohort, {"c2": drawn["c2"]}))
    assert [both.has_mask(name, "mask") for name in cohort.ids] == [True] * 3
    assert not store.has_mask("c1", "mask"), "the store itself is as it was"
    assert both.index == store.index
    again = pickle.loads(pickle.dumps(both))
    assert isinstance(again, DrawnStore)
    whole = Store.build(
        cohort.with_targets({name: {"mask": ref} for name, ref in drawn.items()}), Preprocess(), tmp_path / "whole"
    )
    for name in cohort.ids:
        for found in (both, again):
            np.testing.assert_array_equal(found.mask(name, "mask"), whole.mask(name, "mask"))
            box = (slice(1, 6), slice(0, 4))
            np.testing.assert_array_equal(found.mask(name, "mask", box), whole.mask(name, "mask", box))
            spots, expected = found.places(name, "mask"), whole.places(name, "mask")
            assert {k: v.tolist() for k, v in spots.items()} == {k: v.tolist() for k, v in expected.items()}
    if same_size:
        np.testing.assert_array_equal(both.masks(cohort.ids, "mask"), whole.masks(cohort.ids, "mask"))


def test_an_image_that_changed_since_is_refused_by_name(tmp_path: Path) -> None:
    cohort, drawn = synthetic_cohort(tmp_path, same_size=True)
    store = Store.build(cohort, Preprocess(), tmp_path / "stores")
    for name in ("1.png", "1-mask.png"):
        Image.fromarray(np.ones((20, 12), np.uint8)).save(tmp_path / name)
    with pytest.raises(DataError, match="'c1': its image is no longer"):
        with_masks(store, with_them(cohort, {"c1": drawn["c1"]}))


def test_a_mask_of_another_grid_is_refused_by_name(tmp_path: Path) -> None:
    cohort, drawn = synthetic_cohort(tmp_path, same_size=True)
    store = Store.build(cohort, Preprocess(), tmp_path / "stores")
    Image.fromarray(np.ones((20, 12), np.uint8)).save(tmp_path / "1-mask.png")
    with pytest.raises(DataError, match="'c1', mask"):
        with_masks(store, with_them(replace(cohort), {"c1": drawn["c1"]}))
