from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from allograft.nets.encoders.resnet import ResNet
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights
from tiny_source import tiny_source, trained_net

NEW = Rule(where=Where(stages=("head", "decoder")), action=Action.FRESH, why="new task")


def rules(action: Action = Action.COPY, **more: Any) -> tuple[Rule, ...]:
    return (NEW, Rule(action=action, why="all but the task", **more))


def fates(plan: TransferPlan) -> dict[str, str]:
    return {entry.target.removeprefix("encoder."): entry.action.value for entry in plan.entries}


def renamed(source_net: Network, folder: Path, change: Any, **card: Any) -> SourceWeights:
    """Save a network's encoder under changed names or values."""
    opened = tiny_source(folder, source_net, **card)
    state = change({key: opened[key].clone() for key in opened})
    save_file(state, folder / "tiny.safetensors")
    return SourceWeights.open(opened.card, folder / "tiny.safetensors")


@pytest.mark.parametrize("dims", [2, 3])
def test_golden_full_copy(dims: int, tmp_path: Path) -> None:
    plan = build_plan(tiny_net(dims), tiny_source(tmp_path, trained_net(dims)), rules(), start="full")
    assert plan.problems == ()
    assert plan.unused == ()
    stage = ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    stage += ["norm.num_batches_tracked"]
    golden = {f"{part}.{name}": "copy" for part in ("stem", "layer1", "layer2") for name in stage}
    assert fates(plan) == {**golden, "heads.label.linear.weight": "fresh", "heads.label.linear.bias": "fresh"}
    assert TransferPlan.model_validate(plan.model_dump(mode="json")) == plan
    first = plan.entries[0]
    assert (first.source, first.source_shape, first.stage, first.kind) == (
        "stem.conv.weight",
        first.shape,
        "stem",
        "weight",
    )


@pytest.mark.parametrize(
    ("source_dims", "dims", "channels", "action", "args"),
    [
        (2, 2, 1, "rescale", {"channels": "sum"}),
        (2, 2, 5, "rescale", {"channels": "mean"}),
        (3, 3, 2, "rescale", {"channels": "mean"}),
        (2, 3, 3, "inflate", {"fill": "average", "depth": 5}),
        (2, 3, 1, "inflate", {"channels": "sum", "fill": "average", "depth": 5}),
        (3, 2, 3, "collapse", {"depth": 5}),
        (3, 2, 1, "collapse", {"channels": "sum", "depth": 5}),
    ],
)
def test_a_copy_is_upgraded_where_that_is_defined_and_says_so(  # the table is the point
    source_dims: int, dims: int, channels: int, action: str, args: dict[str, Any], tmp_path: Path
) -> None:
    source = tiny_source(tmp_path, trained_net(source_dims))
    plan = build_plan(tiny_net(dims, in_channels=channels), source, rules(), start="full")
    assert plan.problems == ()
    stem = plan.entries[0]
    assert (stem.action.value, dict(stem.args)) == (action, args)
    assert stem.why.startswith("all but the task; ")
    assert fates(plan)["layer1.conv.weight"] == (action if source_dims != dims else "copy")
    assert fates(plan)["layer1.norm.running_var"] == "copy"


@pytest.mark.parametrize(
    ("more", "channels", "dims", "says"),
    [
        ({"channels": "sum"}, 2, 2, "makes one input channel, the network has 2"),
        ({"fill": "slice"}, 3, 3, "makes kernels of depth 1, the network has depth 5"),
    ],
)
def test_a_conversion_that_is_not_defined_is_a_problem(
    more: dict[str, Any], channels: int, dims: int, says: str, tmp_path: Path
) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = build_plan(tiny_net(dims, in_channels=channels), source, rules(**more), start="full")
    assert says in plan.problems[0]


def test_other_shapes_are_problems(tmp_path: Path) -> None:
    plan = build_plan(tiny_net(2, widths=(4, 6, 9)), tiny_source(tmp_path, trained_net(2)), rules(), start="full")
    assert "encoder.layer2.conv.weight: shape (9, 6, 3, 3) differs from (8, 6, 3, 3)" in plan.problems[0]
    assert "at least 95 % expected" in plan.problems[1]
    assert plan.entries[-3].why.startswith("PROBLEM") or any(e.why.startswith("PROBLEM") for e in plan.entries)


@pytest.mark.parametrize("prefix", ["module.", "module.encoder_q.", "module.encoder.", "_orig_mod.", "backbone.body."])
def test_a_wrong_prefix_is_refused_with_the_line_that_mends_it(prefix: str, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2), prefix=prefix)
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    text = plan.problems[0]
    assert "have no value. First: encoder.stem.conv.weight" in text
    assert f"Closest key: {prefix}stem.conv.weight." in text
    line = text[text.index('Add ("') + 6 :].split('", "')
    pattern, template = line[0], line[1].split('")')[0]
    assert "gives a value to 0.0 % of the encoder numbers" in plan.problems[1]
    mended = tiny_source(tmp_path, trained_net(2), prefix=prefix, key_map=((pattern, template),))
    assert build_plan(tiny_net(2), mended, rules(), start="full").problems == ()


