from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.proposals import Proposals
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment

TASK = Task(kind="segmentation", classes=("background", "organ"), head="organ")


@pytest.fixture(params=[2, 3])
def synthetic(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Cohort, Store]:
    shape = (12, 16, 20)[: request.param]
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 255, (3, *shape), dtype=np.uint8))
    np.save(tmp_path / "masks.npy", (rng.random((3, *shape)) > 0.5).astype(np.uint8))
    cases = tuple(
        Case(
            id=f"c{i}",
            image=(ImageRef(tmp_path / "images.npy", row=i),),
            targets={"organ": ImageRef(tmp_path / "masks.npy", row=i)},
            group=f"p{i}",
        )
        for i in range(3)
    )
    cohort = Cohort("synthetic", TASK, cases)
    return cohort, Store.build(cohort, Preprocess(), tmp_path / "stores")


def proposed(cohort: Cohort, store: Store, folder: Path, floor: float) -> Cohort:
    """Masks that are wrong everywhere, surer from the first element to the last."""
    proposals = Proposals(folder=folder, floor=floor)
    targets = {}
    for case in cohort:
        mask = store.mask(case.id, "organ")
        sure = np.linspace(0, 1, mask.size).reshape(mask.shape)
        targets[case.id] = {"organ": ImageRef(proposals.write(case.id, (1 - mask).astype(np.uint8), sure))}
    return replace(cohort.with_targets(targets), proposals=proposals)


def stream(cohort: Cohort, store: Store, **fields: object) -> StoreStreams:
    given = {"cohort": cohort, "store": store, "batch": 3, "augment": Augment(preset="light"), **fields}
    return StoreStreams({"x": StreamSource(**given)}, seed=1)  # type: ignore[arg-type]


def test_views_in_place_hold_the_batch_s_own_image_and_others_do_not(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    size = tuple(n - 4 for n in store.shape[1:])
    fields = {"patches": Patches(size=size, foreground=0.0), "views": 2}
    values_only = Augment(preset="photometric")

    there = stream(cohort, store, **fields, view_augment=values_only, in_place=True).at(0)["x"]
    elsewhere = stream(cohort, store, **fields, view_augment=values_only).at(0)["x"]

    def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(np.corrcoef(a[0].flatten().numpy(), b[0].flatten().numpy())[0, 1])

    assert isinstance(there.image, torch.Tensor)
    assert isinstance(elsewhere.image, torch.Tensor)
    assert not torch.equal(there.views[0].image, there.image)
    assert not torch.equal(there.views[0].image, there.views[1].image)
    assert torch.equal(there.image, elsewhere.image), "views never change the image itself"
    alike = [likeness(there.views[k].image, there.image) for k in range(2)]
    moved = [likeness(elsewhere.views[k].image, elsewhere.image) for k in range(2)]
    assert min(alike) > 0.4
    assert max(moved) < min(alike), "the check can say no: views of the stored image lie elsewhere"


def test_proposed_masks_and_their_weights_move_with_the_image(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, store = synthetic
    guess = proposed(cohort, store, tmp_path / "guess", floor=0.5)
    fields = {"augment": Augment(transforms=({"kind": "flip", "axes": (-1,), "p": 0.5},))}  # type: ignore[arg-type]

    true, said = (stream(each, store, **fields).at(3)["x"] for each in (cohort, guess))

    assert torch.equal(true.targets["organ"], 1 - said.targets["organ"])
    assert said.weight is not None
    assert said.weight.shape == said.targets["organ"].shape
    ramp = np.linspace(0, 1, store.mask("c0", "organ").size).reshape(store.mask("c0", "organ").shape)
    weighed = np.where(ramp.astype(np.float16).astype(np.float32) >= 0.5, ramp, 0)
    turned = [np.allclose(each, weighed, atol=1e-3) for each in said.weight.numpy()]
    mirrored = [np.allclose(each, weighed[..., ::-1], atol=1e-3) for each in said.weight.numpy()]
    assert all(a or b for a, b in zip(turned, mirrored, strict=True))
    assert true.weight is None


def test_patches_of_proposed_masks_weigh_nothing_outside(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, store = synthetic
    guess = proposed(cohort, store, tmp_path / "guess", floor=0.0)
    size = tuple(n + 4 for n in store.shape[1:])
    batch = stream(guess, store, patches=Patches(size=size, foreground=0.0), augment=Augment()).at(0)["x"]

    assert batch.weight is not None
    outside = batch.targets["organ"] < 0
    assert outside.any()
    assert (batch.weight[outside] == 0).all()


def test_a_proposed_mask_that_is_gone_is_named(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, store = synthetic
    guess = proposed(cohort, store, tmp_path / "guess", floor=0.0)
    for file in (tmp_path / "guess").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="case 'c"):
        stream(guess, store).at(0)


def test_hard_proposals_weigh_all_or_nothing(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, store = synthetic
    guess = proposed(cohort, store, tmp_path / "guess", floor=0.25)
    assert guess.proposals is not None
    hard = guess.proposals.model_copy(update={"hard": True})
    assert set(np.unique(hard.weight("c0"))) == {0.0, 1.0}
    assert hard.kept("c0") == pytest.approx(0.75, abs=0.02)
