from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18
from typer.testing import CliRunner

from allograft.cli import app
from allograft.core.errors import PlanError
from allograft.study.check_weights import Asked, build_encoder, check_file, take_fingerprint
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import CAUSES, FUNCTION_CAUSES
from allograft.weights.checking.check import Check
from allograft.weights.checking.diagnose import card_with
from allograft.weights.coverage import Thresholds
from allograft.weights.probe import load_reference
from allograft.weights.reading.files import open_tensors
from allograft.weights.source import SourceWeights
from broken_checkpoints import (
    DONORS,
    ELSEWHERE,
    KINDS,
    MARKER,
    PREFIXES,
    Elsewhere,
    Kind,
    card_of,
    make,
    make_elsewhere,
    marked_card,
    plain,
    shards,
    true_state,
)

NAMES = [kind.name for kind in KINDS]
HIDDEN = [kind for kind in KINDS if not kind.shows]
FEW = [kind for kind in KINDS if not kind.name.startswith("prefix ") or kind.name == "prefix module."]


def test_the_corpus_has_the_kinds_that_were_promised() -> None:
    prefixes = sum(kind.name.startswith("prefix ") for kind in KINDS)
    assert prefixes >= 12
    # Prefix families count as one kind here.
    assert len(KINDS) - prefixes + 1 + len(ELSEWHERE) >= 40
    assert len(set(NAMES)) == len(NAMES)
    named = {cause for kind in KINDS for cause in kind.causes} | {cause for kind in ELSEWHERE for cause in kind.causes}
    assert named <= set(CAUSES)
    assert {cause for kind in HIDDEN for cause in kind.causes} <= FUNCTION_CAUSES | {"prefix"}


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_every_broken_kind_is_refused_with_its_cause_where_a_fingerprint_exists(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sample = make(kind, tmp_path / "x", mark=True)
    found = check_file(sample.path, sample.card)
    assert not found.ok
    assert found.cause in kind.causes, found.why
    assert len(found.why) > 20
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("kind", FEW, ids=[kind.name for kind in FEW])
def test_without_a_fingerprint_none_is_ok_and_what_shapes_hide_is_unproven(kind: Kind, tmp_path: Path) -> None:
    sample = make(kind, tmp_path, mark=False)
    found = check_file(sample.path, sample.card)
    assert not found.ok
    assert found.cause in (kind.causes if kind.shows else ("unproven",)), found.why
    assert found.proof == ("failed" if found.cause in {"wrong_hash"} else found.proof)
    assert found.proof != "fingerprint"
    if not kind.shows:
        assert found.proof == "unproven"


@pytest.mark.parametrize("kind", HIDDEN[:4], ids=[kind.name for kind in HIDDEN[:4]])
def test_a_source_network_proves_as_a_fingerprint_does(kind: Kind, tmp_path: Path) -> None:
    sample = make(kind, tmp_path, mark=False)
    good = card_of(kind.donor)
    trusted = SourceWeights(good, open_tensors(sample.good))
    found = check_file(sample.path, sample.card, like=trusted)
    assert not found.ok
    assert found.cause in kind.causes, found.why


@pytest.mark.parametrize("kind", ELSEWHERE, ids=[kind.name for kind in ELSEWHERE])
def test_a_network_that_differs_without_a_trace_in_the_tensors_is_named(kind: Elsewhere, tmp_path: Path) -> None:
    sample = make_elsewhere(kind, tmp_path)
    found = check_file(sample.path, sample.card)
    assert (found.ok, found.proof) == (False, "failed")
    assert found.cause in kind.causes, found.why
    bare = check_file(sample.path, sample.card.model_copy(update={"fingerprint": None}))
    assert (bare.ok, bare.cause, bare.proof) == (False, "unproven", "unproven")


@pytest.mark.parametrize(
    ("donor", "form"),
    [*((donor, "torch") for donor in DONORS), *(("flat", f) for f in ("safetensors", "shards", "container"))],
)
def test_no_good_file_is_refused(donor: str, form: str, tmp_path: Path) -> None:
    state, card = true_state(donor), marked_card(donor)
    if form == "safetensors":
        save_file(state, tmp_path / "w.safetensors")
        path = tmp_path / "w.safetensors"
    elif form == "shards":
        path, _ = shards(tmp_path, state)
    elif form == "container":
        path, card = (
            plain(tmp_path, {"state_dict": state, "epoch": 3}),
            card.model_copy(update={"container": "state_dict"}),
        )
    else:
        path = plain(tmp_path, state)
    found = check_file(path, card)
    assert found.ok, (found.cause, found.why)
    assert (found.cause, found.proof, found.missing, found.unused) == ("", "fingerprint", (), ())
    assert found.coverage.tensors == found.coverage.numbers == 1
    assert found.coverage.norm == pytest.approx(1)
    assert all(row.difference is not None and row.difference <= 1e-3 for row in found.probe)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_good_prefix_family_is_refused_and_the_wrong_one_is(prefix: str, tmp_path: Path) -> None:
    state = {prefix + name: value for name, value in true_state("flat").items()}
    path = plain(tmp_path, {**state, "queue": torch.randn(8, 8), f"{prefix}fc.0.weight": torch.randn(4, 64)})
    escaped = prefix.replace(".", r"\.")
    lines = ((rf"{escaped}fc\..+", None), (rf"{escaped}(.+)", r"\1"), ("queue", None))
    right = WeightSource.model_validate({**marked_card("flat").model_dump(), "key_map": lines})
    assert check_file(path, right).ok
    wrong = WeightSource.model_validate({**right.model_dump(), "key_map": ((r"nobody\.(.+)", r"\1"),)})
    assert check_file(path, wrong).cause == "prefix"


MENDABLE = {
    "prefix module.encoder_q.",
    "prefix _orig_mod.module.",
    "container not named",
    "head kept",
    "permuted bottleneck order",
    "channels-last kernels",
    "channels-last kernels 3-D",
    "names of another library",
    "transposed kernel axes",
    "transposed kernel axes 3-D",
    "EMA instead of weights",
    "teacher for student",
    "dilation (MedicalNet for plain)",
}


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name in MENDABLE], ids=sorted(MENDABLE & set(NAMES)))
def test_what_a_check_says_to_write_into_the_card_mends_it(kind: Kind, tmp_path: Path) -> None:
    sample = make(kind, tmp_path, mark=True)
    found = check_file(sample.path, sample.card)
    assert any(mend.helped for mend in found.mends)
    after = check_file(sample.path, card_with(sample.card, found.write))
    assert after.ok, (found.write, after.cause, after.why)


