"""Channels by name, kernels of other sizes, positions: plan, values, and that each check can say no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.starts.full import Full
from allograft.starts.partial import Partial
from allograft.testing.tiny import tiny_net
from allograft.weights import adapt
from allograft.weights.apply import apply
from allograft.weights.build import build_plan
from allograft.weights.build_notes import source_notes
from allograft.weights.kinds import further_inputs
from allograft.weights.probe import probe
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights
from hand_loop import synthetic_batch
from tiny_source import tiny_source, trained_net

BRATS = ("t1", "t1ce", "t2", "flair")
STEM = "encoder.stem.conv.weight"


def donor(folder: Path, dims: int, names: tuple[str, ...] = BRATS, **card: Any) -> tuple[Any, SourceWeights]:
    folder.mkdir(exist_ok=True)
    net = trained_net(dims, in_channels=len(names)).eval()
    return net, tiny_source(folder, net, expects=InputSpec(channels=len(names), channel_names=names), **card)


def named_net(dims: int, names: tuple[str, ...]) -> Any:
    net = tiny_net(dims, in_channels=len(names)).eval()
    net.channel_names = names
    return net


def stem(start: Any, net: Any, source: SourceWeights) -> Any:
    return next(e for e in start.plan(net, source).entries if e.target == STEM)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_same_channels_in_another_order_are_put_in_order_and_compute_the_same(dims: int, tmp_path: Path) -> None:
    theirs, source = donor(tmp_path, dims)
    net = named_net(dims, ("FLAIR", "T1w", "T1Gd", "T2w"))
    plan = Full().plan(net, source)
    entry = stem(Full(), net, source)
    assert (entry.action, entry.args["order"]) == (Action.RESCALE, "3 0 1 2")
    assert "FLAIR<-flair, T1w<-t1, T1Gd<-t1ce, T2w<-t2" in entry.why
    apply(plan, net, source, seed=0)
    image = synthetic_batch(dims, 0, channels=4)[0]
    torch.testing.assert_close(net(image[:, [3, 0, 1, 2]]).pooled, theirs(image).pooled, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(image).pooled, theirs(image).pooled, atol=1e-3)  # the order alone matters


def test_without_names_equal_counts_are_copied_in_order_as_before(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    entry = stem(Full(), tiny_net(2, in_channels=4), source)
    assert (entry.action, entry.why) == (Action.COPY, "full transfer")


def test_the_same_order_is_a_plain_copy_that_says_so(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    entry = stem(Full(), named_net(2, ("T1", "T1c", "T2", "FLAIR")), source)
    assert entry.action is Action.COPY
    assert "T1c<-t1ce" in entry.why


def test_names_that_are_all_strange_fall_back_on_order_and_say_so(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2, ("red", "green", "blue"))
    entry = stem(Full(), named_net(2, ("adc", "dwi", "t2")), source)
    assert entry.action is Action.COPY
    assert "no channel of the data (adc, dwi, t2) is named like the source's" in entry.why
    grey = stem(Full(), named_net(2, ("CT",)), source)
    assert (grey.action, grey.args["channels"]) == (Action.RESCALE, "sum")


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_that_the_source_has_not_change_nothing_at_zero(dims: int, tmp_path: Path) -> None:
    theirs, source = donor(tmp_path, dims)
    net = named_net(dims, ("flair", "adc", "t1"))
    start = Full(new_channels="zero")
    apply(start.plan(net, source), net, source, seed=0)
    image = synthetic_batch(dims, 0, channels=4)[0]
    image[:, [1, 2]] = 0
    ours = torch.stack([image[:, 3], torch.randn_like(image[:, 0]), image[:, 0]], dim=1)
    torch.testing.assert_close(net(ours).pooled, theirs(image).pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("source_dims", "dims"), [(2, 2), (3, 3), (2, 3), (3, 2)])
def test_a_new_channel_by_mean_keeps_the_response_to_equal_channels(
    source_dims: int, dims: int, tmp_path: Path
) -> None:
    theirs, source = donor(tmp_path, source_dims)
    net = named_net(dims, ("flair", "adc", "t1", "pet"))
    entry = stem(Full(), net, source)
    assert entry.args["order"] == "3 new 0 new"
    assert "adc: mean of known" in entry.why
    assert "not used: t1ce, t2" in entry.why
    apply(Full().plan(net, source), net, source, seed=0)
    got = net.state_dict()[STEM].flatten(2).sum((1, 2))
    wanted = source["stem.conv.weight"][:, [3, 0]].flatten(2).sum((1, 2))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert theirs is not None


def test_fresh_channels_are_as_built_and_the_others_as_in_the_source(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    net = named_net(2, ("adc", "flair"))
    built = net.state_dict()[STEM].clone()
    plan = Partial(k=1, new_channels="fresh").plan(net, source)
    for _ in range(2):  # twice is once
        apply(plan, net, source, seed=0)
        assert torch.equal(net.state_dict()[STEM][:, 0], built[:, 0])
        assert torch.equal(net.state_dict()[STEM][:, 1], source["stem.conv.weight"][:, 3])


def test_a_bgr_card_is_put_in_order_for_rgb_images(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2, ("blue", "green", "red"))
    assert stem(Full(), named_net(2, ("red", "green", "blue")), source).args["order"] == "2 1 0"


def test_notes_name_the_map_and_not_an_average(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    notes = " ".join(Full().plan(named_net(2, ("flair", "adc")), source).notes)
    assert "channels by name: flair<-flair, adc: new" in notes
    assert "are averaged for" not in notes


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("names", "judged"),
    [
        (("flair", "t2", "t1", "t1ce"), True),
        (("flair", "t1"), True),
        (("flair", "adc"), False),
        (("ct",), False),
    ],
)
def test_the_probe_puts_channels_in_order_and_judges_what_is_known(
    names: tuple[str, ...], judged: bool, dims: int, tmp_path: Path
) -> None:
    _, source = donor(tmp_path, dims)
    net = named_net(dims, names)
    plan = Full().plan(net, source)
    apply(plan, net, source, seed=0)
    build = lambda: tiny_net(dims, in_channels=4).encoder  # noqa: E731
    found = probe(plan, net, source, build)
    assert [row.judged for row in found.rows] == [judged] * 3
    if names != ("flair", "adc"):  # a new channel by mean: equal channels give the same up to the scale
        assert max(row.difference for row in found.rows) < 1e-4
    if judged:  # a network that takes the channels in another order than the plan says is caught
        with torch.no_grad():
            net.encoder.stem["conv"].weight.copy_(net.encoder.stem["conv"].weight.flip(1))
        with pytest.raises(PlanError, match="does not compute"):
            probe(plan, net, source, build)


def test_a_converted_tensor_that_another_row_overwrites_is_refused(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    net = named_net(2, ("flair", "t1", "t2", "t1ce"))
    plan = Full().plan(net, source)
    first, rest = plan.entries[0], plan.entries[1:]
    state = net.state_dict()
    bias = next(e for e in rest if e.target.endswith("stem.conv.bias"))
    shared = state[STEM].view(-1)[: state[bias.target].numel()].view_as(state[bias.target])
    net.encoder.stem["conv"].bias = torch.nn.Parameter(shared)
    assert first.action is Action.RESCALE
    with pytest.raises(PlanError, match=r"stem\.conv\.weight was to be converted"):
        apply(plan, net, source, seed=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("old", "new"), [(7, 3), (3, 5), (4, 6), (5, 4), (3, 3)])
def test_averaged_kernels_keep_the_response_to_constants(dims: int, old: int, new: int) -> None:
    kernel = torch.randn(4, 2, *[old] * dims, dtype=torch.float64)
    found = adapt.resize_kernel(kernel, (new,) * dims, "average")
    assert found.shape == (4, 2, *[new] * dims)
    torch.testing.assert_close(found.flatten(2).sum(2), kernel.flatten(2).sum(2))
    if old == new:
        assert torch.equal(found, kernel)
    else:
        assert not torch.equal(adapt.resize_kernel(kernel, (new,) * dims, "average").mean(), kernel.mean())


def test_averaging_is_area_resampling_by_pytorch_where_it_divides() -> None:
    kernel = torch.randn(2, 3, 6, 6)
    pooled = torch.nn.functional.interpolate(kernel, size=(3, 2), mode="area") * (6 / 3) * (6 / 2)
    torch.testing.assert_close(adapt.resize_kernel(kernel, (3, 2), "average"), pooled)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_padded_kernel_computes_the_same_and_a_cropped_one_is_its_middle(dims: int) -> None:
    conv = [torch.nn.functional.conv2d, torch.nn.functional.conv3d][dims - 2]
    kernel, image = torch.randn(2, 1, *[3] * dims), torch.randn(1, 1, *[8] * dims)
    wide = adapt.resize_kernel(kernel, (7,) * dims, "centre")
    torch.testing.assert_close(conv(image, wide, padding=3), conv(image, kernel, padding=1))
    assert torch.equal(adapt.resize_kernel(wide, (3,) * dims, "centre"), kernel)
    with pytest.raises(ValueError, match="both odd"):
        adapt.resize_kernel(kernel, (4,) * dims, "centre")


def with_kernel(dims: int, size: int) -> Any:
    """A tiny network whose stem has kernels of another size (synthetic)."""
    net = tiny_net(dims)
    old = net.encoder.stem["conv"]
    made = type(old)(old.in_channels, old.out_channels, size, padding=size // 2)
    net.encoder.stem["conv"] = made
    return net.eval()


@pytest.mark.parametrize(("source_dims", "dims"), [(2, 2), (3, 3), (2, 3), (3, 2)])
@pytest.mark.parametrize("how", ["centre", "average"])
def test_kernels_of_another_size_are_refused_unless_asked_for(
    source_dims: int, dims: int, how: Any, tmp_path: Path
) -> None:
    source = tiny_source(tmp_path, trained_net(source_dims))
    net = with_kernel(dims, 3)
    refused = Full().plan(net, source)
    assert "kernel size" in refused.problems[0]
    assert '"centre" or "average" would convert it' in refused.problems[0]
    plan = Full(kernel=how).plan(net, source)
    assert plan.problems == ()
    entry = plan.entries[0]
    expected = {2: Action.RESIZE, 3: Action.INFLATE} if source_dims == 2 else {3: Action.RESIZE, 2: Action.COLLAPSE}
    assert (entry.action, entry.args["kernel"]) == (expected[dims], how)
    assert "x5 to " in entry.why
    apply(plan, net, source, seed=0)
    if how == "average":
        got, given = net.state_dict()[STEM], source["stem.conv.weight"]
        torch.testing.assert_close(got.flatten(2).sum(2), given.flatten(2).sum(2), rtol=1e-4, atol=1e-5)
    assert plan.coverage().adapted > 0


def test_an_even_kernel_has_no_centre_in_an_odd_one(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    assert "both odd or both even" in Full(kernel="centre").plan(with_kernel(2, 4), source).problems[0]


def test_rules_need_one_that_matches_everything_still() -> None:
    rules = (Rule(where=Where(stages=("stem",)), action=Action.COPY, why="x"),)
    with pytest.raises(ValueError, match="match every tensor"):
        build_plan(tiny_net(2), None, rules, start="x")


def test_a_network_with_further_convolutions_on_the_image_is_told(tmp_path: Path) -> None:
    _, source = donor(tmp_path, 2)
    plain, forked = named_net(2, ("flair", "t2", "t1", "t1ce")), named_net(2, ("flair", "t2", "t1", "t1ce"))
    forked.encoder.beside = torch.nn.Conv2d(4, 2, 1)  # type: ignore[assignment]
    assert set(further_inputs(forked)) - set(further_inputs(plain)) == {"encoder.beside"}
    names = ("flair", "t2", "t1", "t1ce")
    told = source_notes(source, channels=4, names=names, encoder="", further=("encoder.beside",))
    alone = source_notes(source, channels=4, names=names, encoder="")
    assert any("only the first convolution" in note for note in told)
    assert not any("only the first convolution" in note for note in alone)
    assert any("only the first convolution" in note for note in Full().plan(plain, source).notes)
