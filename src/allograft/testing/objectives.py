"""Contract of an objective: a finite loss whose gradient goes where it should, and nowhere else.

Each check raises AssertionError with what the objective does wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Objective, Paired, Progress
from allograft.core.task import Task
from allograft.data.case import Batch, View
from allograft.nets.network import Head, Network
from allograft.nets.spec import NetSpec
from allograft.objectives.supervised import Supervised
from allograft.testing.methods import check_method
from allograft.testing.stopping import check_continues
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_task

__all__ = ["check_objective"]

POISON = float("nan")
AT = Progress(3, 10)


def check_objective(
    objective: Method, dims: int, *, task: Task | None = None, order_matters: bool = False, dropout: float = 0.0
) -> None:
    """Check an objective on a tiny network and synthetic batches.

    Args:
        objective: the objective.
        dims: 2 or 3.
        task: what is predicted, three classes by default.
        order_matters: whether the loss may depend on the order of the cases in a batch.
        dropout: on what the network's head reads, for objectives that need chance; the order matters then.
    """
    check_method(objective)
    assert isinstance(objective, Objective), f"{objective!r} lacks streams() or build()"
    bench = _Bench(objective, dims, task or tiny_task(), dropout)
    bench.check_gradients()
    bench.check_absent_targets()
    if not order_matters and not dropout:
        bench.check_order()
    if "weight" in type(objective).model_fields:
        bench.check_weight_zero()
    bench.check_resume()


@dataclass(frozen=True)
class _Bench:
    """An objective with the material to try it on."""

    objective: Objective
    dims: int
    task: Task
    dropout: float = 0.0

    def nets(self) -> dict[str, Network]:
        """Return the same tiny networks each time; those of a paired objective begin with other values."""
        dense = self.task.kind == "segmentation"
        spec = NetSpec(encoder="tiny", dims=3 if self.dims == 3 else 2, decoder="tiny" if dense else "")
        partners = self.objective.partners(spec) if isinstance(self.objective, Paired) else ()
        nets = {}
        for seed, name in enumerate(("net", *partners)):
            nets[name] = tiny_net(self.dims, seed=seed, outputs=self.task.outputs, decoder=dense)
            nets[name].tasks = {self.task.head: self.task}
            if self.dropout:
                nets[name].heads["label"] = _Forgetful(nets[name].heads["label"], self.dropout)
        return nets

    def streams(self) -> TinyStreams:
        """Return streams of the names that the objective reads."""
        labelled = {name: spec.labelled for name, spec in self.objective.streams().items()}
        return TinyStreams(self.dims, self.task, labelled)

    def batch(self) -> dict[str, Batch]:
        """Return one batch per stream, with as many views as asked for."""
        found = dict(self.streams().at(0))
        for name, spec in self.objective.streams().items():
            image = found[name].image
            assert isinstance(image, Tensor), "synthetic batches hold images"
            views = tuple(View(image + 0.1 * k, ({},) * len(image)) for k in range(1, spec.views + 1))
            found[name] = replace(found[name], views=views)
        return found

    def build(self, nets: Mapping[str, Network], objective: Objective | None = None) -> Criterion:
        """Return the criterion, its own modules always with the same values."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return (objective or self.objective).build(nets, self.task)

    def losses(self, batch: Mapping[str, Batch], objective: Objective | None = None) -> dict[str, Loss]:
        """Return each player's loss on fresh networks; the gradients go with them."""
        nets = self.nets()
        criterion = self.build(nets, objective)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            return {p.name: criterion(nets, batch, AT, p.name) for p in criterion.players(nets)}

    def check_gradients(self) -> None:
        """Check that each player's loss is a finite scalar that moves the player and nothing frozen."""
        nets = self.nets()
        criterion = self.build(nets)
        players = criterion.players(nets)
        assert players, "nobody moves"
        moved = False
        for player in players:
            loss = criterion(nets, self.batch(), AT, player.name)
            assert loss.total.shape == (), f"{player.name}: the loss has shape {tuple(loss.total.shape)}, not ()"
            assert bool(torch.isfinite(loss.total)), f"{player.name}: the loss is {loss.total.item()}"
            assert not any(part.requires_grad for part in loss.parts.values()), f"{player.name}: parts keep the graph"
            grads = torch.autograd.grad(
                loss.total, [p for p in player.parameters if p.requires_grad], allow_unused=True
            )
            found = [grad for grad in grads if grad is not None]
            assert all(bool(grad.isfinite().all()) for grad in found), f"{player.name}: a gradient is not finite"
            assert any(bool(grad.any()) for grad in found), f"{player.name}: its loss does not move it"
            inside = {id(p) for p in nets["net"].encoder.parameters()}
            asked = [p for p in player.parameters if p.requires_grad]
            moved |= any(id(p) in inside and g is not None and bool(g.any()) for p, g in zip(asked, grads, strict=True))
        assert moved, "no player's loss reaches the encoder"

    def check_absent_targets(self) -> None:
        """Check that targets of unlabelled streams and absent targets of others are never read."""
        plain = self.batch()
        streams = self.objective.streams()
        some = {name: self._drop_first(part) if streams[name].labelled else part for name, part in plain.items()}
        poisoned = {name: self._poison(part, labelled=streams[name].labelled) for name, part in some.items()}
        _assert_same(self.losses(some), self.losses(poisoned), "absent targets reach the loss", tolerance=0)

    def check_order(self) -> None:
        """Check that the order of cases in a batch is irrelevant."""
        plain = self.batch()
        turned = {name: _reversed(part) for name, part in plain.items()}
        _assert_same(self.losses(plain), self.losses(turned), "the order of cases changes the loss", tolerance=1e-5)

    def check_weight_zero(self) -> None:
        """Check that weight 0 gives exactly the plain task's gradients."""
        assert isinstance(self.objective, Method), "checked before"
        zero = self.objective.model_copy(update={"weight": 0.0})
        assert isinstance(zero, Objective), "checked before"
        first = next(name for name, spec in self.objective.streams().items() if spec.labelled)
        batch = self.batch()
        for name, got in self._net_gradients(batch, zero).items():
            want = self._net_gradients({"train": batch[first]}, Supervised())[name]
            same = torch.equal(got, want) if got is not None and want is not None else got is want
            assert same, f"weight 0 still changes the gradient of {name}"

    def check_resume(self) -> None:
        """Check that training that is stopped and continued equals training that is not."""
        check_continues(self._made, lambda step: self.batch())

    def _made(self) -> tuple[dict[str, Network], Criterion]:
        nets = self.nets()
        return nets, self.build(nets)

    def _net_gradients(self, batch: Mapping[str, Batch], objective: Objective) -> dict[str, Tensor | None]:
        nets = self.nets()
        criterion = self.build(nets, objective)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            total = criterion(nets, batch, AT, criterion.players(nets)[0].name).total
        named = dict(nets["net"].named_parameters())
        grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        return {name: None if grad is None or not grad.any() else grad for name, grad in zip(named, grads, strict=True)}

    def _drop_first(self, batch: Batch) -> Batch:
        """Say that the first case's target is absent."""
        present = {name: flags.clone() for name, flags in batch.present.items()}
        for flags in present.values():
            flags[0] = False
        return replace(batch, present=present)

    def _poison(self, batch: Batch, *, labelled: bool) -> Batch:
        """Put NaN (or a class that does not exist) where no target may be read."""
        if not labelled:
            targets = {self.task.head: torch.full((len(batch.ids),), POISON)}
            return replace(batch, targets=targets, present={self.task.head: torch.ones(len(batch.ids)).bool()})
        targets = copy.deepcopy(dict(batch.targets))
        for target in targets.values():
            target[0] = POISON if target.is_floating_point() else 10**6 if target.ndim == 1 else -1
        return replace(batch, targets=targets)


class _Forgetful(Head):
    """A head behind dropout."""

    def __init__(self, inner: nn.Module, rate: float) -> None:
        super().__init__()
        self.inner, self.dropout = inner, nn.Dropout(rate)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        logits: Tensor = self.inner(self.dropout(pooled), None if decoded is None else self.dropout(decoded))
        return logits


def _reversed(batch: Batch) -> Batch:
    """Return the batch with its cases in reverse order."""
    assert isinstance(batch.image, Tensor), "synthetic batches hold images"
    return replace(
        batch,
        image=batch.image.flip(0),
        targets={name: value.flip(0) for name, value in batch.targets.items()},
        present={name: value.flip(0) for name, value in batch.present.items()},
        views=tuple(View(view.image.flip(0), view.draws[::-1]) for view in batch.views),
        ids=batch.ids[::-1],
    )


def _assert_same(one: Mapping[str, Loss], two: Mapping[str, Loss], what: str, *, tolerance: float) -> None:
    """Compare the players' losses."""
    for name, loss in one.items():
        a, b = float(loss.total.detach()), float(two[name].total.detach())
        assert abs(a - b) <= tolerance * max(1.0, abs(a)), f"{what}: player {name}, {a} became {b}"
