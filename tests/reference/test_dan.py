"""DAN: the reference's worked values, scikit-learn's kernels as judge, limits, and that MMD falls; synthetic data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from allograft.core.errors import ConfigError
from allograft.functional.mmd import median_distance, mmd, multi_kernel_mmd, rbf, squared_distances
from allograft.functional.ramps import ganin_ramp
from allograft.objectives.dan import DAN
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


@pytest.mark.parametrize(("unbiased", "value"), [(False, 0.283358790253), (True, 0.143406852092)])
def test_worked_values(unbiased: bool, value: float) -> None:
    found = mmd(rbf(XS, XS, 0.5), rbf(XT, XT, 0.5), rbf(XS, XT, 0.5), unbiased=unbiased)
    assert float(found) == pytest.approx(value, abs=5e-13)


def test_kernels_are_scikit_learns_and_the_sum_is_over_the_medians_multiples() -> None:
    a, b = XS.numpy(), XT.numpy()
    np.testing.assert_allclose(rbf(XS, XT, 0.5).numpy(), rbf_kernel(a, b, gamma=0.5), rtol=1e-12)
    both = np.concatenate([a, b])
    pairs = [((both[i] - both[j]) ** 2).sum() for i in range(22) for j in range(22) if i != j]
    median = sorted(pairs)[(len(pairs) - 1) // 2]  # PyTorch takes the lower of two middle values
    assert float(median_distance(squared_distances(XT, XT))) == pytest.approx(
        sorted(((x - y) ** 2).sum() for i, x in enumerate(b) for j, y in enumerate(b) if i != j)[44], rel=1e-9
    )
    for unbiased in (False, True):
        total = 0.0
        for c in (0.25, 0.5, 1, 2, 4):
            ss, tt, st = (rbf_kernel(u, v, gamma=1 / (c * median)) for u, v in ((a, a), (b, b), (a, b)))
            if unbiased:
                ss, tt = (k[~np.eye(len(k), dtype=bool)] for k in (ss, tt))
            total += ss.mean() + tt.mean() - 2 * st.mean()
        assert float(multi_kernel_mmd(XS, XT, unbiased=unbiased)) == pytest.approx(total, rel=1e-9)


def test_limits_equal_samples_are_0_apart_and_unbiased_is_0_on_average() -> None:
    assert float(multi_kernel_mmd(XS, XS)) == pytest.approx(0, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    draws = [
        [float(multi_kernel_mmd(*torch.randn(2, 8, 3, generator=generator), unbiased=u)) for u in (True, False)]
        for _ in range(400)
    ]
    values = np.array(draws)
    error = values[:, 0].std() / 20
    assert abs(values[:, 0].mean()) < 4 * error
    assert values[:, 0].min() < 0 < values[:, 1].min()
    assert values[:, 1].mean() > 20 * error, "the biased estimate is no 0 on average: the check can say no"


def test_scaled_features_are_no_closer() -> None:
    for scale in (1e-3, 1e3):
        torch.testing.assert_close(multi_kernel_mmd(scale * XS, scale * XT), multi_kernel_mmd(XS, XT))
    far = (XS + 1e4).float(), (XT + 1e4).float()  # digits are not lost far from 0
    assert float(multi_kernel_mmd(*far)) == pytest.approx(float(multi_kernel_mmd(XS, XT)), rel=0.02)


def test_gradient_is_finite_where_rows_are_equal_and_numerically_right() -> None:
    same = torch.ones(4, 3, requires_grad=True)
    multi_kernel_mmd(same, same.detach()).backward()
    assert bool(same.grad.isfinite().all())

    def fixed(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return mmd(rbf(a, a, 0.5), rbf(b, b, 0.5), rbf(a, b, 0.5))

    assert torch.autograd.gradcheck(fixed, (XS[:4].clone().requires_grad_(), XT[:3].clone().requires_grad_()))


def test_too_small_samples_are_refused() -> None:
    assert float(multi_kernel_mmd(XS[:1], XT[:1])) > 0
    with pytest.raises(ConfigError, match="at least 2 of each"):
        multi_kernel_mmd(XS[:1], XT, unbiased=True)


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_the_loss_is_the_tasks_plus_the_weighted_mmd_and_reaches_the_encoder(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch, objective = domains(dims, task), DAN(weight=0.7, unbiased=True, factors=(1.0, 3.0))
    criterion = built(objective, net, task)
    loss = loss_of(criterion, net, batch, AT)
    outs = [net(batch[name].image) for name in ("source", "target")]
    if kind == "segmentation":
        level = [out.levels[-1].flatten(2).movedim(1, 2).reshape(-1, 8) for out in outs]
    else:
        level = [out.pooled for out in outs]
    want = multi_kernel_mmd(*level, factors=(1.0, 3.0), unbiased=True)
    plain = built(Supervised(), net, task)({"net": net}, {"train": batch["source"]}, AT, "all").total
    torch.testing.assert_close(loss.total, plain + 0.7 * ganin_ramp(0.5) * want)
    gradient = torch.autograd.grad(loss.total - plain, net.encoder.get_submodule("stem.conv").weight)[0]
    assert float(gradient.abs().max()) > 1e-6


def test_positions_bound_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    net, task = tiny(3, "segmentation")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        "allograft.objectives.dan.multi_kernel_mmd", lambda a, b, **how: seen.extend((a, b)) or (a.mean() - b.mean())
    )
    for level, features in (("decoded", 4), ("deepest", 8), ("logits", 3)):
        loss_of(built(DAN(level=level, positions=5), net, task), net, domains(3, task))
        assert [tuple(x.shape) for x in seen] == [(30, features), (20, features)]
        seen.clear()


def test_the_mechanism_acts_trained_features_are_closer_than_source_only_ones() -> None:
    found = {}
    for weight in (0.0, 1.0):
        net, task = tiny(2)
        train(DAN(weight=weight, gamma=0, joint_norm=True), net, task, steps=40)
        net.eval()
        batch = domains(2, task, step=99, source=64, target=64)
        with torch.no_grad():
            pooled = [net(batch[name].image).pooled for name in ("source", "target")]
        found[weight] = float(multi_kernel_mmd(*pooled))
    assert found[1.0] < 0.5 * found[0.0]


def test_weight_0_is_source_only_training_bit_for_bit() -> None:
    assert_weight_0_is_source_only(DAN())


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(DAN(), tmp_path)