def test_a_prefix_that_the_network_has_is_suggested_too(tmp_path: Path) -> None:
    source = renamed(trained_net(2), tmp_path, lambda s: {k.replace("stem.", ""): v for k, v in s.items()})
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert r'Add ("(.+)", "stem.\1") to the card' in plan.problems[0]


def test_moco_keys_after_the_wrong_replacement_nearly_load_nothing_and_are_refused(tmp_path: Path) -> None:
    """The trap of a published benchmark: "module." was replaced first, so "encoder_q." stayed."""
    source = tiny_source(tmp_path, trained_net(2), prefix="module.encoder_q.", key_map=((r"module\.(.+)", r"\1"),))
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert plan.coverage().copied == 0
    assert r'Add ("encoder_q\.(.+)", "\1")' in plan.problems[0]
    assert len(plan.unused) == len(source)


def test_a_near_empty_load_is_refused(tmp_path: Path) -> None:
    keep = "layer2.norm.weight"
    source = renamed(
        trained_net(2), tmp_path, lambda s: {k if k == keep else f"{i}": v for i, (k, v) in enumerate(s.items())}
    )
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert "17 tensors have no value" in plan.problems[0]  # 21 less the one found and 3 batch counters
    assert len(plan.problems) == 2


def test_old_files_without_batch_counters_are_fine(tmp_path: Path) -> None:
    source = renamed(trained_net(2), tmp_path, lambda s: {k: v for k, v in s.items() if "num_batches" not in k})
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert plan.problems == ()
    assert fates(plan)["stem.norm.num_batches_tracked"] == "fresh"


def test_missing_norm_statistics_are_a_problem(tmp_path: Path) -> None:
    source = renamed(trained_net(2), tmp_path, lambda s: {k: v for k, v in s.items() if "running" not in k})
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert "6 tensors have no value. First: encoder.stem.norm.running_mean" in plan.problems[0]


def test_a_tensor_that_the_key_map_drops_is_told_apart_from_one_that_is_missing(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2), key_map=((r"layer1\.conv\.bias", None),))
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert "The key map drops that name on purpose" in plan.problems[0]
    assert plan.unused[-1].why == "key map: dropped on purpose"


def test_a_deeper_source_is_refused_although_every_tensor_has_a_value() -> None:
    deep, shallow = Network(ResNet(34, width=0.125), {}), Network(ResNet(18, width=0.125), {})
    state = {key.removeprefix("encoder."): value for key, value in deep.state_dict().items()}
    source = SourceWeights.of(deep, "deep", _spec(), "resnet34")
    assert set(state) == set(source.shapes)
    plan = build_plan(shallow, source, rules(), start="full")
    assert "have no place in the network. First: layer1.2.conv1.weight" in plan.problems[0]
    assert 'build it as "resnet34"' in plan.problems[0]
    assert len(plan.problems) == 1
    assert build_plan(deep, source, rules(), start="full").problems == ()


def test_shortcuts_of_another_type_are_refused_both_ways() -> None:
    """MedicalNet's depths 18 and 34 have shortcuts without weights; other files have them."""
    without = Network(ResNet(18, "medicalnet", dims=3, width=0.125), {})
    having = Network(ResNet(18, "torchvision", dims=3, width=0.125), {})
    spec = _spec().model_copy(update={"size": (16, 16, 16)})
    a, b = SourceWeights.of(without, "a", spec, "medicalnet18"), SourceWeights.of(having, "b", spec, "resnet18")
    assert "First: encoder.layer2.0.downsample.0.weight" in build_plan(having, a, rules(), start="full").problems[0]
    assert "First: layer2.0.downsample.0.weight" in build_plan(without, b, rules(), start="full").problems[0]
    assert build_plan(having, b, rules(), start="full").problems == ()


def test_a_bias_that_the_source_does_not_have_is_a_problem_and_never_random(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, bias=False))
    plan = build_plan(tiny_net(3), source, rules(), start="full")
    assert "3 tensors have no value. First: encoder.stem.conv.bias" in plan.problems[0]


def test_a_head_that_was_kept_is_refused_with_the_line_that_drops_it(tmp_path: Path) -> None:
    source = renamed(trained_net(2), tmp_path, lambda s: {**s, "fc.weight": torch.ones(5, 8)})
    plan = build_plan(tiny_net(2), source, rules(), start="full")
    assert r"""key map: ("fc\..+", null).""" in plan.problems[0]


def test_unused_tensors_carry_the_rule_that_left_them(tmp_path: Path) -> None:
    low = Rule(where=Where(stages=("stem",)), action=Action.COPY, why="low")
    source = tiny_source(tmp_path, trained_net(2))
    plan = build_plan(tiny_net(2), source, (low, Rule(action=Action.FRESH, why="above")), start="partial")
    assert plan.problems == ()
    assert {each.why for each in plan.unused} == {"rule: above"}
    assert len(plan.unused) == 14


