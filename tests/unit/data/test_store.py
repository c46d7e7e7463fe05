from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.content import file_hashes
from allograft.data.normalise import fit_statistics
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store

TASK = Task(kind="binary", classes=("no", "yes"))


def synthetic_cohort(folder: Path, count: int = 6, shape: tuple[int, ...] = (8, 10), dtype: Any = np.uint8) -> Cohort:
    """One .npz of `count` synthetic images, one case a row."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(1).integers(2, 255, (count, *shape)).astype(dtype)
    np.savez(folder / "synthetic.npz", images=images)
    _age(folder / "synthetic.npz")
    return Cohort(
        "synthetic",
        TASK,
        tuple(
            Case(
                id=f"c{i}",
                image=(ImageRef(folder / "synthetic.npz", "images", i),),
                targets={"label": i % 2},
                group=f"p{i}",
            )
            for i in range(count)
        ),
    )


def _age(path: Path) -> None:
    """Make a file look an hour old, so that its hash may be remembered."""
    os.utime(path, (time.time() - 3600,) * 2)


@pytest.mark.parametrize("shape", [(8, 10), (6, 8, 7)])
def test_rows_are_the_prepared_images_in_the_asked_order(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cohort = synthetic_cohort(tmp_path / "in", shape=shape)
    store = Store.build(cohort, Preprocess(), tmp_path / "stores")
    raw = np.load(tmp_path / "in" / "synthetic.npz")["images"]
    rows = store.rows(["c4", "c0", "c4"])
    assert rows.dtype == np.float32
    assert np.array_equal(rows, (raw[[4, 0, 4]].astype(np.float32) / np.float32(255))[:, None])
    assert store.shape == (1, *shape)
    assert store.space == "unit"
    assert store.path.parent == tmp_path / "stores"


def test_bytes_are_stored_as_bytes_only_where_that_is_exact(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    kinds = {
        "uint8": Preprocess(),
        "float32": Preprocess(size=(5, 5)),
        "float16": Preprocess(intensity="standard", store_as="float16"),
    }
    for kind, spec in kinds.items():
        store = Store.build(cohort, spec, tmp_path / "stores")
        assert np.load(store.path / "images.npy", mmap_mode="r").dtype == kind
        exact = Store.build(cohort, spec.model_copy(update={"store_as": "float32"}), tmp_path / "stores").rows(
            cohort.ids
        )
        assert np.allclose(store.rows(cohort.ids), exact, atol=2e-3)
        assert kind == "float16" or np.array_equal(store.rows(cohort.ids), exact)


def test_building_twice_decodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = synthetic_cohort(tmp_path)
    seen: list[tuple[int, int]] = []
    first = Store.build(cohort, Preprocess(), tmp_path / "s", progress=lambda *x: seen.append(x))
    assert seen == [(i + 1, 6) for i in range(6)]
    monkeypatch.setattr("allograft.data.store.write_store", lambda *_, **__: pytest.fail("decoded again"))
    again = Store.build(cohort, Preprocess(), tmp_path / "s")
    assert again.path == first.path
    assert again.repaired == ()


def test_the_npz_is_unpacked_once_and_not_once_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from allograft.data.io import array

    unpack, calls = array._unpack, []
    monkeypatch.setattr(array, "_unpack", lambda *a: calls.append(a) or unpack(*a))
    Store.build(synthetic_cohort(tmp_path / "fresh", count=20), Preprocess(), tmp_path / "s")
    assert len(calls) == 1


def test_another_content_setting_or_list_of_cases_is_another_store(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    paths = {Store.build(cohort, Preprocess(), tmp_path / "s").path}
    paths.add(Store.build(cohort, Preprocess(size=(4, 4)), tmp_path / "s").path)
    paths.add(Store.build(cohort.subset(["c1", "c2"]), Preprocess(), tmp_path / "s").path)
    file = tmp_path / "synthetic.npz"
    images = np.load(file)["images"]
    images[3, 0, 0] ^= 1
    np.savez(file, images=images)
    changed = Store.build(cohort, Preprocess(), tmp_path / "s")
    assert changed.path not in paths
    assert len(paths) == 3
    assert np.array_equal(changed.rows(["c3"])[0, 0], images[3].astype(np.float32) / np.float32(255))


def test_labels_are_not_part_of_the_key(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    first = Store.build(cohort, Preprocess(), tmp_path / "s")
    relabelled = cohort.with_targets({"c0": {"label": 1}, "c1": {}})
    assert Store.build(relabelled, Preprocess(), tmp_path / "s").path == first.path


def _flip_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_a_damaged_row_is_found_mended_and_named(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    store = Store.build(cohort, Preprocess(), tmp_path / "s")
    good = store.rows(cohort.ids).copy()
    _flip_bit(store.path / "images.npy", -100)  # the row before the last: rows hold 80 bytes
    with pytest.raises(DataError, match=r"1 of 6 cases are damaged, first 'c4'"):
        Store.open(store.path)
    mended = Store.build(cohort, Preprocess(), tmp_path / "s")
    assert mended.repaired == ("c4",)
    assert "c4" in mended.notes[-1]
    assert np.array_equal(mended.rows(cohort.ids), good)
    assert Store.build(cohort, Preprocess(), tmp_path / "s").repaired == ()
    assert sorted(p.name for p in store.path.iterdir()) == ["images.npy", "index.json"]


@pytest.mark.parametrize("harm", ["truncate", "no array", "no index", "bad index", "other checksum"])
def test_a_store_that_cannot_be_read_is_built_anew_and_it_is_said(tmp_path: Path, harm: str) -> None:
    cohort = synthetic_cohort(tmp_path)
    store = Store.build(cohort, Preprocess(), tmp_path / "s")
    good = store.rows(cohort.ids).copy()
    images, index = store.path / "images.npy", store.path / "index.json"
    if harm == "truncate":
        images.write_bytes(images.read_bytes()[:-10])
    elif harm == "no array":
        images.unlink()
    elif harm == "no index":
        index.unlink()
    elif harm == "bad index":
        index.write_text(index.read_text()[:-5])
    else:
        data = json.loads(index.read_text())
        data["checksums"]["images.npy"][2] = "0" * 64
        index.write_text(json.dumps(data))
    with pytest.raises(DataError):
        Store.open(store.path)
    again = Store.build(cohort, Preprocess(), tmp_path / "s")
    assert set(again.repaired) == set(cohort.ids)
    assert np.array_equal(again.rows(cohort.ids), good)
    Store.open(again.path)


def test_an_interrupted_build_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store.build(cohort, Preprocess(), tmp_path / "s", progress=stop)
    assert [p for p in (tmp_path / "s").iterdir() if p.is_dir()] == []


def _build(args: tuple[Cohort, Path]) -> tuple[str, bytes]:
    store = Store.build(args[0], Preprocess(), args[1])
    return str(store.path), store.rows(args[0].ids).tobytes()


def test_processes_that_build_the_same_store_do_not_collide(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path, count=40)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.map(_build, [(cohort, tmp_path / "s")] * 3, chunksize=1)
    assert len(set(results)) == 1
    Store.open(Path(results[0][0]))
    assert len([p for p in (tmp_path / "s").iterdir() if p.is_dir()]) == 1


def test_a_store_travels_to_workers(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    store = Store.build(cohort, Preprocess(), tmp_path / "s")
    sent = pickle.dumps(Store(store.path, store.index))
    assert np.array_equal(pickle.loads(sent).rows(["c1"]), store.rows(["c1"]))
    store.rows(["c1"])  # with the array mapped it must still be small
    assert len(pickle.dumps(store)) == len(sent)


def test_images_of_different_shape_are_refused_by_name(tmp_path: Path) -> None:
    small = synthetic_cohort(tmp_path / "a", count=2)
    large = synthetic_cohort(tmp_path / "b", count=1, shape=(9, 10))
    odd = Case(id="odd", image=large.cases[0].image, group="q")
    both = Cohort("both", TASK, (*small.cases, odd))
    with pytest.raises(DataError, match=r"case 'odd'.*\(1, 9, 10\) differs from \(1, 8, 10\).*preprocess.size"):
        Store.build(both, Preprocess(), tmp_path / "s")
    assert Store.build(both, Preprocess(size=(6, 6)), tmp_path / "s").shape == (1, 6, 6)


def test_missing_and_damaged_files_are_named_with_their_case(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    gone = Case(id="gone", image=(ImageRef(tmp_path / "no.png"),), group="q")
    with pytest.raises(DataError, match=r"case 'gone'.*no\.png"):
        Store.build(Cohort("x", TASK, (*cohort.cases, gone)), Preprocess(), tmp_path / "s")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    cut = Case(id="cut", image=(ImageRef(tmp_path / "cut.png"),), group="q")
    with pytest.raises(DataError, match=r"case 'cut'.*cut\.png"):
        Store.build(Cohort("x", TASK, (*cohort.cases, cut)), Preprocess(), tmp_path / "s")
    with pytest.raises(DataError, match="no cases"):
        Store.build(Cohort("x", TASK, ()), Preprocess(), tmp_path / "s")
    with pytest.raises(DataError, match="no case 'zz'"):
        Store.build(cohort, Preprocess(), tmp_path / "s").rows(["zz"])


def test_a_constant_image_is_reported(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 6, 6), dtype=np.uint8)
    images[1] = 77
    np.save(tmp_path / "synthetic.npy", images)
    refs = [ImageRef(tmp_path / "synthetic.npy", row=i) for i in range(3)]
    cohort = Cohort("x", TASK, tuple(Case(id=f"c{i}", image=(ref,), group="g") for i, ref in enumerate(refs)))
    store = Store.build(cohort, Preprocess(intensity="standard"), tmp_path / "s")
    assert store.index.constant == ("c1",)
    assert not store.rows(["c1"]).any()
    assert "1 images hold one constant value" in store.notes[0]


def test_channel_files_are_stacked_and_masks_follow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for i in range(3):
        for name in ("t1", "t2"):
            np.save(tmp_path / f"{name}-{i}.npy", rng.normal(size=(6, 8, 7)).astype(np.float32))
        mask = (rng.random((6, 8, 7)) > 0.5).astype(np.uint8) * 2
        np.save(tmp_path / f"m-{i}.npy", mask)
        targets = {"lesion": ImageRef(tmp_path / f"m-{i}.npy")} if i < 2 else {}
        refs = (ImageRef(tmp_path / f"t1-{i}.npy"), ImageRef(tmp_path / f"t2-{i}.npy"))
        cases.append(Case(id=f"c{i}", image=refs, targets=targets, group=f"p{i}"))
    task = Task(kind="segmentation", classes=("back", "a", "b"), head="lesion")
    cohort = Cohort("synthetic", task, tuple(cases))
    store = Store.build(cohort, Preprocess(intensity="standard"), tmp_path / "s")
    assert store.shape == (2, 6, 8, 7)
    assert np.array_equal(store.masks(["c1"], "lesion")[0], np.load(tmp_path / "m-1.npy"))
    assert not store.masks(["c2"], "lesion").any()
    _flip_bit(store.path / "mask-lesion.npy", 400)
    assert Store.build(cohort, Preprocess(intensity="standard"), tmp_path / "s").repaired == ("c0",)
    np.save(tmp_path / "m-1.npy", np.zeros((6, 8, 6), np.uint8))
    with pytest.raises(DataError, match=r"case 'c1'.*mask grid \(6, 8, 6\) differs from image grid"):
        Store.build(cohort, Preprocess(intensity="standard"), tmp_path / "s")


def test_file_hashes_are_remembered_and_follow_content(tmp_path: Path) -> None:
    a, b, kept = tmp_path / "a", tmp_path / "b", tmp_path / "kept.json"
    a.write_bytes(b"one")
    b.write_bytes(b"one")
    _age(a)
    first = file_hashes([a, b, tmp_path], kept)
    assert first[a] == first[b] != first[tmp_path]
    assert len(json.loads(kept.read_text())) == 1  # b is too young to be remembered
    b.write_bytes(b"two")
    assert file_hashes([b], kept)[b] != first[b]
    kept.write_text("{damaged")
    assert file_hashes([a], kept)[a] == first[a]


def test_statistics_equal_numpys_and_use_only_the_named_cases(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path, count=70)
    store = Store.build(cohort, Preprocess(), tmp_path / "s")
    spec = fit_statistics(store, cohort.ids[:66])
    rows = store.rows(cohort.ids[:66])
    assert np.isclose(spec.mean[0], rows.mean(), atol=1e-6)
    assert np.isclose(spec.std[0], rows.std(), atol=1e-6)
    assert spec != fit_statistics(store, cohort.ids[:65])
    assert (spec.channels, spec.axes) == (1, "HW")
    with pytest.raises(DataError, match="at least one training case"):
        fit_statistics(store, [])
