"""Contract of a pretext task: an objective that learns from images alone.

Each check raises AssertionError with what the task does wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.seeds import seed_for
from allograft.core.task import Kind, Task
from allograft.data.case import Batch, View
from allograft.nets.network import Head, Network
from allograft.objectives.pretext import IMAGES, Drawn, Pretext
from allograft.testing.methods import check_method
from allograft.testing.stopping import check_continues
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task

__all__ = ["PretextBench", "check_pretext"]

AT = Progress(3, 10)
KINDS: tuple[Kind, ...] = ("binary", "multiclass", "segmentation")
"""What a study may predict; a pretext task works beside each and looks at none."""


def check_pretext(
    objective: Method, dims: int, *, size: int = 8, batch: int = 6, widths: tuple[int, ...] = (4, 6, 8)
) -> None:
    """Check a pretext task on a tiny network and synthetic images.

    The loss is a finite scalar, in full precision also where the network is in half, whose gradient reaches the
    encoder and every part of the criterion that asks for one;
    no target is read and no label is asked for; looking at held-out images changes nothing; training that is stopped
    and continued is bit for bit training that is not; pictures, where there are some, are images.

    Args:
        objective: the task.
        dims: 2 or 3.
        size: elements of the images along each axis.
        batch: images in a step.
        widths: channels of the encoder's levels.
    """
    check_method(objective)
    assert isinstance(objective, Pretext), f"{objective!r} lacks streams(), tasks() or build()"
    bench = PretextBench(objective, dims, size, batch, widths)
    bench.check_streams()
    bench.check_gradients()
    bench.check_targets()
    bench.check_precision()
    bench.check_judging()
    bench.check_pictures()
    bench.check_resume()


@dataclass(frozen=True)
class PretextBench:
    """A pretext task with the material to try it on."""

    objective: Pretext
    dims: int
    size: int = 8
    cases: int = 6
    widths: tuple[int, ...] = (4, 6, 8)

    def nets(self) -> dict[str, Network]:
        """Return the same tiny network each time, with the heads that the task asks for."""
        tasks = self.objective.tasks(self.dims)
        dense = any(task.dense for task in tasks.values())
        net = tiny_net(self.dims, widths=self.widths, decoder=dense)
        net.heads = nn.ModuleDict({name: self._head(task) for name, task in tasks.items()})
        net.tasks = dict(tasks)
        return {"net": net}

    def batch(self, step: int = 0) -> dict[str, Batch]:
        """Return one batch per stream: noise images of three patients, with as many views as asked for."""
        found = {}
        for name, spec in self.objective.streams().items():
            made = torch.Generator().manual_seed(seed_for("pretext", name, step))
            image = torch.randn((self.cases, 3, *[self.size] * self.dims), generator=made)
            views = [image + 0.3 * torch.randn(image.shape, generator=made) for _ in range(spec.views)]
            found[name] = Batch(
                image=image,
                views=tuple(View(view, ({},) * self.cases) for view in views),
                ids=tuple(f"case-{step}-{i}" for i in range(self.cases)),
                groups=tuple(f"patient-{i % 3}" for i in range(self.cases)),
            )
        return found

    def build(self, nets: Mapping[str, Network], task: Task | None = None) -> Criterion:
        """Return the criterion, its own modules always with the same values."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return self.objective.build(nets, task or tiny_task())

    def check_streams(self) -> None:
        """Check that images are all that is asked for, in the role that the procedure fills."""
        streams = self.objective.streams()
        assert IMAGES in streams, f'no stream is called "{IMAGES}": {list(streams)}'
        for name, spec in streams.items():
            assert spec.role == IMAGES, f'stream "{name}" reads the role "{spec.role}", not "{IMAGES}"'
            assert not spec.labelled, f'stream "{name}" asks for labels'
            assert spec.pixels or spec.views, f'stream "{name}" would be given cached features'

    def check_gradients(self) -> None:
        """Check that the loss is a finite scalar that moves the encoder, and all that asks to be moved."""
        for kind in KINDS:
            nets = self.nets()
            criterion = self.build(nets, tiny_task(kind))
            moved = set[str]()
            names = {p: f"criterion.{name}" for name, p in criterion.named_parameters() if p.requires_grad}
            names |= {p: f"net.{name}" for name, p in nets["net"].named_parameters()}
            for player in criterion.players(nets):
                moved |= self._moved(criterion, nets, player.name, names)
            assert any(name.startswith("net.encoder.") for name in moved), "no loss reaches the encoder"
            still = {name for name in names.values() if name.startswith("criterion.")} - moved
            assert not still, f"these ask for a gradient and get none: {sorted(still)}"

    def _moved(
        self, criterion: Criterion, nets: Mapping[str, Network], player: str, names: Mapping[nn.Parameter, str]
    ) -> set[str]:
        """Return the names of what a player's loss moves."""
        loss = self._loss(criterion, nets, self.batch(), player)
        assert loss.total.shape == (), f"{player}: the loss has shape {tuple(loss.total.shape)}, not ()"
        assert bool(torch.isfinite(loss.total)), f"{player}: the loss is {loss.total.item()}"
        parts = [name for name, part in loss.parts.items() if part.requires_grad]
        assert not parts, f"{player}: parts keep the graph: {parts}"
        grads = torch.autograd.grad(loss.total, list(names), allow_unused=True)
        wrong = [names[p] for p, g in zip(names, grads, strict=True) if g is not None and not bool(g.isfinite().all())]
        assert not wrong, f"{player}: gradients are not finite: {wrong}"
        return {names[p] for p, g in zip(names, grads, strict=True) if g is not None}

    def check_targets(self) -> None:
        """Check that the loss is the same whatever targets a batch carries."""
        plain = self.batch()
        carried = {
            name: replace(
                part,
                targets={"label": torch.full((self.cases,), float("nan"))},
                present={"label": torch.ones(self.cases).bool()},
            )
            for name, part in plain.items()
        }
        one, two = (self._fresh_losses(batch) for batch in (plain, carried))
        assert one == two, f"targets reach the loss: {one} became {two}"

    def check_precision(self) -> None:
        """Check that a network in half precision still has a finite loss in full precision."""
        nets = self.nets()
        criterion = self.build(nets)
        for player in criterion.players(nets):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                total = self._loss(criterion, nets, self.batch(), player.name).total
            assert bool(torch.isfinite(total)), f"{player.name}: in half precision the loss is {total.item()}"
            assert total.dtype == torch.float32, f"{player.name}: in half precision the loss is made in {total.dtype}"

    def check_judging(self) -> None:
        """Check that a look at held-out images in evaluation mode is finite and leaves all tensors as they are."""
        nets = self.nets()
        criterion = self.build(nets).eval()
        nets["net"].eval()
        before = copy.deepcopy({**criterion.state_dict(), **nets["net"].state_dict()})
        with torch.no_grad():
            for step, player in enumerate(criterion.players(nets)):
                loss = self._loss(criterion, nets, self.batch(step), player.name)
                assert bool(torch.isfinite(loss.total)), f"the held-out loss is {loss.total.item()}"
        after = {**criterion.state_dict(), **nets["net"].state_dict()}
        changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
        assert not changed, f"looking at held-out images changes {changed}"
        handed = criterion.result(nets)
        same = {k: v.shape for k, v in handed.state_dict().items()}
        assert same == {k: v.shape for k, v in nets["net"].state_dict().items()}, "another network is handed on"

    def check_pictures(self) -> None:
        """Check that pictures, where there are some, are finite images of one size."""
        nets = self.nets()
        criterion = self.build(nets).eval()
        if not isinstance(criterion, Drawn):
            return
        with torch.no_grad():
            shown = criterion.pictures({"net": nets["net"].eval()}, self.batch())
        assert shown, "there are no pictures"
        for name, image in shown.items():
            assert image.ndim == self.dims + 2, f'picture "{name}" has shape {tuple(image.shape)}, not (B, C, *S)'
            assert bool(image.isfinite().all()), f'picture "{name}" is not finite'

    def check_resume(self) -> None:
        """Check that training that is stopped and continued equals training that is not."""
        check_continues(self._made, self.batch)

    def _made(self) -> tuple[dict[str, Network], Criterion]:
        nets = self.nets()
        return nets, self.build(nets)

    def _fresh_losses(self, batch: Mapping[str, Batch]) -> Sequence[float]:
        """Return every player's loss on a fresh network."""
        nets = self.nets()
        criterion = self.build(nets)
        return [float(self._loss(criterion, nets, batch, p.name).total.detach()) for p in criterion.players(nets)]

    def _loss(self, criterion: Criterion, nets: Mapping[str, Network], batch: Mapping[str, Batch], player: str) -> Loss:
        """Return a loss with the chance of one step."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            found: Loss = criterion(nets, batch, AT, player)
        return found

    def _head(self, task: Task) -> Head:
        """Return a head for a task: of the image's three channels for a restoration."""
        outputs = 3 if task.kind == "restoration" else task.outputs
        made = tiny_net(self.dims, outputs=outputs, widths=self.widths, decoder=task.dense)
        head = made.heads["label"]
        assert isinstance(head, Head), "made above"
        return head
