from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.patch_stream import draw_corner, read_image, read_mask
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment

TASK = Task(kind="segmentation", classes=("background", "large", "small"), head="organ")
SIZE = {2: (8, 6), 3: (6, 8, 4)}


def made(folder: Path, shapes: list[tuple[int, ...]], *, masked: int | None = None) -> tuple[Cohort, Store]:
    """Synthetic images with a box of class 1 and one element of class 2."""
    rng = np.random.default_rng(0)
    cases = []
    for i, shape in enumerate(shapes):
        np.save(folder / f"i{i}.npy", rng.normal(size=shape).astype(np.float32))
        mask = np.zeros(shape, np.uint8)
        mask[tuple(slice(0, max(1, n // 2)) for n in shape)] = 1
        mask[tuple(n - 2 for n in shape)] = 2
        np.save(folder / f"m{i}.npy", mask)
        targets = {"organ": ImageRef(folder / f"m{i}.npy")} if masked is None or i < masked else {}
        cases.append(Case(id=f"c{i}", image=(ImageRef(folder / f"i{i}.npy"),), targets=targets, group=f"p{i}"))
    cohort = Cohort("synthetic", TASK, tuple(cases))
    return cohort, Store.build(cohort, Preprocess(intensity="standard"), folder / "stores")


@pytest.fixture(scope="module", params=[2, 3])
def synthetic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Store]:
    shapes = [(20, 16, 12), (24, 9, 14), (18, 18, 18), (16, 20, 11), (17, 12, 13)]
    return made(tmp_path_factory.mktemp("patches"), [shape[: request.param] for shape in shapes], masked=4)


def streams_of(data: tuple[Cohort, Store], seed: int = 3, **changes: Any) -> StoreStreams:
    patches = Patches(size=SIZE[data[1].dims])
    fields: dict[str, Any] = {"cohort": data[0], "store": data[1], "batch": 7, "patches": patches}
    return StoreStreams({"train": StreamSource(**{**fields, **changes})}, seed=seed)


def batch_of(streams: StoreStreams, step: int) -> Batch:
    return streams.at(step)["train"]


def corner_in(image: Any, patch: Any) -> tuple[int, ...]:
    """Find a patch in its image: values are all different."""
    place = np.argwhere(image[0] == patch[0].ravel()[0])
    assert len(place) == 1
    return tuple(int(k) for k in place[0])


def test_patches_are_equal_slices_of_the_stored_image_and_mask(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    size = SIZE[store.dims]
    for step in range(4):
        batch = batch_of(streams_of(synthetic), step)
        assert isinstance(batch.image, torch.Tensor)
        assert batch.image.shape == (7, 1, *size)
        assert batch.targets["organ"].shape == (7, *size)
        assert batch.targets["organ"].dtype == torch.int64
        for i, name in enumerate(batch.ids):
            image, patch = store.image(name), batch.image[i].numpy()
            corner = corner_in(image, patch)
            box = tuple(slice(c, c + p) for c, p in zip(corner, size, strict=True))
            assert np.array_equal(patch, image[(slice(None), *box)])
            assert np.array_equal(batch.targets["organ"][i], store.mask(name, "organ")[box])
            assert bool(batch.present["organ"][i]) == ("organ" in cohort[name].targets)


def test_a_batch_of_patches_is_a_pure_function_of_seed_and_step(synthetic: tuple[Cohort, Store]) -> None:
    def parts(step: int, seed: int = 3, **changes: Any) -> tuple[torch.Tensor, ...]:
        batch = batch_of(streams_of(synthetic, seed, augment=Augment(preset="light"), views=1, **changes), step)
        assert isinstance(batch.image, torch.Tensor)
        return batch.image, batch.targets["organ"], batch.views[0].image

    def same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    streams = streams_of(synthetic, augment=Augment(preset="light"), views=1)
    walked = [batch_of(streams, step) for step in range(6)]
    assert same(parts(5), (walked[5].image, walked[5].targets["organ"], walked[5].views[0].image))  # type: ignore[arg-type]
    assert not same(parts(5), parts(4))
    assert not same(parts(5), parts(5, seed=4))
    small, large = parts(0, batch=3), parts(0, batch=5)
    assert all(torch.equal(x, y[:3]) for x, y in zip(small, large, strict=True))


def test_batches_with_masks_say_the_spacing_of_each_case(synthetic: tuple[Cohort, Store]) -> None:
    batch = streams_of(synthetic).at(0)["train"]
    expected = [synthetic[1].placement(name).spacing for name in batch.ids]
    assert batch.spacing is not None
    assert batch.spacing.tolist() == [pytest.approx(list(each)) for each in expected]
    assert streams_of(synthetic, labelled=False).at(0)["train"].spacing is None


def test_a_case_that_comes_twice_gives_two_patches(synthetic: tuple[Cohort, Store]) -> None:
    one = (synthetic[0].subset(["c0"]), synthetic[1])
    batch = batch_of(streams_of(one, batch=6), 0)
    assert len({batch.image[i].numpy().tobytes() for i in range(6)}) > 3


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_foreground_patches_is_what_was_asked_and_classes_are_equal(
    synthetic: tuple[Cohort, Store], share: float
) -> None:
    """Class 2 is one element: only a patch centred on it holds it in its very middle."""
    _, store = synthetic
    size = SIZE[store.dims]
    shape = store.placement("c2").shape
    mask = store.mask("c2", "organ")
    patches, rng = Patches(size=size, foreground=share), np.random.default_rng(0)
    count, seen = 3000, Counter[str]()
    spot = tuple(n - 2 for n in shape)
    wanted = tuple(min(max(k - p // 2, 0), n - p) for k, p, n in zip(spot, size, shape, strict=True))
    uniform = 1 / np.prod([n - p + 1 for n, p in zip(shape, size, strict=True)])
    for _ in range(count):
        corner = draw_corner(rng, store, "c2", patches, ["organ"])
        assert all(0 <= c <= n - p for c, n, p in zip(corner, shape, size, strict=True))
        box = tuple(slice(c, c + p) for c, p in zip(corner, size, strict=True))
        seen["small"] += corner == wanted
        seen["large"] += bool((mask[box] == 1).any())
    expected = share / 2 + (1 - share) * uniform  # half of the centred ones are on the small class
    assert abs(seen["small"] / count - expected) < 4 * np.sqrt(max(expected, 1e-3) / count)
    if share == 1:
        assert seen["large"] / count > 0.45


def test_uniform_positions_are_uniform_up_to_both_ends(synthetic: tuple[Cohort, Store]) -> None:
    _, store = synthetic
    size, shape = SIZE[store.dims], store.placement("c0").shape
    rng, patches = np.random.default_rng(0), Patches(size=size, foreground=0)
    corners = np.array([draw_corner(rng, store, "c0", patches, ["organ"]) for _ in range(4000)])
    for axis, (n, p) in enumerate(zip(shape, size, strict=True)):
        counts = np.bincount(corners[:, axis], minlength=n - p + 1)
        assert len(counts) == n - p + 1
        assert np.abs(counts / 4000 - 1 / (n - p + 1)).max() < 0.03


def test_an_unlabelled_stream_never_looks_at_masks(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    everywhere = Patches(size=SIZE[store.dims], foreground=1)
    bare = Cohort("synthetic", TASK, tuple(Case(id=c.id, image=c.image, group=c.group) for c in cohort))
    with_masks = batch_of(streams_of(synthetic, labelled=False, patches=everywhere), 1)
    without = batch_of(streams_of((bare, store), labelled=False, patches=everywhere), 1)
    assert torch.equal(with_masks.image, without.image)  # type: ignore[arg-type]
    assert with_masks.targets == {}
    centred = batch_of(streams_of(synthetic, patches=everywhere), 1)
    assert not torch.equal(with_masks.image, centred.image)  # type: ignore[arg-type]


def test_views_are_augmented_copies_of_the_same_patch(synthetic: tuple[Cohort, Store]) -> None:
    plain = batch_of(streams_of(synthetic, views=2), 2)
    assert all(torch.equal(view.image, plain.image) for view in plain.views)  # type: ignore[arg-type]
    flips = Augment.model_validate([{"flip": {"p": 0.5, "axes": [-1]}}])
    moved = batch_of(streams_of(synthetic, views=1, augment=flips), 2)
    for i, draw in enumerate(moved.views[0].draws):
        flipped = draw["steps"][0]["applied"]  # type: ignore[index]
        expected = plain.image[i].flip(-1) if flipped else plain.image[i]
        assert torch.equal(moved.views[0].image[i], expected)


@pytest.mark.parametrize("shape", [(5, 20), (5, 20, 5)])
def test_small_cases_are_padded_with_their_minimum_and_the_padding_is_ignored(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    _, store = made(tmp_path, [shape, tuple(2 * n for n in shape)])
    size = (8, 8, 6)[: len(shape)]
    corner = draw_corner(np.random.default_rng(0), store, "c0", Patches(size=size), ["organ"])
    assert corner[0] == -2  # 5 of 8: one more behind than before
    image, mask = store.image("c0"), store.mask("c0", "organ")
    patch, labels = read_image(store, "c0", corner, size), read_mask(store, "c0", "organ", corner, size)
    box = tuple(slice(max(c, 0), min(c + p, n)) for c, p, n in zip(corner, size, shape, strict=True))
    inside = tuple(slice(b.start - c, b.stop - c) for b, c in zip(box, corner, strict=True))
    assert np.array_equal(patch[(slice(None), *inside)], image[(slice(None), *box)])
    assert np.array_equal(labels[inside], mask[box])
    outside = np.ones(size, bool)
    outside[inside] = False
    assert (patch[0][outside] == image.min()).all()
    assert (labels[outside] == -1).all()
    assert (labels[inside] >= 0).all()


def test_the_padding_of_each_channel_is_its_own_minimum(tmp_path: Path) -> None:
    image = np.stack([np.full((4, 4), 5.0), np.full((4, 4), -3.0)]).astype(np.float32)
    image[:, 0, 0] += 1
    for k in range(2):
        np.save(tmp_path / f"{k}.npy", image[k])
    refs = tuple(ImageRef(tmp_path / f"{k}.npy") for k in range(2))
    cohort = Cohort("x", TASK, (Case(id="c", image=refs, group="g"),))
    store = Store.build(cohort, Preprocess(intensity="standard", per_channel=False), tmp_path / "s")
    patch = read_image(store, "c", (-2, 0), (8, 4))
    for channel, values in zip(patch, store.image("c"), strict=True):
        assert (channel[:2] == values.min()).all()
    assert patch[0, 0, 0] != patch[1, 0, 0]


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_augmented_masks_hold_no_other_values_and_padding_stays_ignored(tmp_path: Path, preset: Any) -> None:
    data = made(tmp_path, [(5, 9, 7), (6, 8, 9)])
    streams = streams_of(data, patches=Patches(size=(8, 8, 8)), augment=Augment(preset=preset))
    found: set[int] = set()
    for step in range(6):
        found |= set(batch_of(streams, step).targets["organ"].flatten().tolist())
    assert found == {-1, 0, 1, 2}


def test_padding_reaches_no_loss(tmp_path: Path) -> None:
    from allograft.nets.network import Output
    from allograft.objectives.segmentation_loss import SegmentationLoss

    batch = batch_of(streams_of(made(tmp_path, [(5, 9), (6, 8)]), patches=Patches(size=(12, 12)), batch=2), 0)
    outside = batch.targets["organ"] < 0
    assert outside.any()
    logits = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    changed = torch.where(outside[:, None], logits + 50 * torch.tensor([1.0, -1, 0]).reshape(1, 3, 1, 1), logits)
    loss = SegmentationLoss().build(TASK)

    def of(values: torch.Tensor) -> float:
        return float(loss(Output((), torch.zeros(2, 1), {"organ": values}), batch).total)

    assert of(logits) == pytest.approx(of(changed))
    assert of(logits) != pytest.approx(of(logits.flip(1)))


def test_only_the_patch_is_read(synthetic: tuple[Cohort, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = Store.image

    def watched(self: Store, name: str, box: tuple[slice, ...] = ()) -> Any:
        found = whole(self, name, box)
        asked.append(found.size)
        return found

    monkeypatch.setattr(Store, "image", watched)
    batch_of(streams_of(synthetic), 0)
    assert asked == [int(np.prod(SIZE[synthetic[1].dims]))] * 7


def test_what_makes_no_sense_is_refused_and_names_the_stream(synthetic: tuple[Cohort, Store], tmp_path: Path) -> None:
    cohort, store = synthetic
    with pytest.raises(ConfigError, match=rf"stream 'train': patches.size .* the images are {store.dims}-D"):
        streams_of(synthetic, patches=Patches(size=SIZE[5 - store.dims]))
    with pytest.raises(DataError, match=r"stream 'train'.*5 different sizes.*Set patches"):
        streams_of(synthetic, patches=None)
    with pytest.raises(ConfigError, match="balance needs labels"):
        streams_of(synthetic, balance=True)
    label = Task(kind="binary", classes=("no", "yes"))
    judged = Cohort("x", label, tuple(Case(id=c.id, image=c.image, targets={"label": 0}, group="g") for c in cohort))
    with pytest.raises(ConfigError, match=r"label of a whole image \(binary\)"):
        streams_of((judged, store))
    assert batch_of(streams_of((judged, store), labelled=False), 0).targets == {}
    pseudo = cohort.with_targets({"c4": cohort["c0"].targets})
    with pytest.raises(DataError, match=r"no mask 'organ' of 1 cases that have one, first 'c4'"):
        streams_of((pseudo, store))
    np.save(tmp_path / "empty.npy", np.zeros((9,) * store.dims, np.uint8))
    np.save(tmp_path / "image.npy", np.random.default_rng(0).normal(size=[9] * store.dims).astype(np.float32))
    empty = Case(
        id="e",
        image=(ImageRef(tmp_path / "image.npy"),),
        targets={"organ": ImageRef(tmp_path / "empty.npy")},
        group="g",
    )
    alone = Cohort("x", TASK, (empty,))
    built = Store.build(alone, Preprocess(intensity="standard"), tmp_path / "s")
    with pytest.raises(ConfigError, match=r"foreground is 0.333.*background only.*foreground: 0"):
        streams_of((alone, built))
    assert batch_of(streams_of((alone, built), patches=Patches(size=SIZE[store.dims], foreground=0)), 0).ids


def test_a_uniform_store_gives_patches_too_and_they_cover_it(tmp_path: Path) -> None:
    data = made(tmp_path, [(12, 12)] * 3)
    assert data[1].uniform
    streams = streams_of(data, patches=Patches(size=(4, 4), foreground=0), batch=3)
    firsts = {corner_in(data[1].image(n), x.numpy()) for s in range(60) for n, x in _pairs(batch_of(streams, s))}
    assert len(firsts) > 60  # of 81
    assert all(a != b for a, b in pairwise(sorted(firsts)))


def _pairs(batch: Batch) -> list[tuple[str, torch.Tensor]]:
    assert isinstance(batch.image, torch.Tensor)
    return list(zip(batch.ids, batch.image, strict=True))
