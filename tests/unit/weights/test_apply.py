from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.weights.adapt import collapse, inflate, rescale_channels
from allograft.weights.apply import apply
from allograft.weights.build import build_plan
from allograft.weights.digest import state_hash, tensor_hash
from allograft.weights.gabor import bank
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights, file_sha256
from tiny_source import tiny_source, trained_net

NEW = Rule(where=Where(stages=("head", "decoder")), action=Action.FRESH, why="new task")


def planned(net: Network, source: SourceWeights | None, action: Action = Action.COPY, **more: Any) -> TransferPlan:
    return build_plan(net, source, (NEW, Rule(action=action, why="rest", **more)), start="x")


def state(net: Network) -> dict[str, torch.Tensor]:
    return {key.removeprefix("encoder."): value.detach().clone() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("dims", [2, 3])
def test_copied_tensors_equal_the_source_bit_for_bit_and_fresh_ones_stay(dims: int, tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(dims)), tiny_net(dims, seed=3)
    before = state(net)
    apply(planned(net, source), net, source, seed=0)
    after = state(net)
    for key, value in after.items():
        expected = before[key] if key.startswith("heads.") else source[key]
        assert tensor_hash(value) == tensor_hash(expected), key
    assert not torch.equal(after["stem.conv.weight"], before["stem.conv.weight"])


def test_conversions_are_the_pure_functions(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(2)), tiny_net(3, in_channels=1)
    apply(planned(net, source, fill="centre"), net, source, seed=0)
    stem = inflate(rescale_channels(source["stem.conv.weight"], 1, "sum"), 5, "centre")
    assert torch.equal(state(net)["stem.conv.weight"], stem)
    (tmp_path / "3").mkdir()
    deep, flat = tiny_source(tmp_path / "3", trained_net(3)), tiny_net(2)
    apply(planned(flat, deep), flat, deep, seed=0)
    assert torch.equal(state(flat)["layer1.conv.weight"], collapse(deep["layer1.conv.weight"]))
    slim = tiny_net(2, widths=(4, 3, 2))
    apply(planned(slim, source, Action.SELECT), slim, source, seed=0)
    assert torch.equal(state(slim)["layer2.conv.weight"], source["layer2.conv.weight"][:2, :3])


@pytest.mark.parametrize(("source_dims", "dims"), [(2, 2), (2, 3), (3, 3)])
def test_the_network_answers_as_the_source_does_on_images_constant_in_depth(
    source_dims: int, dims: int, tmp_path: Path
) -> None:
    donor = trained_net(source_dims).eval()
    source, net = tiny_source(tmp_path, donor), tiny_net(dims, seed=5).eval()
    apply(planned(net, source), net, source, seed=0)
    x = torch.randn(2, 3, *[33] * source_dims)
    theirs = donor.encode(x)[0]
    mine = net.encode(x.unsqueeze(2).expand(-1, -1, 33, -1, -1) if dims > source_dims else x)[0]
    mine = mine[:, :, 16] if dims > source_dims else mine
    torch.testing.assert_close(mine, theirs)


def test_draws_depend_on_the_seed_and_the_tensor_and_not_on_the_order(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))

    def drawn(seed: int, *, backwards: bool = False) -> dict[str, torch.Tensor]:
        net = tiny_net(2)
        plan = planned(net, source, Action.SAMPLE)
        if backwards:
            plan = plan.model_copy(update={"entries": plan.entries[::-1]})
        apply(plan, net, source, seed=seed)
        return state(net)

    one, again, back, other = drawn(1), drawn(1), drawn(1, backwards=True), drawn(2)
    assert state_hash(one) == state_hash(again) == state_hash(back) != state_hash(other)
    for key in ("stem.conv.weight", "layer1.conv.bias"):
        assert not torch.isin(one[key], source[key]).any()
    assert torch.equal(one["stem.norm.running_var"], torch.ones(4))


def test_sampled_tensors_of_equal_shape_are_drawn_apart(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(2, widths=(4, 4, 4))), tiny_net(2, widths=(4, 4, 4))
    apply(planned(net, source, Action.SAMPLE), net, source, seed=0)
    a, b = (state(net)[f"{part}.conv.weight"] for part in ("layer1", "layer2"))
    assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.4