def test_an_order_of_channels_is_told_by_the_names_of_the_channels(tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == "swapped modalities")
    sample = make(kind, tmp_path, mark=True)
    found = check_file(sample.path, sample.card)
    # The corpus put old channel (2, 0, 3, 1) at places 0 to 3.
    assert found.write == {"expects": {"channel_names": ["t2", "t1", "flair", "t1ce"]}}


@pytest.mark.parametrize("kind", HIDDEN[:5], ids=[kind.name for kind in HIDDEN[:5]])
def test_a_study_refuses_what_a_fingerprint_shows_and_names_the_cause(kind: Kind, tmp_path: Path) -> None:
    sample = make(kind, tmp_path, mark=True)
    source = SourceWeights.open(sample.card, sample.path)
    with pytest.raises(PlanError, match="fingerprint") as caught:
        load_reference(source, build_encoder(sample.card))
    # A study has one file and one card: other containers and networks are for the check to try.
    known = ("near_weights", "averaged_weights", "other_values", "prefix", "dilation", "stride")
    alike = kind.causes if kind.causes[0] not in known else known
    assert any(f"Cause: {cause}." in str(caught.value) for cause in alike), str(caught.value)


def test_missing_and_unused_are_listed_with_reasons_and_closest_names(tmp_path: Path) -> None:
    state = true_state("flat")
    state["layer1.0.convolution1.weight"] = state.pop("layer1.0.conv1.weight")
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"][:4].contiguous()
    found = check_file(plain(tmp_path, {**state, "note": "x"}), marked_card("flat"))
    lacks = {lack.name: lack for lack in found.missing}
    assert lacks["layer1.0.conv1.weight"].closest == "layer1.0.convolution1.weight"
    assert "[4, 8, 3, 3]" in lacks["layer2.0.conv1.weight"].why
    reasons = {each.source: each.why for each in found.unused}
    assert set(reasons) == {"layer1.0.convolution1.weight", "layer2.0.conv1.weight", "note"}
    assert all(reasons.values())
    assert not found.ok
    assert found.coverage.tensors < 1


