"""allograft pretrain: an encoder learns from unlabelled images and becomes a source for studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AcceptLicence, AsJson, Plugin, emit_json, err, out, progress
from allograft.cli.data_options import Group, ImageColumn, Site
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.study.pretraining_folder import Pretrained
    from allograft.study.pretraining_spec import Pretraining

__all__ = ["pretrain"]

NAMED = ("method", "net", "start", "augment")
"""Settings that are a name, or a name with its own settings."""

Data = Annotated[str, typer.Argument(metavar="DATA", help="A folder of images, a table, or a known data set.")]
Out = Annotated[Path, typer.Option("--out", metavar="SOURCE", help="Folder of the source; run again to go on.")]
Method = Annotated[str | None, typer.Option(help="Pretext task: rotation, simclr, '{simclr: {temperature: 0.5}}'.")]
Net = Annotated[str | None, typer.Option(help="Encoder: resnet18, '{encoder: resnet10_small, width: 0.5}'.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings, under these options.")]
Source = Annotated[str | None, typer.Option(help="Weights to begin with: a card, or the folder of a source.")]
Start = Annotated[str | None, typer.Option(help="How they are carried over; full by default.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Optimiser steps; 1000 by default.")]
Images = Annotated[int | None, typer.Option("--batch", min=1, help="Images in a step; 32 by default.")]
Rate = Annotated[float | None, typer.Option(help="Peak learning rate; 0.001 by default.")]
Looks = Annotated[int | None, typer.Option(min=1, help="Looks at held-out images; 10 by default.")]
Size = Annotated[str | None, typer.Option(help="Resize every image: 64,64 or 32,64,64 (slowest axis first).")]
Patch = Annotated[str | None, typer.Option(help="Learn from windows of this size; by itself for images of many sizes.")]
Values = Annotated[str | None, typer.Option(help="unit, percentile or standard; for scans standard, or --window.")]
Window = Annotated[tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Window of intensities (HU).")]
Augment = Annotated[str | None, typer.Option(help="What images and views go through; views by default.")]
Seed = Annotated[int | None, typer.Option(help="Of every draw; 0 by default.")]
HeldOut = Annotated[float | None, typer.Option(help="Share of patients that are only looked at; 0.1 by default.")]
Pattern = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Of a folder: its first group, in a file's path below it, is the patient."),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="Keep out what this study tests (file or folder), or this table's or folder's images."),
]
Labels = Annotated[bool, typer.Option("--labels", help="Log kNN and a probe on classes that the data have.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Name files that cannot be read, and go on.")]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Show in the page what the task did to four held-out images.")
]
Devices = Annotated[int, typer.Option(min=1, help="Processes; above 1 started by torchrun.")]


def pretrain(
    data: Data,
    out_dir: Out,
    method: Method = None,
    net: Net = None,
    config: ConfigFile = None,
    source: Source = None,
    start: Start = None,
    steps: Steps = None,
    batch: Images = None,
    lr: Rate = None,
    evals: Looks = None,
    size: Size = None,
    patch: Patch = None,
    intensity: Values = None,
    window: Window = None,
    augment: Augment = None,
    seed: Seed = None,
    held_out: HeldOut = None,
    image: ImageColumn = None,
    group: Group = None,
    site: Site = None,
    group_pattern: Pattern = None,
    without: Without = None,
    labels: Labels = False,
    skip_unreadable: Skip = False,
    pictures: Pictures = True,
    devices: Devices = 1,
    accept_licence: AcceptLicence = None,
    plugin: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train an encoder on images without labels; SOURCE is then named as source in study files."""
    named = {name: _yaml(text) for name, text in zip(NAMED, (method, net, start, augment), strict=True)}
    plain = {"source": source, "seed": seed, "held_out": held_out, "accept_licence": accept_licence}
    training = {"budget": {"steps": steps, "batch": batch, "evals": evals}, "optim": {"lr": lr}}
    pixels = {"preprocess": _pixels(size, intensity, window), "patches": {"size": _sizes(patch, "--patch")}}
    columns = {"image": _several(image), "group": group, "domain": site, "group_pattern": group_pattern}
    images = {"without": without, "labels": labels or None, "skip_unreadable": skip_unreadable or None}
    given = _settings(config, {**named, **plain, **training, **pixels, "images": {**columns, **images}}, plugin)
    _tell(_watched(data, given, out_dir, devices, quiet=as_json), out_dir, pictures=pictures, as_json=as_json)


def _report(found: Pretrained, *, pictures: bool) -> Path:
    """Write the page of the monitors, and of pictures where they are wanted."""
    from allograft.report.write import write_pretext
    from allograft.study.pretext_stage import PICTURES
    from allograft.study.pretexts import one_pretext

    shown = found.folder / PICTURES if pictures else None
    record, name = found.stage.model_dump(mode="json"), found.facts.method
    stage = one_pretext(record, dataset=found.facts.data, recipe=name, pictures=shown)
    assert stage is not None, "every pre-training is watched on held-out images"
    return write_pretext(stage, found.folder / "report.html")


