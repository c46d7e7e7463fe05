"""Pooling of bags: worked numbers of the paper's formulas, limits, invariances, masks."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.nets.heads.instances import BagPool, Pooled, PooledInstances
from allograft.nets.mil_pooling import log_mean, lse, maximum, mean, noisy_or, top_k, weighted

HOWS = get_args(BagPool)
SETTINGS = [p for p in itertools.product(HOWS, ("embedding", "instance")) if p != ("noisy_or", "embedding")]


def toy(n: int, d: int, a: float, b: float) -> Tensor:
    """Return sin(a i + b j + 0.1 i j), i and j from 1: numbers that anyone can make again."""
    i, j = torch.arange(1, n + 1).double()[:, None], torch.arange(1, d + 1).double()[None]
    return torch.sin(a * i + b * j + 0.1 * i * j)


def head(how: str, level: str, kind: str = "multilabel") -> PooledInstances:
    torch.manual_seed(0)
    made = PooledInstances(4, 3, pool=Pooled(how, level, 2.0, 2), kind=kind).double()
    with torch.no_grad():
        made.linear.weight.mul_(100)
    return made


@pytest.mark.parametrize(
    ("how", "a", "z"),
    [
        (
            "attention",
            (0.34762184, 0.29184173, 0.17495522, 0.08521500, 0.10036621),
            (0.55766003, 0.41508564, 0.27246195),
        ),
        (
            "gated_attention",
            (0.28518277, 0.26668433, 0.16489833, 0.12708502, 0.15614955),
            (0.41611664, 0.24767231, 0.12471119),
        ),
    ],
)
def test_attention_gives_the_worked_weights_and_bag_vector(how: str, a: tuple[float], z: tuple[float]) -> None:
    made = PooledInstances(3, 1, pool=Pooled(how, "embedding"), kind="binary").double()
    made.value, made.gate, made.score = (torch.nn.Linear(*s, bias=False).double() for s in ((3, 2), (3, 2), (2, 1)))
    bag = toy(5, 3, 0.7, 0.2).T[None]
    with torch.no_grad():
        made.value.weight.copy_(toy(3, 2, 0.5, 0.9).T)
        made.gate.weight.copy_(toy(3, 2, 0.4, 1.2).T)
        made.score.weight.copy_(torch.tensor([[0.6, -0.4]]))
        found = made.weights(bag)
    torch.testing.assert_close(found[0], torch.tensor(a).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(weighted(bag, found)[0], torch.tensor(z).double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("how", "level"), SETTINGS)
def test_the_order_of_instances_is_irrelevant(how: str, level: str) -> None:
    made, bag = head(how, level), torch.randn(2, 4, 6).double()
    order = torch.randperm(6)
    torch.testing.assert_close(made.over_instances(bag), made.over_instances(bag[:, :, order]))


@pytest.mark.parametrize(("how", "level"), SETTINGS)
def test_a_bag_of_one_is_judged_as_its_instance(how: str, level: str) -> None:
    made, bag = head(how, level), torch.randn(2, 4, 1).double()
    torch.testing.assert_close(made.over_instances(bag), made.linear(bag[:, :, 0]))


@pytest.mark.parametrize(("how", "level"), [s for s in SETTINGS if s[0] not in {"noisy_or", "top_k"}])
def test_a_bag_that_holds_everything_twice_says_the_same(how: str, level: str) -> None:
    made, bag = head(how, level), torch.randn(2, 4, 5).double()
    torch.testing.assert_close(made.over_instances(bag), made.over_instances(bag.repeat(1, 1, 2)))


@pytest.mark.parametrize(("how", "level"), SETTINGS)
def test_padded_bags_say_what_bags_without_padding_say_and_padding_gets_no_gradient(how: str, level: str) -> None:
    made, bags = head(how, level), [torch.randn(4, k).double() for k in (1, 3, 5)]
    padded, mask = torch.full((3, 4, 5), 1e3).double(), torch.zeros(3, 5, dtype=torch.bool)
    for i, bag in enumerate(bags):
        padded[i, :, : bag.shape[1]], mask[i, : bag.shape[1]] = bag, True
    padded.requires_grad_()
    found = made.over_instances(padded, mask)
    torch.testing.assert_close(found, torch.cat([made.over_instances(bag[None]) for bag in bags]))
    (gradient,) = torch.autograd.grad(found.square().sum(), padded)
    assert gradient.isfinite().all()
    assert not gradient.transpose(1, 2)[~mask].any()
    assert gradient.transpose(1, 2)[mask].any()


@pytest.mark.parametrize("how", ["attention", "gated_attention"])
def test_attention_of_padded_bags_sums_to_one_over_what_is_there(how: str) -> None:
    mask = torch.tensor([[True, False, True, True], [False, True, False, False]])
    found = head(how, "embedding").weights(torch.randn(2, 4, 4).double(), mask)
    torch.testing.assert_close(found.sum(1), torch.ones(2).double())
    assert not found[~mask].any()
    assert found[1, 1] == 1


def test_log_sum_exp_goes_from_the_mean_to_the_maximum() -> None:
    x = torch.randn(3, 2, 7).double()
    torch.testing.assert_close(lse(x, 1e-6), mean(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(lse(x, 1e4), maximum(x), atol=1e-3, rtol=0)
    assert bool(((mean(x) < lse(x, 1.0)) & (lse(x, 1.0) < maximum(x))).all())


def test_noisy_or_is_one_minus_the_product_of_the_complements() -> None:
    x = torch.randn(3, 2, 4).double()
    torch.testing.assert_close(noisy_or(x).sigmoid(), 1 - (1 - x.sigmoid()).prod(2))


@pytest.mark.parametrize("logit", [-200.0, -60.0, 60.0, 200.0])
def test_noisy_or_stays_a_number_where_instances_are_sure(logit: float) -> None:
    x = torch.full((1, 1, 5), logit, requires_grad=True)
    found = noisy_or(x)
    found.sum().backward()
    assert found.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_top_k_is_between_the_maximum_and_the_mean() -> None:
    x = torch.randn(3, 2, 6).double()
    torch.testing.assert_close(top_k(x, 1), maximum(x))
    torch.testing.assert_close(top_k(x, 9), mean(x))
    torch.testing.assert_close(top_k(x, 2), x.sort(2).values[..., -2:].mean(2))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("how", ["mean", "attention"])
def test_the_mean_of_judgements_is_of_probabilities(how: str, kind: str) -> None:
    made, bag = head(how, "instance", kind), torch.randn(2, 4, 5).double()
    each = made.linear(bag.transpose(1, 2))
    p = each.softmax(2) if kind == "multiclass" else each.sigmoid()
    a = made.weights(bag)[..., None] if how == "attention" else 0.2
    found = made.over_instances(bag)
    got = found.softmax(1) if kind == "multiclass" else found.sigmoid()
    torch.testing.assert_close(got, (a * p).sum(1))
    assert torch.allclose(found.exp().sum(1), torch.ones(2).double()) == (kind == "multiclass")


def test_log_mean_without_weights_is_the_logarithm_of_the_mean() -> None:
    x = torch.randn(2, 3, 4).double()
    torch.testing.assert_close(log_mean(x), x.exp().mean(2).log())


@pytest.mark.parametrize(
    ("pool", "kind"),
    [
        (Pooled("noisy_or", "embedding"), "binary"),
        (Pooled("noisy_or", "instance"), "multiclass"),
        (Pooled("attention", "instance"), "regression"),
    ],
)
def test_what_would_mean_nothing_is_refused(pool: Pooled, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"net\.pool"):
        PooledInstances(3, 2, pool=pool, kind=kind)
