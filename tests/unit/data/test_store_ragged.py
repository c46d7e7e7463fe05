from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_image
from allograft.data.normalise import fit_statistics
from allograft.data.places import MOST_PLACES, class_places
from allograft.data.preprocess import Preprocess, prepare
from allograft.data.spacing import resolve_spacing
from allograft.data.store import Store

SEGMENT = Task(kind="segmentation", classes=("background", "a", "b"), head="organ")
CT = Preprocess(intensity="window", low=-1000, high=1000)


def nifti(path: Path, array: Any, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> ImageRef:
    """Write an array (D, H, W) so that it is read back in this order: axes to superior, anterior, right."""
    make: Any = nibabel.Nifti1Image
    nibabel.save(make(np.ascontiguousarray(array.T), np.diag([*reversed(spacing), 1.0])), path)
    return ImageRef(path)


def synthetic_volumes(folder: Path, *, spacings: Any = None, count: int = 4) -> Cohort:
    """CT-like volumes of different sizes with two box-shaped classes; the last case has no mask."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    cases = []
    for i in range(count):
        shape = (8 + i, 10 + 2 * i, 9)
        image = rng.integers(-900, 900, shape).astype(np.int16)
        mask = np.zeros(shape, np.uint8)
        mask[1:4, 2:6, 1:8] = 1
        mask[5:7, 3:5, 4:6] = 2
        spacing = spacings[i] if spacings else (1.0, 1.0, 1.0)
        ref = nifti(folder / f"i{i}.nii.gz", image, spacing)
        target = {"organ": nifti(folder / f"m{i}.nii.gz", mask, spacing)} if i < count - 1 else {}
        cases.append(Case(id=f"c{i}", image=(ref,), targets=target, group=f"p{i}"))
    return Cohort("synthetic", SEGMENT, tuple(cases))


def raw(cohort: Cohort, name: str) -> Any:
    return read_image(cohort[name].image[0]).array


def test_volumes_of_different_size_are_stored_each_as_it_is(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    store = Store.build(cohort, CT, tmp_path / "s")
    assert (store.uniform, store.channels, store.dims) == (False, 1, 3)
    for name in cohort.ids:
        assert np.array_equal(store.image(name), prepare(read_image(cohort[name].image[0]), CT))
        assert store.image(name).dtype == np.float32
        assert store.placement(name).shape == raw(cohort, name).shape[1:]
        assert store.lowest(name) == store.image(name).min()
    mask = read_image(cohort["c1"].targets["organ"]).array[0]  # type: ignore[arg-type]
    assert np.array_equal(store.mask("c1", "organ"), mask)
    assert store.mask("c3", "organ").shape == store.placement("c3").shape
    assert not store.mask("c3", "organ").any()
    assert [store.has_mask(name, "organ") for name in cohort.ids] == [True, True, True, False]
    box = (slice(2, 5), slice(0, 4), slice(3, 9))
    assert np.array_equal(store.image("c2", box), store.image("c2")[:, 2:5, :4, 3:])
    assert np.array_equal(store.mask("c2", "organ", box), store.mask("c2", "organ")[2:5, :4, 3:])


def test_what_needs_equal_sizes_says_what_to_do(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    store = Store.build(cohort, CT, tmp_path / "s")
    uses: list[Callable[[], object]] = [
        lambda: store.shape,
        lambda: store.rows(["c0"]),
        lambda: store.masks(["c0"], "organ"),
    ]
    for use in uses:
        with pytest.raises(DataError, match=r"4 different sizes, from \(8, 10, 9\) to \(11, 16, 9\).*Set patches"):
            use()
    with pytest.raises(DataError, match="no case 'zz'"):
        store.image("zz")
    with pytest.raises(DataError, match="no masks for head 'other'"):
        store.mask("c0", "other")
    same = Store.build(cohort, CT.model_copy(update={"size": (6, 6, 6)}), tmp_path / "s")
    assert same.uniform
    assert same.shape == (1, 6, 6, 6)
    assert np.array_equal(same.image("c2"), same.rows(["c2"])[0])
    assert np.array_equal(same.mask("c2", "organ"), same.masks(["c2"], "organ")[0])


def test_other_tasks_have_one_size_unless_asked(tmp_path: Path) -> None:
    volumes = synthetic_volumes(tmp_path / "in")
    yes_no = Task(kind="binary", classes=("no", "yes"))
    cases = tuple(Case(id=c.id, image=c.image, targets={"label": 0}, group=c.group) for c in volumes)
    cohort = Cohort("synthetic", yes_no, cases)
    with pytest.raises(DataError, match=r"case 'c1'.*\(1, 9, 12, 9\) differs from \(1, 8, 10, 9\).*preprocess.size"):
        Store.build(cohort, CT, tmp_path / "s")
    assert not [p for p in (tmp_path / "s").iterdir() if p.is_dir()]
    assert not Store.build(cohort, CT, tmp_path / "s", ragged=True).uniform
    with pytest.raises(DataError, match="different sizes"):  # also where a patient one has built it
        Store.build(cohort, CT, tmp_path / "s")


def test_channels_may_not_differ(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    first = cohort.cases[0]
    two = Case(id="two", image=first.image * 2, targets=first.targets, group="q")
    with pytest.raises(DataError, match=r"case 'two'.*\(2, 8, 10, 9\) differs.*channels and axes may not"):
        Store.build(Cohort("x", SEGMENT, (*cohort.cases, two)), CT, tmp_path / "s")


@pytest.mark.parametrize("file", ["images/000001.npy", "mask-organ/000001.npy", "places-organ/000001.npy"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete", "type"])
def test_a_damaged_entry_is_rebuilt_alone_and_said(tmp_path: Path, file: str, harm: str) -> None:
    cohort = synthetic_volumes(tmp_path / "in", count=3)
    store = Store.build(cohort, CT, tmp_path / "s")
    path = store.path / file
    good = {p: p.read_bytes() for p in store.path.rglob("*.npy")}
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-1] ^= 4
    elif harm == "type":
        data[data.index(b"'<") + 1] = ord(">")
    path.write_bytes(data[:-2] if harm == "truncate" else data)
    if harm == "delete":
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 3 cases are damaged, first 'c1'"):
        Store.open(store.path)
    mended = Store.build(cohort, CT, tmp_path / "s")
    assert mended.repaired == ("c1",)
    assert "1 damaged store entries were decoded again (first: c1)" in mended.notes[-1]
    assert {p: p.read_bytes() for p in store.path.rglob("*.npy")} == good
    assert Store.build(cohort, CT, tmp_path / "s").repaired == ()


def test_reading_a_damaged_file_that_nobody_verified_is_an_error(tmp_path: Path) -> None:
    store = Store.build(synthetic_volumes(tmp_path / "in"), CT, tmp_path / "s")
    (store.path / "images" / "000002.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"000002\.npy: missing or cut short"):
        Store.open(store.path, verify=False).image("c2")


def _build(args: tuple[Cohort, Path]) -> tuple[str, bytes]:
    store = Store.build(args[0], CT, args[1])
    return str(store.path), b"".join(store.image(name).tobytes() for name in args[0].ids)


def test_processes_that_build_or_mend_the_same_ragged_store_do_not_collide(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.map(_build, [(cohort, tmp_path / "s")] * 3, chunksize=1)
        assert len(set(results)) == 1
        (Path(results[0][0]) / "images" / "000000.npy").write_bytes(b"")
        assert set(pool.map(_build, [(cohort, tmp_path / "s")] * 3, chunksize=1)) == set(results)
    Store.open(Path(results[0][0]))
    assert sorted(p.name for p in Path(results[0][0]).iterdir()) == [
        "images",
        "index.json",
        "mask-organ",
        "places-organ",
    ]


def test_a_ragged_store_travels_to_workers(tmp_path: Path) -> None:
    store = Store.build(synthetic_volumes(tmp_path / "in"), CT, tmp_path / "s")
    fresh = len(pickle.dumps(Store(store.path, store.index)))
    expected = store.image("c1")
    assert len(pickle.dumps(store)) == fresh
    assert np.array_equal(pickle.loads(pickle.dumps(store)).image("c1"), expected)


@pytest.mark.parametrize(("store_as", "dtype"), [("auto", "uint8"), ("float32", "float32"), ("float16", "float16")])
def test_pictures_of_different_size_keep_their_values(tmp_path: Path, store_as: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for i, shape in enumerate([(6, 7), (6, 7), (9, 5)]):
        image = rng.integers(1, 255, shape, dtype=np.uint8)
        np.save(tmp_path / f"{i}.npy", image)
        np.save(tmp_path / f"m{i}.npy", (image > 99).astype(np.uint8))
        target = {"organ": ImageRef(tmp_path / f"m{i}.npy")}
        cases.append(Case(id=f"c{i}", image=(ImageRef(tmp_path / f"{i}.npy"),), targets=target, group=f"p{i}"))
    store = Store.build(Cohort("x", SEGMENT, tuple(cases)), Preprocess(store_as=store_as), tmp_path / "s")
    assert store.dims == 2
    for i in range(3):
        assert np.load(store.path / f"images/00000{i}.npy").dtype == dtype
        exact = np.load(tmp_path / f"{i}.npy")[None] / np.float32(255)
        assert np.allclose(store.image(f"c{i}"), exact, atol=1e-3 if dtype == "float16" else 0, rtol=0)
        assert store.lowest(f"c{i}")[0] == store.image(f"c{i}").min()


def test_a_value_that_means_ignore_is_stored_below_0_and_has_no_place(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    meaning = (("0", 0), ("1", 1), ("2", -1))
    changed = {
        c.id: {"organ": ImageRef(c.targets["organ"].path, classes=meaning)}  # type: ignore[union-attr]
        for c in cohort.cases[:3]
    }
    plain = Store.build(cohort, CT, tmp_path / "s")
    store = Store.build(cohort.with_targets(changed), CT, tmp_path / "s")
    assert store.path != plain.path  # what values mean is part of the key
    assert set(np.unique(store.mask("c0", "organ"))) == {-1, 0, 1}
    assert set(store.places("c0", "organ")) == {1}


def test_places_are_elements_of_their_class(tmp_path: Path) -> None:
    store = Store.build(synthetic_volumes(tmp_path / "in"), CT, tmp_path / "s")
    mask = store.mask("c1", "organ").ravel()
    places = store.places("c1", "organ")
    assert {label: spots.tolist() for label, spots in places.items()} == {
        label: np.flatnonzero(mask == label).tolist() for label in (1, 2)
    }
    assert store.places("c3", "organ") == {}


def test_many_elements_are_sampled_evenly_and_repeatably() -> None:
    mask = np.zeros((60, 60, 60), np.int16)
    mask[10:50] = 1
    mask[55, 3, 4] = 7
    mask[56] = -1
    spots, counts = class_places(mask, "c0")
    assert counts == ((1, MOST_PLACES), (7, 1))
    assert np.array_equal(spots, class_places(mask, "c0")[0])
    assert not np.array_equal(spots, class_places(mask, "c1")[0])
    assert len(np.unique(spots)) == len(spots)
    assert (mask.ravel()[spots[:-1]] == 1).all()
    centre = np.stack(np.unravel_index(spots[:-1], mask.shape)).mean(axis=1)
    assert np.abs(centre - [29.5, 29.5, 29.5]).max() < 1
    nothing, none = class_places(np.zeros((3, 3), np.int16), "c0")
    assert (len(nothing), none) == (0, ())


def test_the_median_spacing_is_numbers_before_the_key(tmp_path: Path) -> None:
    spacings = [(1.0, 2.0, 0.5), (3.0, 2.0, 0.5), (2.0, 1.0, 0.7), (2.0, 2.0, 0.6)]
    cohort = synthetic_volumes(tmp_path / "in", spacings=spacings)
    median = CT.model_copy(update={"spacing": "median"})
    resolved = resolve_spacing(cohort, median)
    assert resolved.spacing == pytest.approx(tuple(np.median(spacings, axis=0)))
    store = Store.build(cohort, median, tmp_path / "s")
    assert store.index.preprocess == resolved
    assert Store.build(cohort, resolved, tmp_path / "s").path == store.path
    assert resolve_spacing(cohort, CT) == CT
    with pytest.raises(ConfigError, match="resolve_spacing"):
        prepare(read_image(cohort["c0"].image[0]), median)
    fewer = Store.build(cohort.subset(["c0", "c1"]), median, tmp_path / "s")
    assert fewer.index.preprocess.spacing == pytest.approx((2.0, 2.0, 0.5))


def test_spacing_resamples_image_and_mask_to_the_same_extent(tmp_path: Path) -> None:
    spacings = [(1.0, 2.0, 0.5), (3.0, 2.0, 0.5), (2.0, 1.0, 0.7), (2.0, 2.0, 0.6)]
    cohort = synthetic_volumes(tmp_path / "in", spacings=spacings)
    store = Store.build(cohort, CT.model_copy(update={"spacing": (2.0, 1.5, 1.0)}), tmp_path / "s")
    for name, spacing in zip(cohort.ids, spacings, strict=True):
        shape, placed = raw(cohort, name).shape[1:], store.placement(name)
        assert store.image(name).shape == (1, *placed.shape) == (1, *store.mask(name, "organ").shape)
        extent = np.multiply(shape, spacing)
        assert np.allclose(np.multiply(placed.shape, placed.spacing), extent, rtol=1e-5)
        assert np.abs(np.multiply(placed.shape, (2.0, 1.5, 1.0)) - extent).max() <= 1.0


def test_files_without_spacing_are_refused_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 6), np.float32))
    cohort = Cohort("x", SEGMENT, (Case(id="flat", image=(ImageRef(tmp_path / "a.npy"),), group="g"),))
    for spacing in ("median", (1.0, 1.0)):
        spec = Preprocess(intensity="standard", spacing=spacing)
        with pytest.raises(DataError, match=r"case 'flat'.*spacing in mm"):
            Store.build(cohort, spec, tmp_path / "s")


def test_labels_that_the_crop_cut_away_are_said(tmp_path: Path) -> None:
    image = np.zeros((6, 8, 8), np.int16)
    image[2:5, 2:6, 3:7] = 50
    mask = np.zeros((6, 8, 8), np.uint8)
    mask[2:4, 3:5, 3:5] = 1
    outside = mask.copy()
    outside[0, 0, 0] = 1
    cases = tuple(
        Case(
            id=name,
            image=(nifti(tmp_path / f"{name}.nii.gz", image),),
            targets={"organ": nifti(tmp_path / f"{name}-m.nii.gz", labels)},
            group=name,
        )
        for name, labels in (("fits", mask), ("juts", outside))
    )
    spec = Preprocess(intensity="standard", crop="foreground")
    store = Store.build(Cohort("x", SEGMENT, cases), spec, tmp_path / "s")
    assert store.shape == (1, 3, 4, 4)
    assert store.index.cropped == ("juts",)
    assert "1 cases have labels outside the foreground" in " ".join(store.notes)
    assert np.array_equal(store.placement("fits").restore(store.mask("fits", "organ")), mask)


def test_statistics_of_ragged_volumes_equal_numpys(tmp_path: Path) -> None:
    cohort = synthetic_volumes(tmp_path / "in")
    store = Store.build(cohort, CT, tmp_path / "s")
    spec = fit_statistics(store, cohort.ids[:3])
    values = np.concatenate([store.image(name).ravel() for name in cohort.ids[:3]])
    assert spec.mean[0] == pytest.approx(values.mean(), abs=1e-5)
    assert spec.std[0] == pytest.approx(values.std(), abs=1e-5)
    assert (spec.channels, spec.axes) == (1, "DHW")
