"""pix2pix: both losses typed out, who moves when, and that it learns what partners show; synthetic images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allograft.contracts import Budget, Optim, Progress
from allograft.objectives.pix2pix import Pix2Pix
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training
from two_domain_material import AT, batches, loss_of, nets_of

SMALL = {"width": 3, "critic_width": 3, "depth": 1, "levels": 2}
CASES = [(2, "multiclass"), (3, "segmentation"), (2, "regression"), (3, "binary")]


def paired(dims, kind="multiclass", step=0, size=4):
    """Return synthetic source images and partners whose values are turned around and bent."""
    batch = batches(dims, kind, step=step, size=size)
    partner = 1 - torch.tanh(batch["source"].image)
    return {**batch, "target": replace(batch["target"], image=partner, ids=batch["source"].ids)}


def built(objective, nets, task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return objective.build(nets, task)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_losses_typed_out(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), paired(dims)
    criterion = built(Pix2Pix(**SMALL, l1=7, dropout=0), nets, task)
    s, t, made = batch["source"].image, batch["target"].image, criterion.translated(batch["source"].image)
    real, fake = (criterion.discriminators["pair"](torch.cat([s, x], 1)) for x in (t, made))
    bce, one, zero = F.binary_cross_entropy_with_logits, torch.ones_like(real), torch.zeros_like(real)
    expected = bce(fake, one) + 7 * (made - t).abs().mean()
    torch.testing.assert_close(criterion(nets, batch, AT, "generators").total, expected)
    expected = (bce(real, one) + bce(fake, zero)) / 2
    torch.testing.assert_close(criterion(nets, batch, AT, "discriminators").total, expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_perfect_generator_costs_no_l1_and_the_pair_matters(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), paired(dims)
    criterion = built(Pix2Pix(**SMALL), nets, task)
    criterion.generators["to_target"] = Exact()
    found = criterion(nets, batch, AT, "generators")
    assert float(found.parts["l1"]) < 1e-6
    torch.testing.assert_close(found.total, found.parts["adversarial"], atol=1e-4, rtol=1e-4)
    swapped = {**batch, "target": replace(batch["target"], image=batch["target"].image.flip(0))}
    assert float(criterion(nets, swapped, AT, "generators").parts["l1"]) > 0.1
    on = [criterion(nets, each, AT, "discriminators").total for each in (batch, swapped)]
    assert not torch.equal(*on), "the discriminator is conditional"


class Exact(nn.Module):
    def forward(self, x):
        return 1 - torch.tanh(x)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_adversarial_gradient_is_there_and_each_moves_in_its_turn(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), paired(dims)
    criterion = built(Pix2Pix(**SMALL, l1=0, plain=0), nets, task)
    players = {player.name: player for player in criterion.players(nets)}
    grads = torch.autograd.grad(criterion(nets, batch, AT, "generators").total, players["generators"].parameters)
    assert max(float(g.abs().max()) for g in grads) > 1e-6
    every = [*criterion.parameters(), *nets["net"].parameters()]
    for name in ("net", "discriminators"):
        found = torch.autograd.grad(criterion(nets, batch, AT, name).total, every, allow_unused=True)
        moved = {id(p) for p, g in zip(every, found, strict=True) if g is not None}
        assert moved <= {id(p) for p in players[name].parameters}


@pytest.mark.parametrize(("dims", "kind"), CASES)
def test_the_network_learns_from_plain_then_from_translated_images(dims, kind):
    nets, task, batch = *nets_of(dims, kind), paired(dims, kind)
    objective = Pix2Pix(**SMALL, dropout=0, plain=0.5)
    plain = loss_of(Supervised(), nets, task, {"train": batch["source"]})
    assert torch.equal(loss_of(objective, nets, task, batch, at=Progress(4, 10)).total, plain.total)
    with torch.no_grad():
        made = built(objective, nets, task).translated(batch["source"].image)
    later = loss_of(objective, nets, task, batch)
    want = loss_of(Supervised(), nets, task, {"train": batch["source"]}, image=made)
    torch.testing.assert_close(later.total, want.total)
    assert not torch.equal(later.total, plain.total)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_made_images_come_near_the_partners(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), paired(dims)
    coarse = F.avg_pool2d if dims == 2 else F.avg_pool3d
    source = F.interpolate(coarse(batch["source"].image, 4), scale_factor=4)
    source = F.instance_norm(source)
    batch = {name: replace(one, image=source) for name, one in batch.items()}
    batch["target"] = replace(batch["target"], image=1 - torch.tanh(source))
    criterion = built(Pix2Pix(**{**SMALL, "width": 6}, dropout=0), nets, task)
    optimizer = torch.optim.Adam(criterion.generators.parameters(), lr=2e-2)
    for _ in range(40):
        optimizer.zero_grad()
        criterion(nets, batch, AT, "generators").total.backward()
        optimizer.step()
    made, partner = criterion.translated(source).detach(), batch["target"].image
    assert F.l1_loss(made, partner) < 0.5 * (partner - partner.median()).abs().mean(), "more than its best grey"
    assert F.l1_loss(made, partner) < 0.5 * F.l1_loss(made, partner.flip(0)), "each its own partner"


class Endless:
    def __init__(self, dims):
        self.dims = dims

    def at(self, step):
        return paired(self.dims, step=step)


@pytest.mark.parametrize("dims", [2, 3])
def test_all_three_train_in_the_loop_and_their_parts_are_logged(dims):
    nets, task = nets_of(dims, "multiclass")
    criterion = built(Pix2Pix(**SMALL), nets, task)
    training = Training(plans={"net": tiny_plan(nets["net"])}, optim=Optim(), budget=Budget(steps=2, evals=1), seed=0)
    history = fit(nets, criterion, Endless(dims), training)
    assert {"net.change", "generators.l1", "discriminators.accuracy"} <= set(history.rows[-1].train)


def test_the_target_stream_hands_out_partners():
    target = Pix2Pix(match=("level",)).streams()["target"]
    assert (target.role, target.like, target.match, target.labelled) == ("target", "source", ("level",), False)