def test_thresholds_are_fields_and_too_small_a_share_is_low_coverage() -> None:
    from allograft.weights.coverage import Shares

    assert Shares(tensors=1, numbers=0.94, norm=1).below(Thresholds())
    assert not Shares(tensors=1, numbers=0.94, norm=1).below(Thresholds(numbers=0.9))
    assert "norm" in Shares(tensors=1, numbers=1, norm=0.2).below(Thresholds())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_without_a_card_is_recognised_and_stays_unproven(prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = resnet18()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.get_buffer("running_mean"))
    path = plain(tmp_path, {"state_dict": {prefix + k: v for k, v in net.state_dict().items()}, "epoch": 1})
    found = check_file(path)
    assert (found.net, found.ok, found.proof) == ("resnet18", False, "unproven")
    assert found.cause == ("prefix" if prefix else "unproven")
    if not prefix:
        assert {each.source for each in found.unused} == {"fc.weight", "fc.bias"}
    other = check_file(path, asked=Asked(net="resnet34"))
    assert other.cause == "wrong_depth"


def test_a_file_of_nobody_knows_which_network_says_so(tmp_path: Path) -> None:
    found = check_file(plain(tmp_path, {"a.weight": torch.randn(3, 3), "a.bias": torch.randn(3)}))
    assert (found.ok, found.cause) == (False, "wrong_network")
    assert "--net" in found.why


def _run(*words: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["weights", *words, "--json"])
    return done.exit_code, json.loads(done.stdout)


def _card_file(folder: Path, card: WeightSource) -> Path:
    import yaml

    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False))
    return path


def test_the_command_exits_0_only_where_a_file_is_ok_and_a_fingerprint_can_be_made(tmp_path: Path) -> None:
    path = plain(tmp_path, true_state("flat"))
    card = _card_file(tmp_path, card_of("flat"))
    code, said = _run("check", str(path), "--card", str(card))
    assert (code, said["ok"], said["cause"], said["proof"]) == (1, False, "unproven", "unproven")
    assert {"ok", "cause", "coverage", "missing", "unused"} <= set(said)
    code, said = _run("check", str(path), "--card", str(card), "--like", str(path))
    assert (code, said["ok"], said["cause"]) == (0, True, "")
    assert CliRunner().invoke(app, ["weights", "fingerprint", str(path), "--card", str(card), "--write"]).exit_code == 0
    code, said = _run("check", str(path), "--card", str(card))
    assert (code, said["ok"], said["proof"]) == (0, True, "fingerprint")
    assert said["against"]


@pytest.mark.parametrize("name", ["BGR for RGB", "prefix module.", "missing BN statistics", "web page", "head kept"])
def test_people_read_the_verdict_the_shares_and_what_to_write(name: str, tmp_path: Path) -> None:
    sample = make(next(kind for kind in KINDS if kind.name == name), tmp_path, mark=True)
    done = CliRunner().invoke(
        app, ["weights", "check", str(sample.path), "--card", str(_card_file(tmp_path, sample.card))]
    )
    assert done.exit_code == 1
    assert f"not ok: {sample.kind.causes[0]}" in done.stdout
    if name in {"prefix module.", "head kept"}:
        assert "to write into the card" in done.stdout


def test_a_check_is_a_config_that_can_be_kept(tmp_path: Path) -> None:
    found = check_file(plain(tmp_path, true_state("flat")), marked_card("flat"))
    assert Check.model_validate_json(found.model_dump_json()) == found


def test_a_fingerprint_is_only_taken_of_a_file_that_fits(tmp_path: Path) -> None:
    path = plain(tmp_path, {f"module.{k}": v for k, v in true_state("flat").items()})
    with pytest.raises(PlanError, match="no value"):
        take_fingerprint(path, card_of("flat"))


def test_the_guide_says_what_every_cause_means() -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "weights.md").read_text(encoding="utf-8")
    assert [cause for cause in CAUSES if cause and f"`{cause}`" not in text] == []
