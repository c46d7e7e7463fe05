"""Deep CORAL: the worked value, NumPy's covariances, what it is blind to, its gradient, and that it acts; synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.functional.coral import coral, covariance
from allograft.functional.ramps import ganin_ramp
from allograft.objectives.deep_coral import DeepCORAL
from allograft.objectives.supervised import Supervised
from two_domain_loop import (
    AT,
    EVERY,
    XS,
    XT,
    assert_resumes,
    assert_weight_0_is_source_only,
    built,
    domains,
    loss_of,
    train,
)
from two_stream_loop import tiny


def test_worked_value() -> None:
    assert float(coral(XS, XT)) == pytest.approx(0.105263139961, abs=5e-13)


def test_covariance_is_numpys() -> None:
    np.testing.assert_allclose(covariance(XS).numpy(), np.cov(XS.numpy(), rowvar=False), rtol=1e-12)
    with pytest.raises(ConfigError, match="at least 2"):
        covariance(XS[:1])


def test_invariants_equal_samples_means_and_rotations() -> None:
    assert float(coral(XS, XS)) == 0
    torch.testing.assert_close(coral(XS + 5, XT - 3), coral(XS, XT))
    turn = torch.linalg.qr(torch.arange(9.0, dtype=torch.float64).reshape(3, 3).sin())[0]
    torch.testing.assert_close(coral(XS @ turn, XT @ turn), coral(XS, XT))
    torch.testing.assert_close(coral(2 * XS, 2 * XT), 16 * coral(XS, XT))


def test_gradient_typed_out() -> None:
    """d L / d a = (a - mean) (C_a - C_b) / (d^2 (n - 1)), with the opposite sign for b."""
    a, b = XS.clone().requires_grad_(), XT.clone().requires_grad_()
    coral(a, b).backward()
    difference = torch.from_numpy(np.cov(XS.numpy(), rowvar=False) - np.cov(XT.numpy(), rowvar=False))
    torch.testing.assert_close(a.grad, (XS - XS.mean(0)) @ difference / (9 * 11))
    torch.testing.assert_close(b.grad, -(XT - XT.mean(0)) @ difference / (9 * 9))


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_the_loss_is_the_tasks_plus_the_weighted_distance_and_reaches_the_encoder(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = domains(dims, task)
    loss = loss_of(built(DeepCORAL(weight=30), net, task), net, batch, AT)
    outs = [net(batch[name].image) for name in ("source", "target")]
    level = [o.levels[-1].flatten(2).movedim(1, 2).reshape(-1, 8) if kind == "segmentation" else o.pooled for o in outs]
    s, t = (np.cov(x.detach().numpy(), rowvar=False) for x in level)
    plain = built(Supervised(), net, task)({"net": net}, {"train": batch["source"]}, AT, "all").total
    want = float(plain.detach()) + 30 * ganin_ramp(0.5) * ((s - t) ** 2).sum() / (4 * 8**2)
    assert float(loss.total.detach()) == pytest.approx(want, rel=1e-5)
    gradient = torch.autograd.grad(loss.total - plain, net.encoder.get_submodule("stem.conv").weight)[0]
    assert float(gradient.abs().max()) > 1e-7


def test_the_mechanism_acts_trained_covariances_are_closer_than_source_only_ones() -> None:
    found = {}
    for weight in (0.0, 100.0):
        net, task = tiny(2)
        train(DeepCORAL(weight=weight, gamma=0, joint_norm=True), net, task, steps=40)
        net.eval()
        batch = domains(2, task, step=99, source=64, target=64)
        with torch.no_grad():
            s, t = (covariance(net(batch[name].image).pooled) for name in ("source", "target"))
        found[weight] = float(
            (s - t).norm() / (s.norm() + t.norm())
        )  # a network that shrinks all features gains nothing
    assert found[100.0] < 0.7 * found[0.0]


def test_weight_0_is_source_only_training_bit_for_bit() -> None:
    assert_weight_0_is_source_only(DeepCORAL())


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(DeepCORAL(), tmp_path)
