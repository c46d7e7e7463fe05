"""Multi-task: sums written out, one task as supervised, absent tasks, learned weights, turns, denoising."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from allograft.contracts import Budget, Criterion, Optim, Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.build import Parts, build_network
from allograft.nets.decoders.unet import UNet
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.multi_task import DENOISE, MultiTask
from allograft.objectives.supervised import Supervised
from allograft.objectives.task_loss import task_loss
from allograft.objectives.task_weights import TaskWeights
from allograft.testing.encoders import tiny_encoder
from allograft.testing.training import tiny_batch, tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training

AT = Progress(0, 10)
TASKS = {
    "label": Task(kind="multiclass", classes=("a", "b", "c")),
    "lesion": Task(kind="segmentation", classes=("a", "b", "c"), head="lesion"),
    "hand": Task(kind="binary", classes=("no", "yes"), head="hand"),
    DENOISE: Task(kind="restoration", classes=("image",), head=DENOISE),
}


def network(dims: int, tasks: dict[str, Task] = TASKS) -> Network:
    spec = NetSpec(encoder="tiny", dims=dims, decoder="unet").for_tasks(tasks.values())
    made = Parts(tiny_encoder, UNet if spec.decoder else None)
    return build_network(spec, tasks, in_channels=3, seed=0, parts=made)


def train(dims: int, step: int = 0) -> Batch:
    """Return a synthetic batch of cases with a class and a mask."""
    first, second = (tiny_batch(dims, TASKS[name], seed=step) for name in ("label", "lesion"))
    assert torch.equal(first.image, second.image)
    return replace(first, targets={**first.targets, **second.targets}, present={**first.present, **second.present})


def batches(dims: int, step: int = 0) -> dict[str, Batch]:
    return {"train": train(dims, step), "hand": tiny_batch(dims, TASKS["hand"], seed=step + 1000)}


def criterion(net: Network, **settings: Any) -> Criterion:
    torch.manual_seed(1)
    return MultiTask(**settings).build({"net": net}, TASKS["label"])


def loss(made: Criterion, net: Network, batch: dict[str, Batch], at: Progress = AT) -> torch.Tensor:
    torch.manual_seed(2)
    return made({"net": net}, batch, at, "all").total


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_weighted_sum_of_single_losses_and_a_mean_squared_error(dims: int) -> None:
    net, batch = network(dims), batches(dims)
    weights = {"label": 2.0, "lesion": 0.5, DENOISE: 3.0}
    made = criterion(net, also=("lesion",), on=("hand",), denoise=0.3, weights=weights)
    found = loss(made, net, batch)
    one = {name: task_loss(TASKS[name]) for name in ("label", "lesion", "hand")}
    out = net(batch["train"].image)
    single = [2 * one["label"](out, batch["train"]).total, 0.5 * one["lesion"](out, batch["train"]).total]
    single.append(one["hand"](net(batch["hand"].image), batch["hand"]).total)
    torch.manual_seed(2)
    errors = []
    for part in batch.values():
        noise = torch.randn_like(part.image)
        errors.append(torch.nn.functional.mse_loss(net(part.image + 0.3 * noise).logits[DENOISE], part.image))
    single.append(3 * sum(errors) / 2)
    torch.testing.assert_close(found, sum(single))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("weighting", ["fixed", "alternating"])
def test_one_active_task_trains_bit_for_bit_as_supervised(dims: int, weighting: str) -> None:
    """The network has all heads; only one task is active, under the same seed."""
    ended = []
    for objective in (MultiTask(weighting=weighting), Supervised()):
        net = network(dims)
        training = Training(
            plans={"net": tiny_plan(net)}, optim=Optim(lr=0.02), budget=Budget(steps=4, evals=1), seed=0
        )
        made = objective.build({"net": net}, TASKS["label"])
        fit({"net": net}, made, _Streams(dims), training)
        ended.append(net.state_dict())
    for key, value in ended[0].items():
        assert torch.equal(value, ended[1][key]), key


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_missing_task_gives_its_head_no_gradient_and_its_weight_none(dims: int, weighting: str) -> None:
    net, batch = network(dims), batches(dims)
    nobody = {**batch["train"].present, "lesion": torch.zeros(8).bool()}
    batch["train"] = replace(batch["train"], present=nobody)
    made = criterion(net, also=("lesion",), on=("hand",), weighting=weighting)
    loss(made, net, batch).backward()
    moved = {name: p.grad is not None and bool(p.grad.any()) for name, p in net.named_parameters()}
    assert not any(on for name, on in moved.items() if name.startswith(("heads.lesion", "heads.denoise", "decoder")))
    assert any(on for name, on in moved.items() if name.startswith("heads.label"))
    assert any(on for name, on in moved.items() if name.startswith("encoder"))
    if weighting == "uncertainty":
        gradient = made.weights.s.grad
        assert gradient is not None
        assert gradient[1] == 0
        assert bool(gradient[[0, 2]].all())


def test_cases_without_a_task_count_only_for_the_others() -> None:
    net, batch = network(2), batches(2)
    half = torch.arange(8) < 4
    present = {**batch["train"].present, "lesion": half}
    batch["train"] = replace(batch["train"], present=present)
    made = criterion(net, also=("lesion",))
    found = made({"net": net}, batch, AT, "all").parts["task_lesion"]
    part = batch["train"]
    some = replace(part, image=part.image[half], targets={"lesion": part.targets["lesion"][half]})
    some = replace(some, present={"lesion": half[half]}, ids=part.ids[:4])
    out = net(part.image)._replace(logits={"lesion": net(part.image).logits["lesion"][half]})
    torch.testing.assert_close(found, task_loss(TASKS["lesion"])(out, some).total.detach())


def test_uncertain_weights_have_their_optimum_at_the_logarithm_of_the_loss() -> None:
    made = TaskWeights(("a", "b"), "uncertainty", {})
    fixed = {"a": torch.tensor(0.2), "b": torch.tensor(3.0)}
    optim = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(400):
        optim.zero_grad()
        made(fixed, frozenset()).backward()
        optim.step()
    torch.testing.assert_close(made.s.detach(), torch.tensor([0.2, 3.0]).log(), atol=1e-3, rtol=0)
    assert float(made(fixed, frozenset())) == pytest.approx(2 + float(torch.tensor([0.2, 3.0]).log().sum()), abs=1e-5)


def test_every_task_has_one_turn_in_a_round_in_an_order_that_step_and_seed_decide() -> None:
    def turns(seed: int) -> list[str]:
        torch.manual_seed(seed)
        made = TaskWeights(("a", "b", "c"), "alternating", {})
        assert [made.active(step) for step in (7, 3)] == [made.active(step) for step in (7, 3)]
        return [made.active(step)[0] for step in range(30)]

    one = turns(0)
    rounds = [tuple(one[i : i + 3]) for i in range(0, 30, 3)]
    assert all(set(turn) == {"a", "b", "c"} for turn in rounds)
    assert len(set(rounds)) > 1
    assert turns(0) == one
    assert turns(1) != one


def test_an_alternating_step_moves_one_head_alone() -> None:
    net, batch = network(2), batches(2)
    made = criterion(net, also=("lesion",), on=("hand",), denoise=0.1, weighting="alternating")
    seen = set()
    for step in range(4):
        net.zero_grad()
        loss(made, net, batch, Progress(step, 10)).backward()
        moved = {n.split(".")[1] for n, p in net.named_parameters() if n.startswith("heads") and p.grad is not None}
        assert moved == set(made.weights.active(step))
        seen |= moved
    assert seen == set(TASKS)


def test_unlabelled_cases_teach_their_further_labels_and_denoising() -> None:
    net, batch = network(2), batches(2)
    more = train(2, 5)
    batch["unlabelled"] = replace(
        more, targets={"lesion": more.targets["lesion"]}, present={"lesion": more.present["lesion"]}
    )
    made = criterion(net, also=("lesion",), denoise=0.1, unlabelled=True)
    found = made({"net": net}, batch, AT, "all").parts["task_lesion"]
    single = [task_loss(TASKS["lesion"])(net(batch[n].image), batch[n]).total for n in ("train", "unlabelled")]
    torch.testing.assert_close(found, (sum(single) / 2).detach())
    spec = MultiTask(also=("lesion",), unlabelled=True).streams()["unlabelled"]
    assert (spec.role, spec.labelled, spec.heads) == ("unlabelled", True, ("lesion",))
    assert not MultiTask(denoise=0.1, unlabelled=True).streams()["unlabelled"].labelled


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_denoising_leaves_less_noise_than_there_was(dims: int) -> None:
    tasks = {name: TASKS[name] for name in ("label", DENOISE)}
    net, sigma = network(dims, tasks), 2.0
    training = Training(plans={"net": tiny_plan(net)}, optim=Optim(lr=0.01), budget=Budget(steps=80, evals=1), seed=0)
    fit({"net": net}, criterion(net, denoise=sigma), _Streams(dims), training)
    net.eval()
    clean = train(dims, 777).image
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert (net(noisy).logits[DENOISE] - clean).square().mean() < 0.6 * (noisy - clean).square().mean()


class _Streams:
    def __init__(self, dims: int) -> None:
        self.dims = dims

    def at(self, step: int) -> dict[str, Batch]:
        return batches(self.dims, step)


def test_heads_and_weights_that_are_not_there_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="procedure: ums_rep"):
        criterion(network(2), also=("foot",))
    with pytest.raises(ConfigError, match="foot"):
        criterion(network(2), weights={"foot": 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": {"label": 1.0}, "weighting": "uncertainty"},
        {"weights": {"label": -1.0}},
        {"unlabelled": True},
        {"also": ("a",), "on": ("a",)},
        {"on": (DENOISE,)},
    ],
)
def test_settings_that_would_do_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MultiTask(**wrong)
