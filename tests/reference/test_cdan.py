"""CDAN: joint features in loops, random maps, its limits, and what a critic of features alone cannot see; synthetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy as scipy_entropy

from allograft.functional.ramps import ganin_ramp
from allograft.nets.network import Output
from allograft.objectives.cdan import CDAN
from allograft.objectives.dann import DANN
from allograft.objectives.supervised import Supervised
from two_domain_loop import AT, EVERY, assert_resumes, assert_weight_0_is_source_only, built, domains, loss_of
from two_stream_loop import tiny

SMALL = CDAN(hidden=8)


def answers(logits: torch.Tensor, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return shares (B, A) or (B, A, positions of 4 x 4 cells) and entropies, by NumPy and SciPy."""
    if kind == "segmentation":
        p = F.avg_pool3d(logits.softmax(1), 4) if logits.ndim == 5 else F.avg_pool2d(logits.softmax(1), 4)
        p = p.flatten(2).detach().numpy()
        return p, scipy_entropy(p, axis=1)
    if kind == "multiclass":
        p = logits.softmax(1).detach().numpy()
        return p, scipy_entropy(p, axis=1)
    yes = logits.sigmoid().detach().numpy()
    each = scipy_entropy(np.stack([1 - yes, yes]), axis=0)
    return np.concatenate([1 - yes, yes], 1), each.mean(1)


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_equals_the_loss_in_loops(dims: int, kind: Any, sure: bool) -> None:
    net, task = tiny(dims, kind)
    batch = domains(dims, task)
    criterion = built(SMALL.model_copy(update={"entropy": sure}), net, task)
    loss = loss_of(criterion, net, batch, AT)
    terms = []
    for name, sign in (("source", 1), ("target", -1)):
        out = net(batch[name].image)
        g, doubt = answers(out.logits["label"], kind)
        total = count = 0.0
        for b in range(len(g)):
            for k in range(g[0, 0].size if kind == "segmentation" else 1):
                f = out.levels[-1][b].flatten(1)[:, k] if kind == "segmentation" else out.pooled[b]
                p, h = (g[b, :, k], doubt[b, k]) if kind == "segmentation" else (g[b], doubt[b])
                joint = torch.outer(f, torch.from_numpy(p).to(f)).flatten()
                weight = 1 + math.exp(-h) if sure else 1.0
                total += weight * float(F.softplus(sign * criterion.critic(joint[None])[0]).detach())
                count += weight
        terms.append(total / count)
    plain = built(Supervised(), net, task)({"net": net}, {"train": batch["source"]}, AT, "all")
    assert float(loss.parts["domain"]) == pytest.approx(sum(terms) / 2, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(float(plain.total.detach()) + sum(terms) / 2, rel=1e-5)


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_gradient_on_the_encoder_is_minus_lambda_times_the_unreversed(
    dims: int, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, task = tiny(dims, kind)
    net, batch = net.double(), domains(dims, task)
    criterion = built(SMALL, net, task).double()
    weights = list(net.encoder.parameters())

    def gradient() -> torch.Tensor:
        outs = (net(batch["source"].image.double()), net(batch["target"].image.double()))
        total = criterion.term(net, outs, ganin_ramp(0.5)).total
        return torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)])

    found = gradient()
    monkeypatch.setattr("allograft.objectives.cdan.reverse_gradient", lambda x, factor: x)
    torch.testing.assert_close(found, -ganin_ramp(0.5) * gradient(), rtol=1e-9, atol=1e-14)
    assert float(found.abs().max()) > 1e-6


def test_random_maps_keep_inner_products_on_average_and_are_taken_above_the_limit_only() -> None:
    net, task = tiny(2)
    entries = 8 * 3
    assert built(CDAN(largest=entries), net, task).of_features is None
    criterion = built(CDAN(largest=entries - 1, random=20000, hidden=1), net, task)
    assert criterion.of_features.shape == (8, 20000)
    assert criterion.of_answers.shape == (3, 20000)
    f, g = torch.randn(4, 8), torch.randn(4, 3).softmax(1)
    mapped, outer = criterion._product(f, g), torch.einsum("bf,ba->bfa", f, g).flatten(1)
    torch.testing.assert_close(mapped @ mapped.T, outer @ outer.T, atol=0.15, rtol=0.1)
    assert "of_features" in criterion.state_dict(), "the maps are drawn once and kept"


def test_with_one_certain_class_for_all_it_is_dann() -> None:
    net, task = tiny(2)
    criterion, dann = built(CDAN(hidden=8, entropy=False), net, task), built(DANN(hidden=8), net, task)
    dann.critic.load_state_dict(
        {k: v if k != "layers.0.weight" else v[:, 1::3] for k, v in criterion.critic.state_dict().items()}
    )
    outs = []
    for shift in (0.0, 1.0):
        pooled = torch.randn(5, 8) + shift
        outs.append(Output((), pooled, {"label": torch.tensor([[-90.0, 90.0, -90.0]]).expand(5, 3)}))
    torch.testing.assert_close(criterion.term(net, tuple(outs), 1.0).total, dann.term(net, tuple(outs), 1.0).total)


def test_the_mechanism_acts_only_the_joint_critic_sees_classes_that_changed_places() -> None:
    """Features are +1 and -1 in both domains; the class that goes with +1 is another one in the target."""
    net, task = tiny(2, "binary")
    value = torch.tensor([1.0, -1.0]).repeat(32)
    pooled = torch.zeros(64, 8)
    pooled[:, 0] = value
    outs = [Output((), pooled, {"label": 6 * sign * value[:, None]}) for sign in (1, -1)]
    found = {}
    for objective in (DANN(hidden=8), CDAN(hidden=8)):
        criterion = built(objective, net, task)
        optimizer = torch.optim.Adam(criterion.critic.parameters(), 0.02)
        for _ in range(80):
            optimizer.zero_grad()
            criterion.term(net, tuple(outs), 1.0).total.backward()
            optimizer.step()
        found[objective.name] = criterion.term(net, tuple(outs), 1.0).parts
    assert float(found["dann"]["domain"]) == pytest.approx(math.log(2), abs=0.01)
    assert float(found["cdan"]["domain"]) < 0.1
    assert float(found["cdan"]["domain_accuracy"]) == 1


def test_the_mechanism_acts_a_sure_case_weighs_more() -> None:
    net, task = tiny(2, "binary")
    criterion = built(SMALL, net, task)
    out = Output((), torch.zeros(3, 8), {"label": torch.tensor([[0.0], [3.0], [-60.0]])})
    _, weight = criterion.joint(out, 1.0)
    h = scipy_entropy([0.5, 0.5]), scipy_entropy([1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))]), 0
    torch.testing.assert_close(weight, torch.tensor([1 + math.exp(-each) for each in h]))


def test_target_targets_change_nothing() -> None:
    net, task = tiny(3, "segmentation")
    batch = domains(3, task)
    bare = {**batch, "target": type(batch["target"])(image=batch["target"].image, ids=batch["target"].ids)}
    criterion = built(SMALL, net, task)
    assert torch.equal(loss_of(criterion, net, batch).total, loss_of(criterion, net, bare).total)


def test_weight_0_is_source_only_training_bit_for_bit() -> None:
    assert_weight_0_is_source_only(CDAN(hidden=8, largest=4, random=16))


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(CDAN(hidden=8, largest=4, random=16), tmp_path)
