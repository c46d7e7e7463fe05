"""Supervised: PyTorch's own losses, a worked value, absent targets, weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from allograft.contracts import Progress
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Output
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.supervised import Supervised
from allograft.objectives.task_loss import task_loss
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_task

WEIGHTS = (0.5, 1.0, 3.0)


def output(logits):
    return Output((), torch.zeros(len(logits), 1), {"label": logits})


def batch_of(target, present=None, weight=None):
    here = torch.ones(len(target)).bool() if present is None else torch.tensor(present)
    return Batch(
        image=torch.zeros(len(target), 1, 2, 2), targets={"label": target}, present={"label": here}, weight=weight
    )


def loss_of(kind, logits, batch, **settings):
    return task_loss(tiny_task(kind), **settings)(output(logits), batch).total


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_multiclass_equals_pytorch(generator, smoothing, weights):
    logits, target = torch.randn(9, 3, generator=generator), torch.randint(3, (9,), generator=generator)
    ours = loss_of("multiclass", logits, batch_of(target), label_smoothing=smoothing, class_weights=weights)
    theirs = F.cross_entropy(
        logits, target, weight=torch.tensor(weights) if weights else None, label_smoothing=smoothing
    )
    torch.testing.assert_close(ours, theirs)


def test_soft_targets_give_the_worked_value():
    logits = torch.tensor([[1.0, 0.5, -1.0]])
    soft = loss_of("multiclass", logits, batch_of(torch.tensor([[0.7, 0.2, 0.1]])))
    hard = loss_of("multiclass", logits, batch_of(torch.tensor([0])))
    assert float(soft) == pytest.approx(0.8549569, abs=1e-6)
    assert float(hard) == pytest.approx(0.5549570, abs=1e-6)


def test_binary_equals_pytorch(generator):
    logits, target = torch.randn(9, 1, generator=generator), torch.randint(2, (9,), generator=generator)
    theirs = F.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    torch.testing.assert_close(loss_of("binary", logits, batch_of(target)), theirs)


def test_binary_class_weights_are_a_weighted_mean(generator):
    logits, target = torch.randn(9, 1, generator=generator), torch.randint(2, (9,), generator=generator)
    share = torch.tensor([1.0, 4.0])[target]
    each = F.binary_cross_entropy_with_logits(logits[:, 0], target.float(), reduction="none")
    ours = loss_of("binary", logits, batch_of(target), class_weights=(1.0, 4.0))
    torch.testing.assert_close(ours, (each * share).sum() / share.sum())


@pytest.mark.parametrize("hole", [-1.0, float("nan")])
def test_multilabel_equals_pytorch_over_the_labels_present(generator, hole):
    logits = torch.randn(5, 3, generator=generator, requires_grad=True)
    target = torch.randint(2, (5, 3), generator=generator).float()
    theirs = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(loss_of("multilabel", logits, batch_of(target)), theirs)
    target[1, 2] = target[4, 0] = hole
    known = target >= 0
    ours = loss_of("multilabel", logits, batch_of(target))
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits[known], target[known]))
    ours.backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[~known].any()


def test_regression_equals_pytorch(generator):
    logits, target = torch.randn(6, 1, generator=generator), torch.randn(6, generator=generator)
    torch.testing.assert_close(loss_of("regression", logits, batch_of(target)), F.mse_loss(logits[:, 0], target))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression"])
def test_absent_targets_reach_neither_loss_nor_gradient(generator, kind):
    task = tiny_task(kind)
    batch = tiny_batch(2, task, size=6)
    target = batch.targets["label"].float() if kind in {"multilabel", "regression"} else batch.targets["label"]
    logits = torch.randn(6, task.outputs, generator=generator)
    keep = [0, 2, 3, 5]
    plain = loss_of(kind, logits[keep], batch_of(target[keep]))
    poisoned = target.clone()
    poisoned[[1, 4]] = float("nan") if target.is_floating_point() else 10**6
    asked = logits.clone().requires_grad_()
    ours = loss_of(kind, asked, batch_of(poisoned, present=[True, False, True, True, False, True]))
    ours.backward()
    torch.testing.assert_close(ours.detach(), plain)
    assert not asked.grad[[1, 4]].any()
    assert asked.grad[keep].any()


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression"])
def test_no_labelled_case_gives_zero_with_a_zero_gradient(kind):
    task = tiny_task(kind)
    batch = tiny_batch(2, task, size=4)
    nothing = replace(batch, present={"label": torch.zeros(4).bool()})
    logits = torch.randn(4, task.outputs, requires_grad=True)
    loss = loss_of(kind, logits, nothing)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_case_weights_are_a_weighted_mean_and_move_the_loss(generator):
    logits, target = torch.randn(5, 3, generator=generator), torch.randint(3, (5,), generator=generator)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0])
    each = F.cross_entropy(logits, target, reduction="none")
    ours = loss_of("multiclass", logits, batch_of(target, weight=weight))
    torch.testing.assert_close(ours, (each * weight).sum() / weight.sum())
    assert ours != loss_of("multiclass", logits, batch_of(target))


def test_double_case_equals_weight_two(generator):
    logits, target = torch.randn(3, 3, generator=generator), torch.randint(3, (3,), generator=generator)
    twice = loss_of("multiclass", logits[[0, 0, 1, 2]], batch_of(target[[0, 0, 1, 2]]))
    weighted = loss_of("multiclass", logits, batch_of(target, weight=torch.tensor([2.0, 1.0, 1.0])))
    torch.testing.assert_close(twice, weighted)


def test_a_step_against_the_gradient_lowers_the_loss():
    task, net = tiny_task(), tiny_net(2, outputs=3)
    batch = {"train": tiny_batch(2, task)}
    criterion = Supervised().build({"net": net}, task)
    before = criterion({"net": net}, batch, Progress(0, 1), "all").total
    before.backward()
    torch.optim.SGD(net.parameters(), lr=0.01).step()
    assert criterion({"net": net}, batch, Progress(0, 1), "all").total < before


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("multiclass", {"class_weights": (1.0, 2.0)}, "3 classes"),
        ("regression", {"label_smoothing": 0.1}, "regression has none"),
        ("segmentation", {"class_weights": (1.0, 2.0)}, "3 classes"),
        ("multiclass", {"segmentation": SegmentationLoss()}, "do nothing in a multiclass task"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        task_loss(tiny_task(kind), **settings)


def test_a_head_of_another_name_is_refused():
    with pytest.raises(DataError, match='head "grade"'):
        task_loss(Task(kind="binary", classes=("no", "yes"), head="grade"))(
            output(torch.zeros(2, 1)), batch_of(torch.zeros(2))
        )


def test_wrong_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"logits \(B, 3\)"):
        loss_of("multiclass", torch.zeros(2, 4), batch_of(torch.zeros(2)))
    with pytest.raises(DataError, match="one per case"):
        loss_of("multiclass", torch.zeros(2, 3), batch_of(torch.zeros(2), weight=torch.ones(2, 1)))
