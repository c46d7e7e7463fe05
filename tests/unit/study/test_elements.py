"""Elements of synthetic volumes: the encoder's features there, classes in balance, no label of cases without one."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from allograft.catalog import parts
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.metrics import METRICS
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.study.elements import Draw, draw_elements
from allograft.study.pool import Pool
from allograft.train.device import Device

TASK = Task(kind="segmentation", classes=("background", "a", "b"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder, rng, cases = tmp_path_factory.mktemp("elements"), np.random.default_rng(0), []
    for i in range(3):
        image, mask = rng.normal(size=(9, 10, 8)).astype(np.float32), np.zeros((9, 10, 8), np.uint8)
        mask[1:6, 2:7, 1:7], mask[7, 1:3, 1:3] = 1, 2
        for name, array in (("i", image), ("m", mask)):
            nibabel.save(nibabel.Nifti1Image(array.T.copy(), np.eye(4)), folder / f"{name}{i}.nii.gz")
        target = {TASK.head: ImageRef(folder / f"m{i}.nii.gz")}
        cases.append(Case(id=f"c{i}", image=(ImageRef(folder / f"i{i}.nii.gz"),), targets=target, group=f"p{i}"))
    cohort = Cohort("synthetic", TASK, tuple(cases))
    return Pool(
        whole=cohort,
        store=Store.build(cohort, Preprocess(intensity="standard"), folder / "store"),
        normalise=Normaliser(),
        metric=METRICS[TASK.primary_metric],
        patches=Patches(size=(8, 8, 8)),
    )


def network(encoder: str = "voxel_features:1") -> Network:
    spec = NetSpec(encoder=encoder, decoder="same", dims=3, anchors=1)
    return build_network(spec, {TASK.head: TASK}, in_channels=1, seed=0, parts=parts(spec))


def test_features_are_those_of_the_whole_image_and_classes_are_balanced(pool: Pool) -> None:
    net = network()
    found = draw_elements(net, pool, pool.whole, Device.resolve(), Draw(12, seed=1))
    assert np.bincount(found.cases).tolist() == [12, 12, 12]
    assert np.bincount(found.labels[found.cases == 0]).tolist() == [4, 4, 4]
    image, mask = pool.store.image("c0"), pool.store.mask("c0", TASK.head).ravel()
    whole = net.encode(torch.from_numpy(image)[None])[-1][0].flatten(1).T.numpy()
    for row, label in zip(found.features[:12], found.labels[:12], strict=True):
        at = np.flatnonzero(np.abs(whole - row).max(axis=1) < 1e-6)
        assert mask[at].tolist() == [label]
    rare = draw_elements(net, pool, pool.whole, Device.resolve(), Draw(30))
    assert np.bincount(rare.labels[rare.cases == 0]).tolist() == [10, 10, 4]  # no more than there are


def test_cases_without_labels_are_drawn_alike_and_their_masks_are_never_opened(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(*_: object) -> None:
        raise AssertionError("the mask of a case without a label was read")

    bare = pool.whole.without_targets()
    monkeypatch.setattr(Store, "mask", poisoned)
    monkeypatch.setattr(Store, "places", poisoned)
    found = draw_elements(network(), pool, bare, Device.resolve(), Draw(400))
    assert (found.labels == -1).all()
    assert np.bincount(found.cases).tolist() == [400, 400, 400]
    with pytest.raises(AssertionError, match="was read"):
        draw_elements(network(), pool, pool.whole, Device.resolve(), Draw(4))


def test_a_draw_depends_on_seed_and_case_alone(pool: Pool) -> None:
    def drawn(cohort: Cohort, seed: int) -> np.ndarray:
        return draw_elements(network(), pool, cohort, Device.resolve(), Draw(9, seed=seed)).features

    whole = drawn(pool.whole, 0)
    assert np.array_equal(whole, drawn(pool.whole, 0))
    assert np.array_equal(whole[9:18], drawn(pool.whole.subset(["c1"]), 0))
    assert not np.array_equal(whole, drawn(pool.whole, 1))


def test_positions_are_refused_where_a_window_is_not_the_image(pool: Pool) -> None:
    net = network("voxel_features_position:1")
    with pytest.raises(ConfigError, match=r"windows are \(8, 8, 8\)"):
        draw_elements(net, pool, pool.whole, Device.resolve(), Draw(4))
    alike = replace(pool, patches=Patches(size=pool.store.placement("c0").shape))
    found = draw_elements(net, alike, pool.whole, Device.resolve(), Draw(4))
    assert (np.abs(found.features[:, -3:]) < 1).all()
    mirrored = replace(pool, patches=Patches(size=pool.store.placement("c0").shape, mirror=(0,)))
    with pytest.raises(ConfigError, match="mirrored"):
        draw_elements(net, mirrored, pool.whole, Device.resolve(), Draw(4))


def test_coarse_levels_and_other_tasks_are_refused(pool: Pool) -> None:
    spec = NetSpec(encoder="resnet10_small", dims=3, width=0.0625, decoder="unet")
    coarse = build_network(spec, {TASK.head: TASK}, in_channels=1, seed=0, parts=parts(spec))
    with pytest.raises(ConfigError, match="keeps the image's grid"):
        draw_elements(coarse, pool, pool.whole, Device.resolve(), Draw(4))
    with pytest.raises(ConfigError, match="drawn in a segmentation"):
        draw_elements(network(), replace(pool, patches=None), pool.whole, Device.resolve(), Draw(4))
