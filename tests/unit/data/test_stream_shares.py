"""A process's share of a batch is made alone and is, bit for bit, that part of the whole. Synthetic images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.core.stream_spec import Another
from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.train.device import share_of


@pytest.fixture(scope="module", params=[2, 3])
def synthetic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Store]:
    folder, shape = tmp_path_factory.mktemp("shares"), (8, 10, 12)[: request.param]
    images = np.random.default_rng(0).integers(0, 255, (10, *shape), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", (images > 120).astype(np.uint8))
    cases = tuple(
        Case(
            id=f"c{i}",
            image=(ImageRef(folder / "images.npy", row=i),),
            targets={"organ": ImageRef(folder / "masks.npy", row=i)},
            group=f"p{i // 2}",
        )
        for i in range(10)
    )
    task = Task(kind="segmentation", classes=("background", "organ"), head="organ")
    cohort = Cohort("synthetic", task, cases, weights={"c3": 0.5})
    return cohort, Store.build(cohort, Preprocess(), folder / "stores")


def streams(data: tuple[Cohort, Store], batch: int, patches: Patches | None) -> StoreStreams:
    shared: dict[str, Any] = {
        "cohort": data[0],
        "store": data[1],
        "augment": Augment(preset="medical_views"),
        "patches": patches,
    }
    first = StreamSource(**shared, batch=batch, views=1)
    second = StreamSource(**shared, batch=1, labelled=False, like="images", another=Another())
    return StoreStreams({"images": first, "partner": second}, seed=2)


def assert_same(one: Batch, two: Batch) -> None:
    assert (one.ids, one.groups) == (two.ids, two.groups)
    assert isinstance(one.image, torch.Tensor)
    assert isinstance(two.image, torch.Tensor)
    assert torch.equal(one.image, two.image)
    assert (one.weight is None) == (two.weight is None)
    for name in ("targets", "present"):
        a, b = getattr(one, name), getattr(two, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[head], b[head]) for head in a)
    assert all(torch.equal(v.image, w.image) and v.draws == w.draws for v, w in zip(one.views, two.views, strict=True))
    for a, b in ((one.weight, two.weight), (one.spacing, two.spacing)):
        assert a is None or (b is not None and torch.equal(a, b))


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("batch", [4, 24])  # the second holds every case more than once
def test_shares_are_the_parts_of_the_whole(synthetic: tuple[Cohort, Store], batch: int, *, windows: bool) -> None:
    size = tuple(n - 3 for n in synthetic[1].shape[1:])
    found = streams(synthetic, batch, Patches(size=size, foreground=0.5) if windows else None)
    for step in (0, 5):
        whole = found.at(step)
        for rank in range(2):
            part = found.at(step, rank=rank, world=2)
            for name in whole:
                assert_same(part[name], share_of(whole[name], rank, 2))
        other = found.at(step, rank=1, world=2)["images"]
        assert other.ids != whole["images"].ids[: batch // 2], "the check can say no"


def test_a_batch_that_cannot_be_shared_equally_is_refused(synthetic: tuple[Cohort, Store]) -> None:
    with pytest.raises(ConfigError, match=r"'images': 5 cases cannot be shared equally by 2 processes"):
        streams(synthetic, 5, None).at(0, rank=0, world=2)
