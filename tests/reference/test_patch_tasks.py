"""Relative patch location and jigsaw: patches lie where they should, labels do not leak, answers are learnt."""

from __future__ import annotations

import pytest
import torch

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.jigsaw import Jigsaw, permutations
from allograft.objectives.patch_grid import cells
from allograft.objectives.relative_patch_location import RelativePatchLocation
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_of_different_cells_share_no_element_and_lie_in_raster_order(dims):
    image = torch.arange(float(17**dims)).reshape(1, 1, *[17] * dims)
    for _ in range(5):
        found = cells(image, 3, 1)[0, :, 0].flatten(1)
        assert found.shape == (3**dims, 4**dims)
        assert len(found.unique()) == found.numel()
        assert bool((found[:, 0].diff() != 0).all())
        first, last = found[0].min(), found[-1].min()
        assert first < last
    with pytest.raises(ConfigError, match="larger images"):
        cells(image, 3, 3)


def test_permutations_are_unique_not_the_identity_and_undone_by_their_inverses():
    for apart in (False, True):
        found = permutations(100, 27, apart=apart)
        assert torch.equal(found, permutations(100, 27, apart=apart)), "the same list in every run"
        assert len(found.unique(dim=0)) == 100
        assert not (found == torch.arange(27)).all(1).any()
        for order in found[:10]:
            puzzle = torch.rand(27)
            assert torch.equal(puzzle[order][order.argsort()], puzzle)
    near, far = (permutations(30, 9, apart=apart) for apart in (False, True))
    least = [min(int((a != b).sum()) for i, a in enumerate(x) for b in x[:i]) for x in (near, far)]
    assert least[1] > least[0], "chosen permutations differ in more places"


def test_the_middle_is_never_drawn_and_every_other_place_is():
    torch.manual_seed(0)
    image = torch.zeros(400, 1, 12, 12)
    for k in range(9):
        image[:, :, 4 * (k // 3) : 4 * (k // 3) + 4, 4 * (k % 3) : 4 * (k % 3) + 4] = k
    net = tiny_net(2)
    criterion = RelativePatchLocation(jitter=0).build({"net": net}, TASK)
    pair, y = criterion._pairs(Batch(image=image))
    assert bool((pair[:, 0] == 4).all()), "the first is the middle"
    drawn = pair[:, 1].flatten(1)[:, 0].long()
    assert set(drawn.tolist()) == {0, 1, 2, 3, 5, 6, 7, 8}
    assert torch.equal(drawn - (drawn > 4).long(), y)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("objective", [RelativePatchLocation(), Jigsaw(permutations=20)])
def test_noise_around_a_constant_gives_chance_on_synthetic_images(objective, dims):
    torch.manual_seed(1)
    net = tiny_net(dims)
    criterion = objective.build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    for _ in range(8):  # trained on it, so that a leak would be found
        batch = {"images": Batch(image=0.5 + 0.01 * torch.randn(16, 3, *[15] * dims))}
        rate.zero_grad()
        criterion({"net": net}, batch, AT, "all").total.backward()
        rate.step()
    held = {"images": Batch(image=0.5 + 0.01 * torch.randn(150, 3, *[15] * dims))}
    with torch.no_grad():
        found = criterion({"net": net.eval()}, held, AT, "all")
    chance = float(found.parts["chance"])
    assert chance == pytest.approx(1 / ({2: 8, 3: 26}[dims] if objective.name != "jigsaw" else 20))
    assert float(found.parts["accuracy"]) < chance + 4 * (chance * (1 - chance) / 150) ** 0.5


@pytest.mark.parametrize("objective", [RelativePatchLocation(hidden=64), Jigsaw(permutations=4, hidden=64)])
def test_places_of_synthetic_ramps_are_learnt(objective):
    torch.manual_seed(0)
    net = tiny_net(2)
    criterion = objective.build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    rows = torch.linspace(-1, 1, 15)
    scene = torch.stack([rows[:, None].expand(15, 15), rows[None].expand(15, 15), rows[:, None] * rows[None]])
    rights = []
    for _ in range(40):
        batch = {"images": Batch(image=scene[None] + 0.02 * torch.randn(24, 3, 15, 15))}
        found = criterion({"net": net}, batch, AT, "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        rights.append(float(found.parts["accuracy"]))
    assert sum(rights[-5:]) / 5 > 2 * float(found.parts["chance"])
