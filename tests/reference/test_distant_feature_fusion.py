"""Distant feature fusion: terms typed out, limits, no distant label is read, and the mechanism acts; synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.catalog import parts
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.mmd import multi_kernel_mmd
from allograft.nets.build import build_network
from allograft.nets.decoders.reconstruction import Reconstruction
from allograft.nets.spec import Bag, NetSpec
from allograft.objectives.distant_feature_fusion import DistantFeatureFusion
from allograft.objectives.supervised import Supervised
from two_domain_loop import AT, EVERY, assert_resumes, built, domains, loss_of, train
from two_stream_loop import assert_same, tiny

SUPERVISED = DistantFeatureFusion(reconstruction=0, alignment=0, ramp=0)
AUTOENCODER = DistantFeatureFusion(alignment=0, labels=0)


def batches(dims: int, task: Task, step: int = 0) -> dict[str, Batch]:
    """Return the labelled target and distant images of another contrast with NaN for targets."""
    found = domains(dims, task, step=step)
    return {"train": found["source"], "unlabelled": found["target"]}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_equals_the_sum_of_its_terms_typed_out(dims: int, kind: Any, joint: bool) -> None:
    net, task = tiny(dims, kind)
    batch = batches(dims, task)
    objective = DistantFeatureFusion(reconstruction=0.5, alignment=2, labels=3, joint_norm=joint)
    criterion = built(objective, net, task)
    loss = loss_of(criterion, net, batch, AT)
    target, distant = batch["train"].image, batch["unlabelled"].image
    net.eval()
    if joint:
        net.train()
        out = net(torch.cat([target, distant]))
        logits, pooled, levels = out.logits["label"][:6], (out.pooled[:6], out.pooled[6:]), out.levels[-1]
        levels = (levels[:6], levels[6:])
    else:
        net.train()
        outs = net(target), net(distant)
        logits, pooled, levels = outs[0].logits["label"], [o.pooled for o in outs], [o.levels[-1] for o in outs]
    squares = 0.0
    for level, image in zip(levels, (target, distant), strict=True):
        made = criterion.rebuild.out(criterion.rebuild.up((level,)))
        squares += float((made - image).square().flatten(1).mean(1).sum().detach())
    plain = built(Supervised(), net, task).loss(
        outs[0] if not joint else out._replace(logits={"label": logits}), batch["train"]
    )
    ramp = 2.718281828459045 ** (-5 * 0.25)
    mmd = float(multi_kernel_mmd(pooled[1], pooled[0]).detach())
    want = 0.5 * squares / 10 + 2 * ramp * mmd + 3 * ramp * float(plain.total.detach())
    assert float(loss.total.detach()) == pytest.approx(want, rel=1e-4)
    assert set(loss.parts) == {"task", "reconstruction", "mmd"}


def test_without_alignment_and_labels_it_is_an_autoencoder_and_the_head_stands_still() -> None:
    net, task = tiny(2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batch = batches(2, task)
    loss = loss_of(built(AUTOENCODER, net, task), net, batch)
    assert set(loss.parts) == {"reconstruction"}
    blind = {**batch, "train": Batch(image=batch["train"].image, ids=batch["train"].ids)}
    assert torch.equal(loss.total, loss_of(built(AUTOENCODER, net, task), net, blind).total), (
        "the target's labels count"
    )
    train(AUTOENCODER, net, task)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("encoder") for name in moved)
    assert not any(name.startswith("heads") for name in moved)


def test_with_labels_only_it_is_supervised_training_bit_for_bit() -> None:
    for dims, kind in ((2, "multiclass"), (3, "segmentation")):
        (one, task), (two, _), (three, _) = (tiny(dims, kind, dropout=0.2) for _ in range(3))
        train(SUPERVISED, one, task)
        train(Supervised(), two, task)
        assert_same(one, two)
        train(DistantFeatureFusion(), three, task)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_no_distant_label_is_read(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    objective = DistantFeatureFusion(on=("chest", "cats"))
    assert [spec.labelled for spec in objective.streams().values()] == [True, False, False]
    batch = batches(dims, task)
    poisoned = {"train": batch["train"], "chest": batch["unlabelled"], "cats": batch["unlabelled"]}
    bare = {name: Batch(image=b.image, ids=b.ids) if name != "train" else b for name, b in poisoned.items()}
    criterion = built(objective, net, task)
    found = loss_of(criterion, net, poisoned).total
    assert bool(found.isfinite())
    assert torch.equal(found, loss_of(criterion, net, bare).total)


def test_the_mechanism_acts_images_are_rebuilt_and_features_come_together() -> None:
    found = {}
    for alignment in (0.0, 1.0):
        net, task = tiny(2)
        objective = DistantFeatureFusion(alignment=alignment, ramp=0, joint_norm=True, width=16)
        first = loss_of(built(objective, net, task), net, batches(2, task, 99)).parts
        criterion = train(objective, net, task, steps=40)
        last = loss_of(criterion, net, batches(2, task, 99)).parts
        assert float(last["reconstruction"]) < 0.9 * float(first["reconstruction"])
        net.eval()
        with torch.no_grad():
            pooled = [net(part.image).pooled for part in batches(2, task, 99).values()]
        found[alignment] = float(multi_kernel_mmd(*pooled))
    assert found[1.0] < 0.5 * found[0.0]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_reduced_u_net_is_an_encoder_of_the_house(dims: int) -> None:
    """Three levels of 16, 32, 64; what rebuilds images sees the deepest alone, whatever the image's size."""
    task = Task(kind="binary", classes=("no", "covid"))
    spec = NetSpec(encoder="genesis", until="stage2", width=0.25, dims=dims)
    net = build_network(spec, {"label": task}, in_channels=1, seed=0, parts=parts(spec))
    assert net.shape.channels == (16, 32, 64)
    image = torch.randn(2, 1, *[8] * dims)
    rebuild = built(DistantFeatureFusion(), net, task).rebuild
    assert rebuild(net.encode(image), image).shape == image.shape
    assert rebuild.up.kept == (0,), "there is one level to go by: nothing is copied past the bottleneck"
    masks = NetSpec(encoder="genesis", until="stage2", width=0.25, dims=dims, decoder="unet")
    lung = Task(kind="segmentation", classes=("rest", "lung"))
    net = build_network(masks, {"label": lung}, in_channels=1, seed=0, parts=parts(masks))
    assert net(image).logits["label"].shape == (2, 2, *[8] * dims)


def test_sizes_that_no_stride_divides_are_cut_and_bags_refused() -> None:
    net, _ = tiny(2)
    rebuild = Reconstruction(net.shape, most=8)
    image = torch.randn(2, 3, 7, 9)
    assert rebuild(net.encode(image), image).shape == image.shape
    spec = NetSpec(encoder="cbr_tiny", width=0.125, pool="mean", bag=Bag(of="tiles", size=16))
    task = Task(kind="binary", classes=("no", "yes"))
    bags = build_network(spec, {"label": task}, in_channels=1, seed=0, parts=parts(spec))
    with pytest.raises(ConfigError, match="instances"):
        built(DistantFeatureFusion(), bags, task)


def test_settings_that_do_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing would be learnt"):
        DistantFeatureFusion(reconstruction=0, alignment=0, labels=0)
    for on in ((), ("train",), ("cats", "cats")):
        with pytest.raises(ValueError, match=r"on|at least 1"):
            DistantFeatureFusion(on=on)


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(DistantFeatureFusion(), tmp_path)
