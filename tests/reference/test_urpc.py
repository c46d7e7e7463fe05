"""URPC: the term typed out in numpy, 0 where scales agree, weight 0, and which scales learn; on synthetic batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cotrain_material import assert_is_supervised, batches, built, differs, loss_of, networks

from allograft import catalog
from allograft.core.errors import ConfigError
from allograft.nets.build import build_network
from allograft.nets.network import Pyramid
from allograft.nets.spec import NetSpec
from allograft.objectives.supervised import Supervised
from allograft.objectives.urpc import URPC, pyramid_consistency
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task


def typed(probabilities):
    """Return the term of methods 17.2 for arrays (B, L, ...), one of each scale."""
    mean, out = np.mean(probabilities, axis=0), []
    for p in probabilities:
        v = (mean * np.log(mean / p)).sum(1, keepdims=True)
        out.append(((mean - p) ** 2 * np.exp(-v)).mean() / (np.exp(-v).mean() + 1e-8) + v.mean())
    return float(np.mean(out))


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 8, 8), (2, 2, 4, 4, 4)])
def test_equals_the_term_typed_in_numpy(shape):
    draws = np.random.default_rng(0)
    logits = [torch.from_numpy(draws.normal(size=shape)) for _ in range(4)]
    found = pyramid_consistency([one.log_softmax(1) for one in logits])
    assert abs(float(found) - typed([one.softmax(1).numpy() for one in logits])) < 1e-12
    assert found > 0


def test_is_zero_where_all_scales_agree_and_stays_finite_where_they_are_sure():
    same = torch.randn(2, 3, 8, 8, dtype=torch.float64).log_softmax(1)
    assert abs(float(pyramid_consistency([same] * 4))) < 1e-12
    sure = [torch.tensor([[0.0, 200.0]]).log_softmax(1), torch.tensor([[200.0, 0.0]]).log_softmax(1)]
    assert torch.isfinite(pyramid_consistency(sure))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_equals_the_loss_typed_out_without_perturbation(dims, kind):
    nets, batch = networks(dims, kind), batches(dims, kind)
    criterion = built(URPC(weight=0.6, perturb=False), nets, tiny_task(kind))
    found = loss_of(criterion, nets, batch)

    def said(image):
        out = nets["net"](image)
        levels = out.levels[:0:-1] if kind == "segmentation" else out.levels[-2::-1]
        logits = [out.logits["label"]]
        for side, level in zip(criterion.sides, levels, strict=True):
            one = side(level.flatten(2).mean(2), level)
            if kind == "segmentation":
                mode = {2: "bilinear", 3: "trilinear"}[dims]
                one = torch.nn.functional.interpolate(one, image.shape[2:], mode=mode, align_corners=False)
            logits.append(one)
        return [out._replace(logits={"label": one}) for one in logits]

    plain = built(Supervised(), nets, tiny_task(kind)).loss
    task = torch.stack([plain(out, batch["train"]).total for out in said(batch["train"].image)]).mean()
    shares = [out.logits["label"].softmax(1).detach().numpy() for out in said(batch["unlabelled"].image)]
    assert abs(found.total.item() - task.item() - 0.6 * typed(shares)) < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_weight_zero_is_supervised_training_bit_for_bit(dims, kind):
    assert_is_supervised(URPC(weight=0), dims, kind, Supervised())
    assert differs(URPC(weight=1, ramp=0), dims, kind, Supervised())


@pytest.mark.parametrize("dims", [2, 3])
def test_side_predictions_stand_on_the_unets_steps_and_each_learns(dims):
    spec = NetSpec(encoder="resnet10_small", dims=dims, decoder="unet", width=0.0625)
    task = tiny_task("segmentation")
    net = build_network(spec, {"label": task}, in_channels=3, seed=0, parts=catalog.parts(spec))
    assert isinstance(net.decoder, Pyramid)
    criterion = built(URPC(weight=1), {"net": net}, task)
    assert [side.conv.in_channels for side in criterion.sides] == list(net.decoder.widths[-4:-1])[-3:]
    batch = batches(dims, "segmentation")
    total = loss_of(criterion, {"net": net}, batch).total
    grads = torch.autograd.grad(total, list(criterion.parameters()))
    assert all(bool(grad.any()) for grad in grads)
    steps = net(batch["train"].image).decoded
    assert [step.shape[1] for step in steps] == list(net.decoder.widths)
    assert steps[-1].shape[2:] == batch["train"].image.shape[2:]


def test_refuses_a_network_of_one_scale():
    net = tiny_net(2, outputs=3, widths=(4,), decoder=True)
    with pytest.raises(ConfigError, match="one scale"):
        built(URPC(), {"net": net}, tiny_task("segmentation"))
