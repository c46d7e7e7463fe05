"""GAN: the two losses, who moves in whose turn, and that a discriminator and a generator learn."""

from __future__ import annotations

import copy

import pytest
import torch

from allograft.contracts import Budget, Optim, Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.build import Parts, build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.gan import GAN, Generator
from allograft.testing.encoders import tiny_encoder
from allograft.testing.training import tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training

AT = Progress(0, 10)
SMALL = {"width": 4, "noise": 4, "levels": 2}


def network(dims: int, head: str = "real") -> Network:
    spec = NetSpec(encoder="tiny", dims=3 if dims == 3 else 2)
    task = Task(kind="binary", classes=("made", "real"), head=head)
    return build_network(spec, {head: task}, in_channels=1, seed=0, parts=Parts(tiny_encoder))


def stripes(dims: int, step: int, size: int = 8) -> Batch:
    """Return synthetic images of waves along the last axis, mean 1: nothing that noise looks like."""
    generator = torch.Generator().manual_seed(step)
    phase = 6.3 * torch.rand((size, 1, *[1] * dims), generator=generator)
    wave = torch.sin(torch.arange(10.0) * 1.2 + phase) + 1
    return Batch(image=wave.expand(size, 1, *[10] * dims).contiguous(), ids=tuple(map(str, range(size))))


class Endless:
    def __init__(self, dims: int) -> None:
        self.dims = dims

    def at(self, step: int) -> dict[str, Batch]:
        return {"images": stripes(self.dims, step)}


def built(dims: int):
    net = network(dims)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return net, GAN(**SMALL).build({"net": net}, Task(kind="binary", classes=("a", "b")))


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_pytorchs_binary_cross_entropies(dims: int) -> None:
    net, criterion = built(dims)
    net.eval(), criterion.eval()
    batch = Endless(dims).at(0)
    torch.manual_seed(5)
    made = criterion.generator(batch["images"].image)
    on_real, on_made = (net(x).logits["real"][:, 0] for x in (batch["images"].image, made))
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(on_real, torch.ones(8)) + bce(on_made, torch.zeros(8))
    for player, want in (("discriminator", expected), ("generator", bce(on_made, torch.ones(8)))):
        torch.manual_seed(5)
        torch.testing.assert_close(criterion({"net": net}, batch, AT, player).total, want)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_players_step_moves_itself_alone(dims: int, player: str) -> None:
    net, criterion = built(dims)
    players = {p.name: p for p in criterion.players({"net": net})}
    assert not {id(p) for p in players["generator"].parameters} & {id(p) for p in players["discriminator"].parameters}
    criterion({"net": net}, Endless(dims).at(0), AT, player).total.backward()
    moved = [p for p in players[player].parameters if p.grad is not None and bool(p.grad.any())]
    assert moved
    if player == "discriminator":
        assert not any(p.grad is not None for p in criterion.generator.parameters())


@pytest.mark.parametrize(("dims", "size"), [(2, (17, 32)), (3, (5, 16, 12))])
def test_made_images_have_the_size_of_the_real_ones(dims: int, size: tuple[int, ...]) -> None:
    like = torch.zeros(3, 2, *size)
    torch.manual_seed(0)
    found = Generator(dims, 2, GAN(**SMALL))(like)
    assert found.shape == like.shape
    assert not torch.equal(found[0], found[1])


def gap(generator: Generator, dims: int) -> float:
    """Return how far the mean of made images is from that of new real ones."""
    torch.manual_seed(0)
    with torch.no_grad():
        new = stripes(dims, 999, 32).image
        return abs(float(generator(new).mean() - new.mean()))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_a_discriminator_learns_to_tell_real_from_made(dims: int) -> None:
    net, criterion = built(dims)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(60):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = criterion({"net": net}, Endless(dims).at(step), AT, "discriminator")
        loss.total.backward()
        optimizer.step()
    assert float(loss.total.detach()) < 0.6 * 2 * 0.693
    assert float(loss.parts["accuracy"]) > 0.9


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_made_images_come_near_the_real_ones(dims: int) -> None:
    net, criterion = built(dims)
    before = gap(copy.deepcopy(criterion.generator), dims)
    criterion.spec = GAN(**SMALL, lr=5e-3)
    training = Training(plans={"net": tiny_plan(net)}, optim=Optim(), budget=Budget(steps=80, evals=1), seed=0)
    fit({"net": net}, criterion, Endless(dims), training)
    assert gap(criterion.generator, dims) < 0.7 * before


def test_a_network_without_the_binary_head_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"real.*label"):
        GAN().build({"net": network(2, "label")}, Task(kind="binary", classes=("a", "b")))


@pytest.mark.parametrize("dims", [2, 3])
def test_running_statistics_are_those_of_real_images_alone(dims: int) -> None:
    net, criterion = built(dims)
    judge = copy.deepcopy(net)
    batch = Endless(dims).at(0)
    with torch.no_grad():
        judge(batch["images"].image)
    for player in ("discriminator", "generator"):
        criterion({"net": net}, batch, AT, player)
    for key, value in judge.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key
    begun, kept = network(dims).state_dict(), net.state_dict()
    means = [key for key in begun if key.endswith("running_mean")]
    assert means
    assert not any(torch.equal(kept[key], begun[key]) for key in means)


def test_both_players_have_the_papers_adam() -> None:
    net, criterion = built(2)
    for player in criterion.players({"net": net}):
        assert player.optim is not None
        assert (player.optim.name, player.optim.lr, player.optim.betas()) == ("adam", 2e-4, (0.5, 0.999))
        assert (player.optim.weight_decay, player.optim.schedule) == (0, "constant")


def test_the_generator_begins_with_small_normal_weights() -> None:
    generator = Generator(2, 1, GAN())
    kernels = [p for p in generator.parameters() if p.ndim > 2]
    assert all(float(p.detach().std()) == pytest.approx(0.02, rel=0.15) for p in kernels)