def test_heads_and_decoder_are_copied_where_the_rule_says_so(tmp_path: Path) -> None:
    net = trained_net(2, decoder=True)
    plan = build_plan(net, tiny_source(tmp_path, net, heads=True), (Rule(action=Action.COPY, why="all"),), start="x")
    assert plan.problems == ()
    assert {entry.action for entry in plan.entries} == {Action.COPY}


def test_sampling_records_the_fan_in_and_never_draws_statistics(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = build_plan(tiny_net(3), source, rules(Action.SAMPLE), start="mean_var")
    assert plan.problems == ()
    rows = {entry.target.removeprefix("encoder."): entry for entry in plan.entries}
    assert rows["stem.conv.weight"].args == {"fan_in_ratio": 5.0}
    assert rows["stem.conv.bias"].args == {"fan_in_ratio": 1.0}
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert rows[f"stem.norm.{name}"].action is Action.FRESH
    wide = build_plan(tiny_net(2, widths=(4, 9, 8)), source, rules(Action.SAMPLE), start="mean_var")
    assert wide.problems == ()


def test_select_takes_leading_channels_of_a_wider_source(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = build_plan(tiny_net(2, widths=(4, 3, 2)), source, rules(Action.SELECT), start="slim")
    assert plan.problems == ()
    rows = {entry.target.removeprefix("encoder."): entry for entry in plan.entries}
    assert rows["layer2.conv.weight"].args == {"rows": 2, "columns": 3}
    assert rows["stem.conv.weight"].action is Action.COPY
    wider = build_plan(tiny_net(2, widths=(4, 6, 9)), source, rules(Action.SELECT), start="slim")
    assert "is not a leading part of" in wider.problems[0]


def test_a_rule_that_matches_nothing_and_a_source_that_is_not_given_are_problems(tmp_path: Path) -> None:
    low = Rule(where=Where(stages=("stge1",)), action=Action.COPY, why="low")
    fresh = Rule(action=Action.FRESH, why="rest")
    plan = build_plan(tiny_net(2), tiny_source(tmp_path, trained_net(2)), (low, fresh), start="partial")
    assert "names stge1 and matches no tensor. Stages of this network: stem, stage1, stage2" in plan.problems[0]
    plan = build_plan(tiny_net(2), None, rules(), start="full")
    assert "takes values from a source and none is given" in plan.problems[0]
    assert len(plan.problems) == 1


def test_the_last_rule_must_match_everything() -> None:
    with pytest.raises(ValueError, match="last rule must match every tensor"):
        build_plan(tiny_net(2), None, (NEW,), start="x")
    with pytest.raises(ValueError, match="last rule"):
        build_plan(tiny_net(2), None, (), start="x")


def test_an_unknown_formula_is_a_problem() -> None:
    rule = Rule(where=Where(keys=("encoder.stem.conv.weight",)), action=Action.COMPUTE, formula="garbor", why="edges")
    plan = build_plan(tiny_net(2), None, (rule, Rule(action=Action.FRESH, why="rest")), start="x")
    assert 'no formula "garbor"; known: gabor' in plan.problems[0]


def test_planning_on_the_meta_device_is_the_same_and_changes_nothing(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, trained_net(2)), tiny_net(3, in_channels=1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    plan = build_plan(net, source, rules(), start="full")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.device("meta"):
        meta = tiny_net(3, in_channels=1)
    assert build_plan(meta, source, rules(), start="full") == plan


def test_notes_tell_contract_licence_and_another_encoder(tmp_path: Path) -> None:
    card = {"expects": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}, "commercial": False, "license": "CC-BY-NC-4.0"}
    source = tiny_source(tmp_path, trained_net(2), **card)
    net = tiny_net(2, in_channels=1)
    net.encoder_name = "other"
    notes = "\n".join(build_plan(net, source, rules(), start="full").notes)
    for words in ("mean [0.1, 0.2, 0.3]", "averaged for 1", "not for commercial use", 'the network is "other"'):
        assert words in notes


def test_positions_are_resampled_between_square_grids() -> None:
    from allograft.weights.fit import fit
    from allograft.weights.kinds import Slot

    slot = Slot("encoder.pos_embed", "stem", "position", (1, 1 + 36, 8))
    how = fit(slot, (1, 1 + 16, 8), Rule(action=Action.COPY, why="x"))
    assert not isinstance(how, str)
    assert (how.action, dict(how.args)) == (Action.RESAMPLE, {"table": 0, "prefix": 1, "old": "4x4", "new": "6x6"})
    assert "no grids of equal sides" in str(fit(slot, (1, 15, 8), Rule(action=Action.COPY, why="x")))


def _spec() -> Any:
    from allograft.core.input_spec import InputSpec

    return InputSpec()
