"""Feature maps: the plane, the file, and what stands beside them, on synthetic features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from allograft.study.domain_gap import Mapped
from allograft.study.feature_map import FeatureMap, mapped, plane, read_map, write_map
from allograft.study.feature_maps import _mmd, _told
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore


def test_the_plane_is_that_of_principal_components_up_to_signs() -> None:
    features = np.random.default_rng(0).normal(size=(30, 7)) * np.arange(1, 8)
    found, expected = plane(features), PCA(2).fit_transform(features)
    assert np.abs(found) == pytest.approx(np.abs(expected))
    assert plane(features + 5) == pytest.approx(found)
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()
    assert plane(-features) == pytest.approx(plane(features))  # signs of components do not decide the picture


def test_features_that_do_not_vary_lie_in_one_point() -> None:
    assert plane(np.ones((5, 1))) == pytest.approx(np.zeros((5, 2)))


def test_a_map_comes_back_from_disk_of_the_first_fold_and_seed(tmp_path: Path) -> None:
    store, keys = RunStore(tmp_path), []
    for seed in (1, 0):
        key = RunKey(id=f"run{seed}", recipe="a", dataset="d", fold=0, seed=seed, label_fraction=1.0)
        keys.append(key)
        points = FeatureMap(("c1", "c2"), ("A", "B"), ("source", "target"), ("x", ""), np.eye(2), seed + np.eye(2))
        store.run_folder(key.id).mkdir(parents=True)
        numbers = Mapped(recipe="", run="", file=Path(), told_before=0.5, mmd_after=-0.01)
        write_map(store.run_folder(key.id), points, numbers)
    (found,) = mapped(store, keys)
    assert (found.recipe, found.run, found.told_before, found.told_after, found.mmd_after) == (
        "a",
        "run0",
        0.5,
        None,
        -0.01,
    )
    back = read_map(found.file)
    assert back[:4] == points[:4]
    assert back.after == pytest.approx(np.eye(2))


def test_domains_that_lie_apart_are_told_apart_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    target, groups = np.arange(80) % 2 == 1, [f"p{i // 4}" for i in range(80)]
    same = rng.normal(size=(80, 6)).astype(np.float32)
    apart = same + 3 * target[:, None].astype(np.float32)
    told, untold = _told(apart, target, groups), _told(same, target, groups)
    assert told is not None
    assert untold is not None
    assert told > 0.95
    assert untold < 0.7
    far, near = _mmd(apart, target), _mmd(same, target)
    assert far is not None
    assert near is not None
    assert far > 0.5
    assert abs(near) < 0.05


def test_too_few_units_give_no_number() -> None:
    target = np.array([True, False, True, False])
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert _told(features, target, ["p"] * 4) is None
    assert _mmd(features[:2], target[:2]) is None
