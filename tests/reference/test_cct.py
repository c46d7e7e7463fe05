"""CCT: the loss typed out, each perturbation's law, weight 0, and where gradients go; on synthetic batches."""

from __future__ import annotations

import pytest
import torch
from cotrain_material import assert_is_supervised, batches, built, differs, loss_of, networks
from pydantic import ValidationError

from allograft.functional.perturb import channel_dropout, feature_dropout, feature_noise
from allograft.objectives.cct import CCT
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_task

STILL = {"noise": 0.0, "rate": 0.0}


def others_say(criterion, net, image, spread):
    """Return what the main and the further decoders say, each step typed here; only noise perturbs."""
    levels = net.encoder(image)
    torch.manual_seed(6)
    noisy = tuple(x + x * (torch.rand(x.shape[1:]) * 2 * spread - spread) for x in levels) if spread else levels
    dropped = []
    for level in levels:
        active = level.mean(1, keepdim=True)
        most = torch.stack([one.max() for one in active]).view(-1, *[1] * (level.ndim - 1))
        dropped.append(torch.where(active < 0.8 * most, level, torch.zeros(())))
    main = net.decode(levels).logits["label"]
    seen = (noisy, levels, tuple(dropped))
    return main, [o.decode(x).logits["label"] for o, x in zip(criterion.others, seen, strict=True)]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
@pytest.mark.parametrize("supervise", ["all", "main"])
def test_equals_the_loss_typed_out(dims, kind, supervise):
    nets, batch = networks(dims, kind), batches(dims, kind)
    spec = CCT(weight=0.6, low=0.8, high=0.8, supervise=supervise, **STILL)
    criterion = built(spec, nets, tiny_task(kind))
    found = loss_of(criterion, nets, batch)
    main, others = others_say(criterion, nets["net"], batch["unlabelled"].image, 0.0)
    apart = sum(((one.softmax(1) - main.softmax(1)) ** 2).mean() for one in others) / 3
    plain = built(Supervised(), nets, tiny_task(kind)).loss
    first, more = others_say(criterion, nets["net"], batch["train"].image, 0.0)
    said = [first, *more] if supervise == "all" else [first]
    outs = [nets["net"](batch["train"].image)._replace(logits={"label": logits}) for logits in said]
    task = sum(plain(out, batch["train"]).total for out in outs) / len(outs)
    torch.testing.assert_close(found.total, task + 0.6 * apart)


@pytest.mark.parametrize("dims", [2, 3])
def test_perturbations_obey_their_laws(dims):
    torch.manual_seed(0)
    x = torch.rand(6, 40, *[8] * dims) + 0.1
    ratio = feature_noise(x, 0.3) / x - 1
    assert ratio.abs().max() <= 0.3 + 1e-5
    assert abs(float(ratio[0].std()) - 0.6 / 12**0.5) < 0.01
    torch.testing.assert_close(ratio[0], ratio[1], rtol=0, atol=1e-5)
    kept = channel_dropout(x, 0.5) / x
    assert set(kept.round(decimals=4).unique().tolist()) <= {0.0, 2.0}
    assert torch.equal(kept.flatten(2).amax(2) > 1, kept.flatten(2).amin(2) > 1), "whole channels"
    assert 0.4 < float((kept > 1).float().mean()) < 0.6
    active = x.mean(1, keepdim=True)
    gone = feature_dropout(x, 0.9, 0.9).abs().sum(1, keepdim=True) == 0
    assert torch.equal(gone, active >= 0.9 * active.flatten(1).amax(1).view(-1, *[1] * (dims + 1)))
    assert gone.flatten(1).any(1).all()
    assert not gone.flatten(1).all(1).any()


def test_without_perturbation_the_copies_agree_and_one_position_is_kept():
    x = torch.rand(4, 3, 1, 1)
    assert torch.equal(feature_dropout(x), x)
    assert torch.equal(feature_noise(x, 0.0), x)
    assert torch.equal(channel_dropout(x, 0.0), x)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
@pytest.mark.parametrize("supervise", ["all", "main"])
def test_weight_zero_is_supervised_training_bit_for_bit(dims, kind, supervise):
    assert_is_supervised(CCT(weight=0, supervise=supervise), dims, kind, Supervised())
    assert differs(CCT(weight=1, ramp=0, supervise=supervise), dims, kind, Supervised())


@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_unlabelled_cases_move_encoder_and_copies_and_not_the_main_decoder(kind):
    nets, batch = networks(2, kind), batches(2, kind)
    criterion = built(CCT(weight=1, supervise="main"), nets, tiny_task(kind))
    task = loss_of(built(Supervised(), nets, tiny_task(kind)), nets, batch).total
    rest = loss_of(criterion, nets, batch).total - task
    named = dict(nets["net"].named_parameters())
    grads = dict(
        zip(
            named,
            torch.autograd.grad(rest, list(named.values()), retain_graph=True, materialize_grads=True),
            strict=True,
        )
    )
    assert any(grads[name].abs().max() > 1e-7 for name in named if name.startswith("encoder"))
    assert all(grads[name].abs().max() < 1e-7 for name in named if not name.startswith("encoder"))
    own = torch.autograd.grad(rest, list(criterion.parameters()), allow_unused=True)
    assert sum(g is not None and bool(g.any()) for g in own) == len(own)


def test_refuses_shares_in_the_wrong_order():
    with pytest.raises(ValidationError, match="above high"):
        CCT(low=0.9, high=0.7)
