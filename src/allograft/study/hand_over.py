"""Hand-over: a run's network or a study's winner as a folder for other programs, checked before it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from allograft import catalog
from allograft.core.atomic import folder_aside
from allograft.core.config import Config
from allograft.core.errors import ConfigError, did_you_mean
from allograft.infer.ensemble import Member, Predictor, open_bundles
from allograft.infer.export_bundle import contract_of, write_monai_bundle
from allograft.infer.export_onnx import require_onnx, write_onnx
from allograft.infer.export_openvino import require_openvino, write_openvino
from allograft.study.chain import PLAN_FILE
from allograft.study.model_card import Handed, model_card
from allograft.study.summarise import summarise
from allograft.study.winner import Chosen, choose
from allograft.weights.card import read_card

__all__ = ["FORMATS", "HandedOver", "hand_over"]

CARD, CONTRACT, NETWORKS, PLAN = "MODEL_CARD.md", "contract.json", "networks", PLAN_FILE
FORMATS: dict[str, tuple[Callable[[], None], Callable[[Path, Predictor], list[str]]]] = {
    "bundle": (lambda: None, write_monai_bundle),
    "onnx": (require_onnx, write_onnx),
    "openvino": (require_openvino, write_openvino),
}
"""By name: what asks for its packages, and what writes it."""


class HandedOver(Config):
    """What `hand_over` wrote.

    Args:
        folder: where.
        form: of the formats.
        said: how the networks were chosen.
        runs: of the networks, in the order of the output's members.
        checked: what was compared and measured, a sentence each.
        files: relative to the folder, sorted.
    """

    folder: Path
    form: str
    said: str
    runs: tuple[str, ...]
    checked: tuple[str, ...]
    files: tuple[str, ...]


def hand_over(
    path: Path, form: str, folder: Path, *, member: int | None = None, dataset: str = "", force: bool = False
) -> HandedOver:
    """Write the networks behind `path` for other programs; the folder is there whole and checked, or not at all.

    Args:
        path: a study's folder (its winner), a finished run, or a bundle.
        form: "bundle" (MONAI), "onnx" or "openvino".
        folder: a new folder.
        member: number of the one network that is wanted, from 0; None takes all, which answer as one.
        dataset: of a study with several data sets, whose ranking counts; "" takes the first.
        force: replace a folder that is there and was written by this function.

    Raises:
        ConfigError: no such format or member, the folder exists, or the network cannot be written so.
        DataError: there is no network, or its files are damaged.
        MissingExtra: the format needs a package that is not installed.
        NumericsError: the exported network gives other numbers than the trained one.
    """
    if form not in FORMATS:
        msg = f'--format "{form}": no such format. {did_you_mean(form, FORMATS)}'
        raise ConfigError(msg)
    _require_free(folder, force=force)
    require, write = FORMATS[form]
    require()
    chosen = _one(choose(path, dataset=dataset), member)
    predictor = open_bundles(chosen.bundles, catalog.parts)
    summary = None if chosen.study is None else summarise(chosen.study)
    old = folder.with_name(f".{folder.name}.old")
    with folder_aside(folder) as aside:
        use = write(aside, predictor)
        _networks(aside / NETWORKS, chosen, predictor)
        contract = contract_of(predictor)
        (aside / "configs").mkdir(exist_ok=True)
        (aside / "configs" / CONTRACT).write_text(contract.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (aside / CARD).write_text(model_card(_handed(chosen, predictor), use, summary), encoding="utf-8")
        files = tuple(sorted(str(each.relative_to(aside)) for each in aside.rglob("*") if each.is_file()))
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)
    runs = tuple(each.bundle.run for each in predictor.members)
    checked = tuple(line for line in use if " against PyTorch " in line or line.startswith("Speed"))
    return HandedOver(folder=folder, form=form, said=chosen.said, runs=runs, checked=checked, files=files)


def _require_free(folder: Path, *, force: bool) -> None:
    """Refuse to write over anything but an older export, and that only when told."""
    if not folder.exists():
        return
    ours = (folder / CARD).exists() and (folder / NETWORKS).is_dir()
    if not ours or not force:
        hint = "or say --force to replace that export" if ours else "it is no export, so --force does not help"
        msg = f"{folder}: exists already and is not overwritten. Choose a new --out; {hint}."
        raise ConfigError(msg)


def _one(chosen: Chosen, member: int | None) -> Chosen:
    """Return the one network that is wanted, or all."""
    if member is None:
        return chosen
    count = len(chosen.bundles)
    if not 0 <= member < count:
        msg = f"--member {member}: there are {count} network(s), numbered 0 to {count - 1}."
        raise ConfigError(msg)
    changes: dict[str, Any] = {
        "said": f"{chosen.said} Of these only number {member} is handed over, by wish.",
        "bundles": chosen.bundles[member : member + 1],
        "runs": chosen.runs[member : member + 1],
    }
    return chosen.model_copy(update=changes)


def _networks(folder: Path, chosen: Chosen, predictor: Predictor) -> None:
    """Copy each network's own files, and the table of its plan."""
    for source, each in zip(chosen.bundles, predictor.members, strict=True):
        target = folder / each.bundle.run
        target.mkdir(parents=True)
        for name in ("model.safetensors", "bundle.json", "card.yaml"):
            shutil.copyfile(source / name, target / name)
        if (source.parent / PLAN).exists():
            shutil.copyfile(source.parent / PLAN, target / PLAN)


def _handed(chosen: Chosen, predictor: Predictor) -> Handed:
    bundles = [member.bundle for member in predictor.members]
    seen = [name for folder in chosen.bundles for name in read_card(folder / "card.yaml").seen]
    return Handed(
        said=chosen.said,
        recipe=chosen.recipe,
        dataset=chosen.dataset,
        contract=contract_of(predictor),
        networks={each.bundle.run: _words(each) for each in predictor.members},
        licences=tuple(dict.fromkeys(text for bundle in bundles for text in bundle.licences)),
        seen=tuple(dict.fromkeys(seen)),
        notes=predictor.notes,
        precision=bundles[0].precision,
    )


def _words(member: Member) -> str:
    """Say what a network is; frozen parameters count too."""
    net, numbers = member.bundle.net, sum(p.numel() for p in member.net.parameters())
    decoder = f", decoder {net.decoder}" if net.decoder else ""
    return f"{net.encoder}{decoder}, {net.dims}-D, {numbers / 1e6:.2f} M numbers"
