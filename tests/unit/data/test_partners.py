"""Paired streams: each case's partner, of the same place and by the same draws; synthetic images of two sites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.partners import pair_cases
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment

TASK = Task(kind="segmentation", classes=("background", "organ"), head="organ")
PATIENTS, LEVELS = 4, 2


@pytest.fixture(scope="module", params=[2, 3])
def synthetic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Store]:
    """Two levels of each patient at sites A, B and C; B shows 255 - A and C half of A, on the same grid."""
    folder = tmp_path_factory.mktemp("sites")
    shape = (12, 16, 20)[: request.param]
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 200, (PATIENTS * LEVELS, *shape)).astype(np.uint8)
    np.save(folder / "masks.npy", (seen > 100).astype(np.uint8))
    cases = []
    for site, values in (("A", seen), ("B", 255 - seen), ("C", seen // 2)):
        np.save(folder / f"{site}.npy", values)
        for row in range(PATIENTS * LEVELS):
            patient, level = divmod(row, LEVELS)
            cases.append(
                Case(
                    id=f"{site}{patient}{level}",
                    image=(ImageRef(folder / f"{site}.npy", row=row),),
                    targets={"organ": ImageRef(folder / "masks.npy", row=row)},
                    group=f"p{patient}",
                    domain=site,
                    attributes={"level": str(level)},
                )
            )
    cohort = Cohort("synthetic", TASK, tuple(cases))
    return cohort, Store.build(cohort, Preprocess(low=0, high=255), folder / "stores")


def of(cohort: Cohort, *sites: str) -> Cohort:
    return cohort.where(lambda case: case.domain in sites)


def streams(data: tuple[Cohort, Store], sites: str = "B", **fields: Any) -> StoreStreams:
    cohort, store = data
    shared: dict[str, Any] = {"store": store, "batch": 5, "augment": Augment(preset="geometric"), **fields}
    source = StreamSource(cohort=of(cohort, "A"), **shared)
    target = of(cohort, *sites).without_targets()
    own = StreamSource(cohort=target, labelled=False, like="source", match=("level",), **{**shared, "batch": 1})
    return StoreStreams({"source": source, "target": own}, seed=1)


@pytest.mark.parametrize("windows", [False, True])
def test_partners_come_in_order_of_the_same_place_and_by_the_same_draws(
    synthetic: tuple[Cohort, Store], *, windows: bool
) -> None:
    size = tuple(n - 5 for n in synthetic[1].shape[1:])
    fields = {"patches": Patches(size=size, foreground=0.5)} if windows else {}
    found = streams(synthetic, **fields)
    for step in (0, 3):
        batch = found.at(step)
        source, target = batch["source"], batch["target"]
        assert target.ids == tuple(f"B{name[1:]}" for name in source.ids)
        assert not target.targets
        assert isinstance(source.image, torch.Tensor)
        assert isinstance(target.image, torch.Tensor)
        torch.testing.assert_close(target.image, 1 - source.image)
        assert torch.equal(found.at(step)["target"].image, target.image)
    apart = replace(found.sources["target"], like="", match=(), batch=5)
    alone = StoreStreams({"source": found.sources["source"], "target": apart}, seed=1).at(0)
    assert alone["target"].ids != found.at(0)["target"].ids, "the check can say no"


def test_of_several_partners_one_is_drawn(synthetic: tuple[Cohort, Store]) -> None:
    found = streams(synthetic, "BC")
    drawn = [name for step in range(4) for name in found.at(step)["target"].ids]
    sources = [name for step in range(4) for name in found.at(step)["source"].ids]
    assert {name[0] for name in drawn} == {"B", "C"}
    assert [name[1:] for name in drawn] == [name[1:] for name in sources]


def test_a_case_that_is_among_the_others_is_its_own_partner(synthetic: tuple[Cohort, Store]) -> None:
    cohort, _ = synthetic
    pairs = pair_cases(of(cohort, "A", "B"), of(cohort, "B"), ("level",), where="x")
    assert {name: [case.id for case in found] for name, found in pairs.items()} == {
        f"{site}{rest}": [f"B{rest}"] for site in "AB" for rest in ("00", "01", "10", "11", "20", "21", "30", "31")
    }


def test_cases_without_a_partner_are_named(synthetic: tuple[Cohort, Store]) -> None:
    cohort, _ = synthetic
    fewer = of(cohort, "B").where(lambda case: case.group != "p2")
    with pytest.raises(DataError, match=r"2 of 8 cases of A have no partner.*A20, A21.*\"p2\".*cycle_gan"):
        pair_cases(of(cohort, "A"), fewer, ("level",), where='stream "target"')


def test_several_cases_that_could_be_it_and_unknown_attributes_are_named(synthetic: tuple[Cohort, Store]) -> None:
    cohort, _ = synthetic
    with pytest.raises(DataError, match=r'group "p0" has 2 cases in domain "A".*known here: level'):
        pair_cases(of(cohort, "A"), of(cohort, "B"), (), where="x")
    with pytest.raises(DataError, match=r"'A00' has no attribute \"slice\".*It has: level"):
        pair_cases(of(cohort, "A"), of(cohort, "B"), ("slice",), where="x")


def test_partners_on_another_grid_are_named(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, _ = synthetic
    flat = of(cohort, "A", "B")
    shape = np.load(flat.cases[0].image[0].path).shape[1:]
    np.save(tmp_path / "long.npy", np.zeros((8, *shape[:-1], shape[-1] + 1), np.uint8))
    moved = tuple(
        replace(case, image=(ImageRef(tmp_path / "long.npy", row=case.image[0].row),), targets={})
        if case.domain == "B"
        else replace(case, targets={})
        for case in flat
    )
    odd = replace(flat, cases=moved)
    store = Store.build(odd, Preprocess(low=0, high=255, size=shape), tmp_path / "stores")
    shared: dict[str, Any] = {"store": store, "batch": 2, "labelled": False}
    source, target = (StreamSource(cohort=of(odd, site), **shared) for site in "AB")
    with pytest.raises(DataError, match=r"'A00' and its partner 'B00' lie on different grids.*registration"):
        StoreStreams({"source": source, "target": replace(target, like="source", match=("level",))}, seed=0)


def test_a_stream_is_like_one_that_is_there(synthetic: tuple[Cohort, Store]) -> None:
    found = streams(synthetic).sources
    with pytest.raises(ConfigError, match="'target' is to be like 'train'"):
        StoreStreams({"source": found["source"], "target": replace(found["target"], like="train")}, seed=0)