@pytest.mark.parametrize("dims", [2, 3])
def test_gabor_takes_the_norm_of_the_fresh_filters_and_applying_twice_changes_nothing(dims: int) -> None:
    net = tiny_net(dims)
    edges = Where(keys=("encoder.stem.conv.weight",))
    rules = (
        Rule(where=edges, action=Action.COMPUTE, formula="gabor", why="edges"),
        Rule(action=Action.FRESH, why="rest"),
    )
    fresh = state(net)["stem.conv.weight"]
    plan = build_plan(net, None, rules, start="gabor")
    apply(plan, net, None, seed=0)
    once = state(net)
    norm = float(fresh.flatten(1).norm(dim=1).square().mean().sqrt())
    torch.testing.assert_close(once["stem.conv.weight"], bank(tuple(fresh.shape), norm), rtol=1e-4, atol=1e-6)
    apply(plan, net, None, seed=0)
    assert state_hash(state(net)) == state_hash(once)


def test_a_plan_with_problems_is_never_applied(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(2), prefix="module."), tiny_net(2)
    before = state_hash(state(net))
    with pytest.raises(PlanError, match="2 problems"):
        apply(planned(net, source), net, source, seed=0)
    assert state_hash(state(net)) == before


def test_a_plan_for_another_network_or_source_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan, net = planned(tiny_net(2), source), tiny_net(2, widths=(4, 6, 9))
    before = state_hash(state(net))
    with pytest.raises(PlanError, match=r"another network: .* First: encoder.layer2.conv.weight"):
        apply(plan, net, source, seed=0)
    with pytest.raises(PlanError, match="takes values from source tiny, got None"):
        apply(plan, tiny_net(2), None, seed=0)
    other = SourceWeights(source.card.model_copy(update={"name": "other"}), source._tensors)
    with pytest.raises(PlanError, match="got other"):
        apply(plan, tiny_net(2), other, seed=0)
    with torch.device("meta"):
        meta = tiny_net(2)
    with pytest.raises(PlanError, match="meta device"):
        apply(plan, meta, source, seed=0)
    assert state_hash(state(net)) == before


def test_a_tensor_that_is_not_finite_stops_apply(tmp_path: Path) -> None:
    opened = tiny_source(tmp_path, trained_net(2))
    bad = {key: opened[key].clone() for key in opened}
    bad["layer1.conv.bias"][2] = float("nan")
    path = tmp_path / "bad.safetensors"
    save_file(bad, path)
    source = SourceWeights.open(opened.card.model_copy(update={"sha256": file_sha256(path)}), path)
    net = tiny_net(2)
    plan = planned(net, source)
    assert plan.problems == ()
    with pytest.raises(PlanError, match=r"layer1\.conv\.bias holds 1 of 6"):
        apply(plan, net, source, seed=0)


def test_tied_weights_that_cannot_both_be_right_are_noticed(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(2, widths=(4, 4, 4))), tiny_net(2, widths=(4, 4, 4))
    net.encoder.layer1["conv"].weight = net.encoder.layer2["conv"].weight
    with pytest.raises(PlanError, match="tied weights"):
        apply(planned(net, source), net, source, seed=0)


def test_half_precision_sources_are_copied_exactly_into_single_precision(tmp_path: Path) -> None:
    opened = tiny_source(tmp_path, trained_net(2))
    half = {
        key: value.bfloat16() if value.is_floating_point() else value
        for key, value in ((key, opened[key]) for key in opened)
    }
    path = tmp_path / "half.safetensors"
    save_file(half, path)
    source, net = SourceWeights.open(opened.card, path), tiny_net(2)
    apply(planned(net, source), net, source, seed=0)
    assert torch.equal(state(net)["stem.conv.weight"], half["stem.conv.weight"].float())


def test_hashes_know_type_shape_sign_and_name() -> None:
    zero = torch.zeros(4)
    hashes = {tensor_hash(t) for t in (zero, -zero, zero.double(), zero.reshape(2, 2), torch.zeros(4).int())}
    assert len(hashes) == 5
    assert state_hash({"a": zero, "b": -zero}) == state_hash({"b": -zero, "a": zero}) != state_hash({"a": zero})