def _tell(found: Pretrained | None, out_dir: Path, *, pictures: bool, as_json: bool) -> None:
    """Write the page and say what came of it; of several processes only the first speaks."""
    if found is None:
        return
    page = _report(found, pictures=pictures)
    if as_json:
        emit_json({**_as_data(found), "report": str(page)})
    else:
        _say(found, out_dir)
        out.print(f"report: {page}", markup=False)


def _settings(config: Path | None, given: Mapping[str, Any], plugin: list[str] | None) -> Pretraining:
    """Return the settings of a file, with those of the command line laid over them."""
    from allograft import catalog
    from allograft.study.pretraining_spec import Pretraining

    for module in plugin or []:
        catalog.allow_plugin(module)
    return Pretraining.from_data(_laid_over(config, given), where=str(config or "the command line"))


def _watched(data: str, settings: Pretraining, out_dir: Path, devices: int, *, quiet: bool) -> Pretrained | None:
    """Pre-train with one bar: first the images, then the steps; None in all processes but the first."""
    from allograft.study.pretraining import Watching
    from allograft.study.pretraining import pretrain as run
    from allograft.train.callbacks import ProgressCallback
    from allograft.train.device import Device

    first = Device(devices=devices).leads
    with progress(settings.method.name, quiet=quiet or not first) as tick:
        watching = Watching(
            on_image=lambda done, total: tick(done, total, "images read"),
            on_unreadable=lambda message: err.print(f"left out: {message}", markup=False),
            callbacks=(ProgressCallback(lambda at, loss: tick(at.step, at.total, f"steps, loss {loss:.4g}")),),
        )
        found = run(data, settings, out_dir, devices=devices, watching=watching)
    return found if first else None


def _laid_over(config: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file with what the command line says laid over them."""
    from allograft.core.config import read_yaml

    told = read_yaml(config) if config is not None else {}
    if not isinstance(told, Mapping):
        msg = f"{config}: expected settings like method, net, budget; got {type(told).__name__}."
        raise ConfigError(msg)
    found = dict(told)
    for name, value in given.items():
        if not isinstance(value, Mapping) or name in NAMED:
            found |= {} if value is None else {name: value}
            continue
        said = {key: one for key, one in value.items() if one is not None}
        if said:
            found[name] = {**(found.get(name) or {}), **said}
    return found


def _pixels(size: str | None, intensity: str | None, window: tuple[float, float] | None) -> dict[str, Any]:
    """Return the settings of sizes and intensities."""
    sizes = {"size": _sizes(size, "--size")}
    if window is None:
        return {**sizes, "intensity": intensity}
    if intensity not in {None, "window"}:
        msg = f"--intensity {intensity} and --window say two things. Give one."
        raise ConfigError(msg)
    return {**sizes, "intensity": "window", "low": window[0], "high": window[1]}


def _sizes(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(parts) not in {2, 3}:
        msg = f'{option} "{text}": expected 2 or 3 whole numbers with commas between, like 64,64 or 32,64,64.'
        raise ConfigError(msg)
    return [int(part) for part in parts]


def _yaml(text: str | None) -> Any:
    """Return a name, or the settings that a text in YAML holds."""
    import yaml

    from allograft.core.config import parse_yaml

    try:
        return None if text is None else parse_yaml(text)
    except yaml.YAMLError as error:
        msg = f'"{text}": neither a name nor settings like {{name: {{field: value}}}} ({error}).'
        raise ConfigError(msg) from error


def _several(names: list[str] | None) -> str | list[str] | None:
    return names[0] if names and len(names) == 1 else names


def _as_data(found: Pretrained) -> dict[str, Any]:
    from allograft.study.pretraining_words import learnt_words, warning_words

    return {
        "source": str(found.folder),
        "card": found.card.model_dump(mode="json", exclude={"fingerprint"}),
        "proof": "fingerprint" if found.card.fingerprint else "",
        "facts": found.facts.model_dump(mode="json"),
        "history": [row.model_dump(mode="json") for row in found.stage.history.rows],
        "learnt": list(learnt_words(found)),
        "warnings": list(warning_words(found)),
    }


def _say(found: Pretrained, out_dir: Path) -> None:
    """Write what was read and learnt, where it lies, and how a study names it."""
    from allograft.study.pretraining_words import data_words, learnt_words, recipe_words, warning_words

    for line in (*data_words(found), *learnt_words(found)):
        out.print(line, markup=False)
    for line in warning_words(found):
        err.print(f"warning: {line}", markup=False)
    out.print(f"source: {out_dir} (card.yaml, weights.safetensors; the log is stages.json)", markup=False)
    out.print("in a study file:", markup=False)
    for line in recipe_words(found):
        out.print(f"  {line}", markup=False)
