"""Deep adversarial: both losses typed out, who moves when, and that the critic acts; on synthetic batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cotrain_material import assert_is_supervised, batches, built, differs, loss_of, networks

from allograft.nets.discriminator import Discriminator
from allograft.objectives.deep_adversarial import DeepAdversarial
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_task

SMALL = {"width": 4}
CASES = [(dims, kind) for dims in (2, 3) for kind in ("multiclass", "binary", "segmentation")]


def probabilities(logits, kind):
    return torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1) if kind == "binary" else logits.softmax(1)


@pytest.mark.parametrize(("dims", "kind"), CASES)
def test_equals_the_losses_typed_out(dims, kind):
    nets, batch = networks(dims, kind), batches(dims, kind)
    for net in nets.values():
        net.eval()
    criterion = built(DeepAdversarial(weight=0.5, **SMALL), nets, tiny_task(kind))
    critic = criterion.discriminator
    outs = {name: nets["net"](part.image) for name, part in batch.items()}
    sees = {name: batch[name].image if kind == "segmentation" else out.pooled for name, out in outs.items()}
    critic.eval()
    says = {name: critic(probabilities(out.logits["label"], kind), sees[name]) for name, out in outs.items()}
    task = loss_of(built(Supervised(), nets, tiny_task(kind)), nets, batch).total
    fooled = F.binary_cross_entropy_with_logits(says["unlabelled"], torch.ones(8))
    torch.testing.assert_close(loss_of(criterion, nets, batch, player="net").total, task + 0.5 * fooled)
    critic.eval()
    truth = torch.cat([torch.ones(8), torch.zeros(8)])
    want = F.binary_cross_entropy_with_logits(torch.cat([says["train"], says["unlabelled"]]), truth)
    torch.testing.assert_close(loss_of(criterion, nets, batch, player="discriminator").total, want)


@pytest.mark.parametrize(("dims", "kind"), CASES)
def test_the_networks_adversarial_gradient_is_there_and_none_at_weight_zero(dims, kind):
    nets, batch = networks(dims, kind), batches(dims, kind)
    task = torch.autograd.grad(
        loss_of(built(Supervised(), nets, tiny_task(kind)), nets, batch).total, list(nets["net"].parameters()), **FREE
    )
    found = {}
    for weight in (0.0, 1.0, 2.0):
        criterion = built(DeepAdversarial(weight=weight, **SMALL), nets, tiny_task(kind))
        total = loss_of(criterion, nets, batch, player="net").total
        grads = torch.autograd.grad(total, list(nets["net"].parameters()), **FREE)
        pairs = [(g, t) for g, t in zip(grads, task, strict=True) if g is not None]
        found[weight] = torch.cat([(g - t).flatten() for g, t in pairs])
    assert not found[0.0].any()
    assert found[1.0].abs().max() > 1e-7
    torch.testing.assert_close(found[2.0], 2 * found[1.0], rtol=1e-3, atol=1e-6)


FREE = {"allow_unused": True}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_weight_zero_is_supervised_training_bit_for_bit(dims, kind):
    assert_is_supervised(DeepAdversarial(weight=0, **SMALL), dims, kind, Supervised())
    assert differs(DeepAdversarial(weight=1, ramp=0, **SMALL), dims, kind, Supervised())


@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_the_discriminators_turn_leaves_the_network_as_it_is(kind):
    nets, batch = networks(2, kind), batches(2, kind)
    before = {name: tensor.clone() for name, tensor in nets["net"].state_dict().items()}
    criterion = built(DeepAdversarial(**SMALL), nets, tiny_task(kind))
    loss = loss_of(criterion, nets, batch, player="discriminator").total
    grads = torch.autograd.grad(loss, list(nets["net"].parameters()) + list(criterion.parameters()), **FREE)
    count = len(list(nets["net"].parameters()))
    assert all(g is None for g in grads[:count])
    assert all(g is not None for g in grads[count:])
    assert all(module.training for module in nets["net"].modules())
    for name, tensor in nets["net"].state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("dims", [0, 2, 3])
def test_a_discriminator_learns_to_tell_synthetic_predictions_apart(dims):
    torch.manual_seed(0)
    critic = Discriminator(dims, (3, 2), 8)
    moves = torch.optim.Adam(critic.parameters(), lr=1e-2)

    def draw(shift):
        logits = torch.randn(64, 3, *[8] * dims)
        logits[:, 0] += shift
        return logits.softmax(1), torch.randn(64, 2, *[8] * dims)

    for _ in range(60):
        loss = F.softplus(-critic(*draw(2.0))).mean() + F.softplus(critic(*draw(-2.0))).mean()
        moves.zero_grad()
        loss.backward()
        moves.step()
    critic.eval()
    right = ((critic(*draw(2.0)) > 0).float().mean() + (critic(*draw(-2.0)) < 0).float().mean()) / 2
    assert right > 0.85
