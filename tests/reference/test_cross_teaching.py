"""Cross teaching: Dice typed out, two unlike networks, weight 0, and what the partner does; on synthetic batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cotrain_material import assert_is_supervised, batches, built, differs, loss_of, networks

from allograft import catalog
from allograft.nets.build import build_network
from allograft.nets.spec import NetSpec
from allograft.objectives.cross_teaching import CrossTeaching
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task


def dice(logits, other):
    """1 - mean over classes of the Dice with squares below the line, over the batch, as SSL4MIS types it."""
    p, t = logits.softmax(1), F.one_hot(other.argmax(1), logits.shape[1]).movedim(-1, 1).float()
    terms = []
    for c in range(logits.shape[1]):
        both, below = (p[:, c] * t[:, c]).sum(), (p[:, c] ** 2).sum() + (t[:, c] ** 2).sum()
        terms.append(1 - (2 * both + 1e-5) / (below + 1e-5))
    return sum(terms) / len(terms)


def unlike(dims):
    """Return two networks of different depth, width and norm."""
    nets = networks(dims, "segmentation")
    other = tiny_net(dims, seed=9, outputs=3, decoder=True, widths=(5, 7), norm="none")
    return {**nets, "partner": other}


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_dice_typed_out_with_two_unlike_networks(dims):
    nets, batch, task = unlike(dims), batches(dims, "segmentation"), tiny_task("segmentation")
    found = loss_of(built(CrossTeaching(weight=0.4), nets, task), nets, batch)
    one, two = (net(batch["unlabelled"].image).logits["label"] for net in nets.values())
    plain = [loss_of(built(Supervised(), {"net": net}, task), {"net": net}, batch).total for net in nets.values()]
    torch.testing.assert_close(found.total, plain[0] + plain[1] + 0.4 * (dice(one, two) + dice(two, one)))
    turned = dict(zip(nets, reversed(nets.values()), strict=True))
    torch.testing.assert_close(
        loss_of(built(CrossTeaching(weight=0.4), turned, task), turned, batch).total, found.total
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_weight_zero_is_supervised_training_bit_for_bit(dims, kind):
    assert_is_supervised(CrossTeaching(weight=0), dims, kind, Supervised())


@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_the_partner_changes_what_the_network_learns(kind):
    assert differs(CrossTeaching(weight=1, ramp=0), 2, kind, Supervised())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("decoder", ["", "unet"])
def test_the_default_partner_is_a_transformer_that_builds_for_every_dimension_and_task(dims, decoder):
    spec = CrossTeaching().partners(NetSpec(encoder="resnet18", dims=dims, decoder=decoder))["partner"]
    kind = "segmentation" if decoder else "multiclass"
    net = build_network(
        spec, {"label": tiny_task(kind)}, in_channels=1, seed=0, parts=catalog.parts(spec), device="meta"
    )
    assert spec.dims == dims
    assert any("attn" in name for name, _ in net.named_parameters())
    assert spec.decoder == ("same" if decoder else "")


def test_a_named_partner_takes_the_recipes_dims_and_drops_a_decoder_that_no_task_needs():
    own = CrossTeaching(partner=NetSpec(encoder="cbr_tiny", decoder="unet"))
    assert own.partners(NetSpec(encoder="resnet18", dims=3, decoder="unet"))["partner"].dims == 3
    assert own.partners(NetSpec(encoder="resnet18", dims=3))["partner"].decoder == ""
