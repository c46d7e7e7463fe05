"""CycleGAN: every loss typed out, what identity generators cost, who moves when, that it learns; synthetic images."""

from __future__ import annotations

import copy

import pytest
import torch

from allograft.contracts import Budget, Optim, Progress
from allograft.objectives.cycle_gan import CycleGAN
from allograft.objectives.image_pool import ImagePool
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training
from two_domain_material import AT, batches, loss_of, nets_of

SMALL = {"width": 3, "critic_width": 3, "depth": 1, "blocks": 1}
CASES = [(2, "multiclass"), (3, "segmentation"), (2, "regression"), (3, "binary")]


def built(objective, nets, task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return objective.build(nets, task)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_losses_typed_out(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), batches(dims, "multiclass")
    criterion = built(CycleGAN(**SMALL, cycle=7, identity=3, residual=False), nets, task)
    s, t = batch["source"].image, batch["target"].image
    g, f = criterion.generators["to_target"], criterion.generators["to_source"]
    on_t, on_s = criterion.discriminators["target"], criterion.discriminators["source"]
    adversarial = ((on_t(g(s)) - 1) ** 2).mean() + ((on_s(f(t)) - 1) ** 2).mean()
    cycle = (f(g(s)) - s).abs().mean() + (g(f(t)) - t).abs().mean()
    identity = (g(t) - t).abs().mean() + (f(s) - s).abs().mean()
    found = criterion(nets, batch, AT, "generators")
    torch.testing.assert_close(found.total, adversarial + 7 * cycle + 3 * identity)
    real = ((on_t(t) - 1) ** 2).mean() + ((on_s(s) - 1) ** 2).mean()
    made = (on_t(g(s)) ** 2).mean() + (on_s(f(t)) ** 2).mean()
    torch.testing.assert_close(criterion(nets, batch, AT, "discriminators").total, (real + made) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_identity_generators_cost_nothing_but_the_adversarial_terms_where_domains_are_equal(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), batches(dims, "multiclass")
    batch["target"] = batch["source"]
    criterion = built(CycleGAN(**SMALL), nets, task)  # which begin as the identity
    x = batch["source"].image
    assert torch.equal(criterion.translated(x), x)
    found = criterion(nets, batch, AT, "generators")
    assert float(found.parts["cycle"]) == float(found.parts["identity"]) == 0
    torch.testing.assert_close(found.total.detach(), found.parts["adversarial"])
    critics = criterion.discriminators
    torch.testing.assert_close(
        found.parts["adversarial"], sum(((critic(x) - 1) ** 2).mean() for critic in critics.values()).detach()
    )
    with torch.no_grad():
        next(iter(criterion.generators["to_target"].parameters())).add_(1)
        criterion.generators["to_target"].layers[-1].bias.add_(0.5)
    assert float(criterion(nets, batch, AT, "generators").parts["cycle"]) > 0.4  # the check can say no


@pytest.mark.parametrize("dims", [2, 3])
def test_the_adversarial_gradient_on_the_generator_is_there(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), batches(dims, "multiclass")
    criterion = built(CycleGAN(**SMALL, cycle=0, identity=0, residual=False), nets, task)
    total = criterion(nets, batch, AT, "generators").total
    for name in ("to_target", "to_source"):
        grads = torch.autograd.grad(total, list(criterion.generators[name].parameters()), retain_graph=True)
        assert all(bool(g.isfinite().all()) for g in grads)
        assert max(float(g.abs().max()) for g in grads) > 1e-6


@pytest.mark.parametrize(("dims", "kind"), CASES)
def test_the_network_learns_from_plain_then_from_translated_images(dims, kind):
    nets, task, batch = *nets_of(dims, kind), batches(dims, kind)
    objective = CycleGAN(**SMALL, residual=False, plain=0.5)
    plain = loss_of(Supervised(), nets, task, {"train": batch["source"]})
    before = loss_of(objective, nets, task, batch, at=Progress(4, 10))
    assert torch.equal(before.total, plain.total)
    assert float(before.parts["change"]) == 0
    with torch.no_grad():
        made = built(objective, nets, task).translated(batch["source"].image)
    later = loss_of(objective, nets, task, batch, at=Progress(5, 10))
    torch.testing.assert_close(
        later.total, loss_of(Supervised(), nets, task, {"train": batch["source"]}, image=made).total
    )
    assert not torch.equal(later.total, plain.total)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_moves_in_its_own_turn_alone(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), batches(dims, "multiclass")
    criterion = built(CycleGAN(**SMALL, plain=0), nets, task)
    players = {player.name: player for player in criterion.players(nets)}
    members = {name: {id(p) for p in player.parameters} for name, player in players.items()}
    assert list(players) == ["net", "generators", "discriminators"]
    assert not members["net"] & members["generators"] | members["net"] & members["discriminators"]
    every = [*criterion.parameters(), *nets["net"].parameters()]
    assert {id(p) for p in every} == set.union(*members.values())
    for name in ("net", "discriminators"):
        grads = torch.autograd.grad(criterion(nets, batch, AT, name).total, every, allow_unused=True)
        assert {id(p) for p, g in zip(every, grads, strict=True) if g is not None} <= members[name]
    adam = players["generators"].optim
    assert (adam.name, adam.lr, adam.betas(), adam.schedule) == ("adam", 2e-4, (0.5, 0.999), "half_linear")


def test_a_pool_hands_on_half_of_the_images_and_keeps_a_fixed_number():
    pool, made = ImagePool(5), torch.arange(400.0).reshape(400, 1, 1, 1)
    torch.manual_seed(0)
    assert torch.equal(pool(made[:5]), made[:5])  # while it fills, images go through
    out = pool(made[5:])
    old = (out != made[5:]).flatten()
    assert 0.4 < float(old.float().mean()) < 0.6
    assert len(set(out.flatten().tolist())) == len(out)  # an image that was handed on has left the pool
    both = torch.cat([out, pool.kept]).flatten().sort().values
    assert torch.equal(both, made.flatten())
    other = ImagePool(5)
    other.load_state_dict(copy.deepcopy(pool.state_dict()))
    torch.manual_seed(1)
    first = pool(made[:9])
    torch.manual_seed(1)
    assert torch.equal(other(made[:9]), first)
    assert torch.equal(ImagePool(0)(made), made)


def descend(criterion, nets, batch, player, steps):
    """Train one player alone on one batch; return what its loss was at each step."""
    moving = {p.name: p for p in criterion.players(nets)}[player].parameters
    optimizer, found = torch.optim.Adam(moving, lr=1e-2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(nets, batch, AT, player)
        loss.total.backward()
        optimizer.step()
        found.append(loss)
    return found


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_discriminators_learn_to_tell_and_generators_to_deceive_them(dims):
    nets, task, batch = *nets_of(dims, "multiclass"), batches(dims, "multiclass")
    criterion = built(CycleGAN(**SMALL, cycle=1, identity=0, pool=0), nets, task)
    telling = descend(criterion, nets, batch, "discriminators", 25)
    assert float(telling[-1].parts["accuracy"]) > 0.8
    assert telling[-1].total < 0.5 * telling[0].total
    deceiving = descend(criterion, nets, batch, "generators", 15)
    assert deceiving[-1].parts["adversarial"] < 0.7 * deceiving[0].parts["adversarial"]
    after = criterion(nets, batch, AT, "discriminators")
    assert float(after.parts["accuracy"]) < float(telling[-1].parts["accuracy"])


class Endless:
    def __init__(self, dims):
        self.dims = dims

    def at(self, step):
        return batches(self.dims, "multiclass", step=step)


@pytest.mark.parametrize("dims", [2, 3])
def test_all_three_train_in_the_loop_and_their_parts_are_logged(dims):
    nets, task = nets_of(dims, "multiclass")
    criterion = built(CycleGAN(**SMALL, lr=5e-3), nets, task)
    before = {name: value.clone() for name, value in criterion.named_parameters()}
    training = Training(plans={"net": tiny_plan(nets["net"])}, optim=Optim(), budget=Budget(steps=3, evals=1), seed=0)
    history = fit(nets, criterion, Endless(dims), training)
    assert {"net.change", "generators.cycle", "discriminators.accuracy"} <= set(history.rows[-1].train)
    still = [name for name, value in criterion.named_parameters() if torch.equal(value, before[name])]
    assert not [name for name in still if name.endswith("weight")]
    assert int(criterion.pools["target"].count) == 12
    assert not torch.equal(
        criterion.translated(batches(dims, "multiclass")["source"].image), batches(dims, "multiclass")["source"].image
    )
