"""Measures of a pretext stage: retrieval of views, spread, and that looking changes nothing. All data are synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from allograft.core.errors import DataError
from allograft.nets.network import Network
from allograft.objectives.masked_autoencoder import MaskedAutoencoder
from allograft.objectives.pretext import IMAGES
from allograft.objectives.simclr import SimCLR
from allograft.study.pretext_pictures import draw_pretext
from allograft.study.pretext_stage import COLLAPSED, PICTURES, read_pictures
from allograft.study.pretext_watch import PretextWatch, retrieval, spread
from two_view_material import built, two_looks

RNG = np.random.default_rng


def by_loops(a: Any, b: Any, groups: list[str]) -> tuple[float, float]:
    """Nearest neighbours typed out: each view asks its partner and the views of other patients."""
    views = [(i, v / np.linalg.norm(v)) for v_all in (a, b) for i, v in enumerate(v_all)]
    right, chance = [], []
    for k, (i, view) in enumerate(views):
        asked = [
            (float(view @ other), j == i)
            for m, (j, other) in enumerate(views)
            if m != k and (j == i or groups[j] != groups[i])
        ]
        right.append(max(asked)[1])
        chance.append(1 / len(asked))
    return float(np.mean(right)), float(np.mean(chance))


def test_retrieval_on_synthetic_features_equals_loops() -> None:
    for seed in range(5):
        a = RNG(seed).normal(size=(12, 3))
        b = a + RNG(seed + 100).normal(size=a.shape)
        groups = [f"p{k // 2}" for k in range(12)]
        assert_allclose(retrieval(a, b, groups), by_loops(a, b, groups))


def test_synthetic_views_that_are_equal_find_each_other_and_strangers_do_not() -> None:
    a = RNG(0).normal(size=(40, 16))
    alone = [str(k) for k in range(40)]
    assert retrieval(a, a, alone) == pytest.approx((1.0, 1 / 79))
    found = retrieval(a, RNG(1).normal(size=a.shape), alone)
    assert found is not None
    assert found[0] < 0.15


def test_chance_of_synthetic_patients_is_the_closed_form() -> None:
    a, b = RNG(0).normal(size=(6, 4)), RNG(1).normal(size=(6, 4))
    found = retrieval(a, b, ["p", "p", "p", "q", "q", "r"])
    assert found is not None
    assert found[1] == pytest.approx((3 / (1 + 2 * 3) + 2 / (1 + 2 * 4) + 1 / (1 + 2 * 5)) / 6)


def test_further_images_of_a_synthetic_patient_count_neither_way() -> None:
    """Two images of p are the same: nearer to each other than to their own views, and still nothing is missed."""
    a = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    b = np.array([[1.0, 0.2, 0.0], [1.0, 0.0, 0.2], [0.0, 1.0, 0.1]])
    apart = retrieval(a, b, ["p", "p", "q"])
    assert apart is not None
    assert apart[0] == 1
    strangers = retrieval(a, b, ["p", "o", "q"])
    assert strangers is not None
    assert strangers[0] < 1


def test_retrieval_does_not_change_by_turns_scales_order_or_which_view_is_first() -> None:
    a = RNG(0).normal(size=(20, 5))
    b = a + RNG(1).normal(size=a.shape)
    groups = [f"p{k // 3}" for k in range(20)]
    turn, _ = np.linalg.qr(RNG(2).normal(size=(5, 5)))
    scales, order = RNG(3).uniform(0.1, 9, size=(20, 1)), RNG(4).permutation(20)
    found = retrieval(a, b, groups)
    assert found is not None
    assert_allclose(retrieval(a @ turn * scales, b @ turn, groups), found)
    assert_allclose(retrieval(b, a, groups), found)
    assert_allclose(retrieval(a[order], b[order], [groups[k] for k in order]), found)


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_collapsed_synthetic_features_give_chance_exactly(value: float) -> None:
    same, alone = np.full((33, 65), value), [str(k) for k in range(33)]
    found = retrieval(same, same, alone)
    assert found is not None
    assert found[0] == pytest.approx(found[1])
    assert spread(same) < 1e-9


def test_one_patient_alone_has_nobody_to_be_told_from() -> None:
    a = RNG(0).normal(size=(4, 3))
    assert retrieval(a, a, ["p"] * 4) is None


def watch(batch: Mapping[str, Any]) -> PretextWatch:
    """A watch whose streams give one synthetic batch; features are those of its images."""
    streams = SimpleNamespace(at=lambda step: batch, sources={})
    image = batch[IMAGES].image

    def features(net: Network, *rest: Any) -> Any:
        was = net.training
        with torch.no_grad():
            found = net.eval().encode(image)[-1].flatten(2).mean(2).numpy()
        net.train(was)
        return found

    cases = cast("Any", _Cases(len(image)))
    pool = SimpleNamespace(task=SimpleNamespace(kind="segmentation", head="mask"), features=features)
    return PretextWatch(pool=cast("Any", pool), device=cast("Any", None), streams=cast("Any", streams), cases=cases)


class _Cases:
    """Stands for a cohort."""

    def __init__(self, count: int) -> None:
        self.ids = tuple(str(k) for k in range(count))

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, ids: Any) -> _Cases:
        return self


@pytest.mark.parametrize("dims", [2, 3])
def test_a_look_at_synthetic_images_measures_views_and_changes_nothing(dims: int) -> None:
    nets, criterion = built(SimCLR(hidden=8, output=4), dims)
    nets["net"].train()
    before = {k: v.clone() for k, v in nets["net"].state_dict().items()}
    state = torch.random.get_rng_state()
    found = watch({IMAGES: two_looks(8, dims)}).look(nets, criterion)
    assert {"retrieval", "retrieval_chance", "alignment", "spread", "held_out_loss"} <= set(found)
    assert found["retrieval_chance"] == pytest.approx(1 / (1 + 2 * 24))  # 4 batches of 8, the same 4 patients in each
    assert nets["net"].training
    assert torch.equal(state, torch.random.get_rng_state())
    for name, tensor in nets["net"].state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_without_views_of_synthetic_images_there_is_no_retrieval() -> None:
    nets, _ = built(SimCLR(hidden=8, output=4), 2)
    two, one = watch({IMAGES: two_looks(8, 2)}), watch({IMAGES: replace(two_looks(8, 2), views=())})
    assert "retrieval" in two._views(nets["net"], two.batches(nets["net"]))
    assert one._views(nets["net"], one.batches(nets["net"])) == {}


def test_a_collapsed_encoder_of_synthetic_images_is_seen() -> None:
    nets, criterion = built(SimCLR(hidden=8, output=4), 2)
    batch = {IMAGES: two_looks(8, 2)}
    sound = watch(batch).look(nets, criterion)
    assert sound["retrieval"] > 3 * sound["retrieval_chance"]
    last = [p for p in nets["net"].encoder.parameters() if p.ndim > 1][-1]
    with torch.no_grad():
        last.zero_()
    fallen = watch(batch).look(nets, criterion)
    assert fallen["spread"] < COLLAPSED < sound["spread"]
    assert fallen["retrieval"] == pytest.approx(fallen["retrieval_chance"])


@pytest.mark.parametrize("dims", [2, 3])
def test_pictures_of_synthetic_views_stand_in_order_and_volumes_are_turned(tmp_path: Path, dims: int) -> None:
    nets, criterion = built(SimCLR(hidden=8, output=4), dims)
    batch = {IMAGES: two_looks(8, dims)}
    draw_pretext(tmp_path / "plain", criterion, nets, batch)
    draw_pretext(tmp_path / "turned", criterion, nets, batch, front_up=True)
    plain, turned = (read_pictures(tmp_path / name / PICTURES) for name in ("plain", "turned"))
    image = batch[IMAGES].image
    assert isinstance(image, torch.Tensor)
    first = image[:4].mean(1)
    assert list(plain) == ["one view", "other view"]
    assert_allclose(plain["one view"], (first[:, 4] if dims == 3 else first).numpy(), rtol=1e-6)
    way = -1 if dims == 3 else 1
    assert_allclose(turned["one view"], plain["one view"][:, ::way, ::way])


def test_drawing_restored_synthetic_images_moves_no_running_statistics(tmp_path: Path) -> None:
    nets, criterion = built(MaskedAutoencoder(width=8), 2)
    nets["net"].train()
    before = {k: v.clone() for k, v in nets["net"].state_dict().items()}
    assert any("running_mean" in name for name in before)
    draw_pretext(tmp_path, criterion, nets, {IMAGES: two_looks(8, 2)})
    assert list(read_pictures(tmp_path / PICTURES)) == ["image", "seen", "restored"]
    for name, tensor in nets["net"].state_dict().items():
        assert torch.equal(before[name], tensor), name
    assert nets["net"].training


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="no readable pictures"):
        read_pictures(tmp_path / PICTURES)
