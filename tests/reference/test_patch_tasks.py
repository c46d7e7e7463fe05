"""Relative patch location and jigsaw: patches lie where they should, labels do not leak, answers are learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

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
    moves = {float(cells(image, 3, 1)[0, 0].min()) for _ in range(40)}
    assert len(moves) == 2**dims, "a patch lies anywhere in its cell"
    chosen = cells(image, 3, 0, torch.tensor([[4, 0]]))
    assert torch.equal(chosen, cells(image, 3, 0)[:, [4, 0]])
    with pytest.raises(ConfigError, match=r"\(17, 17.*3 elements of room.*larger images"):
        cells(image, 3, 3)


def test_an_encoder_that_cannot_take_the_patches_is_named_with_what_to_change():
    net = tiny_net(2)
    net.encoder.forward = lambda x: (_ for _ in ()).throw(ConfigError("wants multiples of 16."))
    criterion = Jigsaw().build({"net": net}, TASK)
    with pytest.raises(ConfigError, match=r"patches of \(4, 4\).*multiples of 16.*preprocess.size"):
        criterion({"net": net}, {"images": Batch(image=torch.rand(2, 3, 15, 15))}, AT, "all")


@pytest.mark.parametrize("size", [(15, 15), (18, 15, 15)])
@pytest.mark.parametrize("name", ["relative_patch_location", "jigsaw"])
def test_the_patches_that_are_shown_and_the_loss_equal_numpys(name, size):
    dims = len(size)
    known = {"relative_patch_location": RelativePatchLocation, "jigsaw": Jigsaw}[name]
    net = tiny_net(dims).double().eval()
    criterion = known(jitter=0, hidden=(7, 5)).build({"net": net}, TASK).double().eval()
    image = torch.randn(9, 3, *size, dtype=torch.float64)
    given = criterion.pairs if name == "relative_patch_location" else criterion.laid
    torch.manual_seed(4)
    shown, y = given(image)
    steps = [n // 3 for n in size]
    for one, whole, k in zip(shown, image, y.tolist(), strict=True):
        middle, places = 3**dims // 2, np.arange(3**dims)
        order = [middle, np.delete(places, middle)[k]] if name != "jigsaw" else criterion.orders[k].tolist()
        for patch, place in zip(one, order, strict=True):
            corner = [c * step for c, step in zip(np.unravel_index(place, (3,) * dims), steps, strict=True)]
            cut = tuple(slice(c, c + step) for c, step in zip(corner, steps, strict=True))
            assert torch.equal(patch, whole[(slice(None), *cut)])
    features = net.encode(shown.flatten(0, 1))[-1].flatten(2).mean(2).reshape(9, -1).detach().numpy()
    for layer in (criterion.head[0], criterion.head[3], criterion.head[6]):
        features = np.maximum(features, 0) if layer is not criterion.head[0] else features
        features = features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    torch.manual_seed(4)
    found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all").total
    assert float(found.detach()) == pytest.approx(-log_softmax(features, 1)[np.arange(9), y].mean(), abs=1e-6)


def test_settings_reach_the_head():
    head = Jigsaw(hidden=(2048, 1024), dropout=0.5).head(10, 100)
    assert [
        getattr(layer, "out_features", None) or layer.p for layer in head if not isinstance(layer, torch.nn.ReLU)
    ] == [
        *(2048, 0.5),
        *(1024, 0.5),
        100,
    ]
    assert RelativePatchLocation().room(torch.empty(1, 1, 128, 130)) == 3, "the paper's, of 128"
    assert RelativePatchLocation().room(torch.empty(1, 1, 24, 24)) == 1
    assert RelativePatchLocation(jitter=5).room(torch.empty(1, 1, 24, 24)) == 5


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
    assert sorted(permutations(5, 3, apart=False).tolist()) == [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    with pytest.raises(ConfigError, match="3 patches have 5 other orders, got permutations 6"):
        permutations(6, 3, apart=False)


def test_the_middle_is_never_drawn_and_every_other_place_is():
    torch.manual_seed(0)
    image = torch.zeros(400, 1, 12, 12)
    for k in range(9):
        image[:, :, 4 * (k // 3) : 4 * (k // 3) + 4, 4 * (k % 3) : 4 * (k % 3) + 4] = k
    net = tiny_net(2)
    criterion = RelativePatchLocation(jitter=0).build({"net": net}, TASK)
    pair, y = criterion.pairs(image)
    assert bool((pair[:, 0] == 4).all()), "the first is the middle"
    drawn = pair[:, 1].flatten(1)[:, 0].long()
    assert set(drawn.tolist()) == {0, 1, 2, 3, 5, 6, 7, 8}
    assert torch.equal(drawn - (drawn > 4).long(), y)


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
