"""PnP-AdaNet: losses typed out, a branch that stays bit for bit, and features that meet under a synthetic shift."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from allograft.contracts import Budget, Lab, Optim, Progress, Started
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.critic import Critic
from allograft.nets.modes import unmoved
from allograft.nets.network import Network
from allograft.objectives.pnp_adanet import PnPAdaNet
from allograft.objectives.supervised import Supervised
from allograft.procedures.pnp_adanet import PnPAdaNetAfterSource
from allograft.testing.objectives import check_objective
from allograft.testing.procedures import FakeLab
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training
from allograft.tunings.only import Only

LATE = Progress(9, 10)
SMALL: dict[str, Any] = {"width": 4, "turns": 3}
SHAPES = [(2, "multiclass"), (2, "segmentation"), (3, "binary"), (3, "segmentation")]


def of(dims: int, kind: Any, **settings: Any) -> tuple[Network, Task]:
    task = tiny_task(kind)
    net = tiny_net(dims, outputs=task.outputs, decoder=kind == "segmentation", **settings)
    net.tasks = {"label": task}
    return net, task


def batches(
    dims: int, task: Task, step: int = 0, size: int = 6, change: Any = lambda x: 0.4 * x - 1
) -> dict[str, Batch]:
    source = tiny_batch(dims, task, size=size, seed=2 * step, labelled=False)
    target = tiny_batch(dims, task, size=size, seed=2 * step + 1, labelled=False)
    return {"source": source, "target": replace(target, image=change(target.image))}


class Sites:
    """Endless synthetic images of two sites whose grey values differ by an affine map."""

    def __init__(self, dims: int, task: Task, size: int = 6) -> None:
        self.dims, self.task, self.size = dims, task, size

    def at(self, step: int) -> Mapping[str, Batch]:
        return batches(self.dims, self.task, step, self.size)


def train(net: Network, task: Task, objective: PnPAdaNet, stages: tuple[str, ...], steps: int, size: int = 6) -> Any:
    nets = {"net": net}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        criterion = objective.build(nets, task)
    plan = Only(stages=stages).learn(tiny_plan(net), steps)
    fit(
        nets,
        criterion,
        Sites(net.shape.dims, task, size),
        Training(plans={"net": plan}, optim=Optim(), budget=Budget(steps=steps), seed=0),
    )
    return criterion


@pytest.mark.parametrize(("dims", "kind"), SHAPES)
def test_both_losses_are_the_wasserstein_critics_typed_out(dims: int, kind: Any) -> None:
    net, task = of(dims, kind)
    spec = PnPAdaNet(levels=2, scale=0.5, mask_weight=0.3, **SMALL)
    criterion, batch = spec.build({"net": net}, task), batches(dims, task)
    one, two = copy.deepcopy(net).eval()(batch["source"].image), copy.deepcopy(net)(batch["target"].image)

    def score(out: Any) -> Tensor:
        fine, coarse = out.levels[-2:]
        logits, size = out.logits["label"], fine.shape[2:]
        pool = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[dims]
        flat = logits.reshape(*logits.shape[:2], *[1] * dims) if logits.ndim == 2 else logits
        seen = torch.cat([fine, pool(coarse, size), pool(flat, size)], 1)
        return criterion.features(seen).mean() + 0.3 * criterion.masks(logits).mean()

    critics = criterion({"net": net}, batch, LATE, "critics").total
    module = criterion({"net": net}, batch, LATE, "module").total
    torch.testing.assert_close(critics, 0.5 * (score(two) - score(one)))
    torch.testing.assert_close(module, -0.5 * score(two))


@pytest.mark.parametrize(("dims", "kind"), SHAPES)
def test_keeps_the_contract_on_synthetic_batches(dims: int, kind: Any) -> None:
    check_objective(PnPAdaNet(**SMALL), dims, task=tiny_task(kind))


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation")])
def test_the_sources_branch_and_shared_layers_stay_bit_for_bit_and_critics_within_the_clip(
    dims: int, kind: Any
) -> None:
    net, task = of(dims, kind)
    before = copy.deepcopy(net)
    begun = PnPAdaNet(until="stem", **SMALL).build({"net": net}, task)
    image = batches(dims, task)["target"].image
    for name, value in begun.source.eval()(image).logits.items():  # step 0: both branches answer alike
        assert torch.equal(value, copy.deepcopy(net).eval()(image).logits[name])
    criterion = train(net, task, PnPAdaNet(until="stem", clip=0.02, lr=0.01, **SMALL), ("stem",), 4)
    for name, value in before.state_dict().items():
        assert torch.equal(criterion.source.state_dict()[name], value), name
        shared = not name.startswith("encoder.stem")
        assert torch.equal(net.state_dict()[name], value) == shared, name
    weights = [p for critic in (criterion.features, criterion.masks) for p in critic.parameters()]
    criterion({"net": net}, batches(dims, task), LATE, "module")  # whoever looks at the critics sees them clipped
    assert max(float(p.detach().abs().max()) for p in weights) == pytest.approx(0.02)
    assert not any(p.requires_grad for p in criterion.source.parameters())


def test_while_critics_warm_up_the_module_stays() -> None:
    net, task = of(2, "multiclass")
    before = copy.deepcopy(net.state_dict())
    criterion = train(net, task, PnPAdaNet(until="stem", warmup=0.99, **SMALL), ("stem",), 5)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    fresh = PnPAdaNet(**SMALL)
    torch.manual_seed(0)
    again = fresh.build({"net": net}, task)
    assert any(
        not torch.equal(a, b) for a, b in zip(criterion.features.parameters(), again.features.parameters(), strict=True)
    )


def test_players_move_apart_the_critics_twenty_times_and_by_rmsprop() -> None:
    net, task = of(2, "multiclass")
    criterion = PnPAdaNet(until="stage1").build({"net": net}, task)
    critics, module = criterion.players({"net": net})
    assert (critics.name, critics.turns, module.turns) == ("critics", 20, 1)
    assert {p.optim.name for p in (critics, module)} == {"rmsprop"}
    assert {p.optim.lr for p in (critics, module)} == {3e-4}
    inside = {id(p) for n, p in net.named_parameters() if n.startswith(("encoder.stem", "encoder.layer1"))}
    assert {id(p) for p in module.parameters} == inside
    batch = batches(2, task)
    criterion({"net": net}, batch, LATE, "critics").total.backward()
    assert all(p.grad is None for p in net.parameters())


def test_what_critics_see_is_made_once_a_step_and_anew_in_the_next() -> None:
    net, task = of(2, "multiclass")
    criterion, calls = PnPAdaNet(**SMALL).build({"net": net}, task), []
    net.register_forward_hook(lambda *_: calls.append(1))
    batch = batches(2, task)
    stats = {k: v.clone() for k, v in net.state_dict().items()}
    first = [float(criterion({"net": net}, batch, LATE, "critics").total.detach()) for _ in range(3)]
    assert len(calls) == 1
    assert len(set(first)) == 1
    assert all(torch.equal(v, stats[k]) for k, v in net.state_dict().items())  # looked at without being changed
    with torch.no_grad():
        net.encoder.stem["conv"].weight.mul_(-2)
    criterion.after_step({"net": net}, LATE)
    assert float(criterion({"net": net}, batch, LATE, "critics").total.detach()) != first[0]
    assert len(calls) == 2


def test_unmoved_lets_batch_statistics_through_and_leaves_running_ones() -> None:
    net, image = tiny_net(2), torch.randn(4, 3, 8, 8) * 5
    plain = copy.deepcopy(net)(image).pooled
    with unmoved(net):
        torch.testing.assert_close(net(image).pooled, plain)
    assert all(torch.equal(v, tiny_net(2).state_dict()[k]) for k, v in net.state_dict().items())
    net(image)
    assert not torch.equal(net.encoder.stem["norm"].running_mean, torch.zeros(4))


def mmd(a: Tensor, b: Tensor) -> float:
    """Biased squared MMD by scikit-learn's kernel, of the features' scale."""
    one, two = a.numpy(), b.numpy()
    gamma = 1 / (2 * float(torch.pdist(torch.cat([a, b])).median()) ** 2)
    return float(
        rbf_kernel(one, one, gamma).mean() + rbf_kernel(two, two, gamma).mean() - 2 * rbf_kernel(one, two, gamma).mean()
    )


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (2, "segmentation")])
def test_the_mechanism_acts_features_meet_under_a_synthetic_affine_shift_of_grey_values(dims: int, kind: Any) -> None:
    """Without normalisation layers, so that nothing but the critics can bring the two together."""
    net, task = of(dims, kind, norm="none", seed=1)
    source = copy.deepcopy(net)
    train(net, task, PnPAdaNet(until="stem", width=4, turns=5, lr=3e-3), ("stem",), 40, 8)
    test = batches(dims, task, 10_000, 100)

    def seen(network: Network, image: Tensor) -> Tensor:
        with torch.no_grad():
            out = network.eval()(image)
        return out.pooled if kind == "multiclass" else out.logits["label"].flatten(2).mean(2)

    want = seen(source, test["source"].image)
    before, after = mmd(want, seen(source, test["target"].image)), mmd(want, seen(net, test["target"].image))
    assert after < 0.5 * before


class Recording(FakeLab):
    """A lab that keeps what every stage begins with."""

    def train(self, stage: str, started: Started, **settings: Any) -> Network:
        self.begun = [*getattr(self, "begun", []), copy.deepcopy(started.net.state_dict())]
        self.plans = [*getattr(self, "plans", []), started.plan]
        return super().train(stage, started, **settings)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("until", "want"), [("", {"stem", "stage1"}), ("stem", {"stem"})])
def test_two_stages_and_a_second_that_begins_as_the_first_ended(dims: int, until: str, want: set[str]) -> None:
    lab = Recording(dims)
    net = PnPAdaNetAfterSource(share=0.25, adapt=PnPAdaNet(until=until)).run(cast("Lab", lab))
    first, second = lab.asked
    assert (first.stage, first.share, second.stage, second.share) == ("source", 0.75, "adapt", 0.25)
    assert isinstance(first.objective, Supervised)
    assert {s.role: s.labelled for s in second.objective.streams().values()} == {"train": False, "target": False}
    assert net is lab.done["adapt"]
    for name, value in lab.done["source"].state_dict().items():
        assert torch.equal(lab.begun[1][name], value), name
    learns = second.tuning.learn(lab.plans[1], 10)
    assert {entry.stage for entry in learns.entries if not entry.frozen} == want


def test_what_cannot_be_is_refused_before_any_training() -> None:
    lab = FakeLab()
    with pytest.raises(ConfigError, match=r'until names the stage "stage9"; the encoder has stem, stage1, stage2'):
        PnPAdaNetAfterSource(adapt=PnPAdaNet(until="stage9")).run(cast("Lab", lab))
    lab.cohorts = {role: cohort for role, cohort in lab.cohorts.items() if role != "target"}
    with pytest.raises(ConfigError, match="shift"):
        PnPAdaNetAfterSource().run(cast("Lab", lab))
    assert not lab.asked
    net, task = of(2, "multiclass")
    net.bag = cast("Any", object())
    with pytest.raises(ConfigError, match="bag"):
        PnPAdaNet().build({"net": net}, task)


@pytest.mark.parametrize("dims", [0, 2, 3])
def test_a_critic_takes_rows_and_maps_of_any_size(dims: int) -> None:
    critic = Critic(dims, 5, 4)
    for size in (1, 6, 9):
        assert critic(torch.randn(3, 5, *[size] * dims)).shape == (3,)
