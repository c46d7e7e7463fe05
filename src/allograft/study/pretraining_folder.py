"""The folder of a pre-training: claimed, continued, finished; what lies in it names nobody."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allograft.core.atomic import write_text
from allograft.core.config import Config, canonical_json
from allograft.core.errors import ResumeError
from allograft.core.private import pseudonym, site_salt
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.study.keep_plans import keep_plans
from allograft.study.lab import RunLab
from allograft.study.made_with import ImagesSeen, MadeWith, made_with
from allograft.study.pretext_pictures import PICTURES
from allograft.study.pretraining_images import Gathered
from allograft.study.stage import StageRecord
from allograft.train.device import Device
from allograft.weights.card import WeightSource, read_card
from allograft.weights.export import CARD, TENSORS, write_source
from allograft.weights.source import SourceWeights

__all__ = ["STAGES", "Facts", "Place", "Pretrained", "finish"]

CLAIM = "pretraining.json"
OUTCOME = "outcome.json"
STAGES = "stages"
SHOWN = 12


class Facts(Config):
    """What a pre-training read.

    Args:
        data: name of the data set.
        method: name of the objective.
        unit: what a group is.
        learnt: how many images and groups were learnt from.
        held_out: how many were only looked at.
        left_out: how many images of the data were kept out.
        shape: (C, *S) of what the network saw.
        windows: whether these are windows of larger images.
        net: what was trained, as a study names it.
        notes: what a user must know of the images.
    """

    data: str
    method: str
    unit: str
    learnt: tuple[int, int]
    held_out: tuple[int, int]
    left_out: int
    shape: tuple[int, ...]
    windows: bool
    net: NetSpec
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pretrained:
    """A finished pre-training.

    Args:
        folder: the source's folder, which studies name.
        card: of the weights.
        facts: what was read.
        stage: what was trained, with the log of held-out images.
    """

    folder: Path
    card: WeightSource
    facts: Facts
    stage: StageRecord


@dataclass(frozen=True)
class Place:
    """The folder of one pre-training."""

    folder: Path

    @property
    def name(self) -> str:
        """The source's name: that of its folder, in characters that cards and run names may have."""
        return re.sub(r"[^A-Za-z0-9_.+-]", "-", self.folder.resolve().name).lstrip("_.+-") or "source"

    @property
    def work(self) -> Path:
        """Where images and checkpoints lie until it is finished."""
        return self.folder / "work"

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return (self.folder / CARD).exists()

    @property
    def begun(self) -> bool:
        """Whether anything was trained that another pre-training would spoil."""
        return self.done or (self.work / STAGES).exists()

    def device(self) -> Device | None:
        """Return the device that it was begun with, None for a new folder."""
        path = self.folder / CLAIM
        return Device.model_validate(json.loads(path.read_text())["device"]) if path.exists() and self.begun else None

    def begin(self) -> None:
        """Say that training begins: from now on the folder is of these settings."""
        (self.work / STAGES).mkdir(parents=True, exist_ok=True)

    def require_same(self, asked: Mapping[str, Any]) -> None:
        """Refuse a folder that holds something else.

        Raises:
            ResumeError: another pre-training, with what differs, or other files.
        """
        path = self.folder / CLAIM
        if not path.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                msg = (
                    f"{self.folder}: exists and is no folder of a pre-training (no {CLAIM}). Nothing was written; "
                    "choose another --out."
                )
                raise ResumeError(msg)
            return
        if not self.begun:
            return
        old = json.loads(path.read_text(encoding="utf-8"))
        then = dict(_flat({name: old.get(name) for name in asked}))
        now = dict(_flat(json.loads(canonical_json(asked))))
        differing = [name for name in dict.fromkeys((*then, *now)) if then.get(name) != now.get(name)]
        if differing:
            lines = [f"{name}: there {_said(then.get(name))}, now {_said(now.get(name))}" for name in differing]
            shown = "\n  ".join([*lines[:SHOWN], *(["..."] if len(lines) > SHOWN else [])])
            msg = (
                f"{self.folder}: this folder belongs to another pre-training. Nothing was written; choose another "
                f"--out, or the settings that it was begun with.\n  {shown}"
            )
            raise ResumeError(msg)

    def claim(self, claim: Mapping[str, Any]) -> None:
        """Make the folder this pre-training's, or check that it is.

        Raises:
            ResumeError: it holds something else; the images may have changed.
        """
        self.require_same(claim)
        if not self.begun:
            write_text(self.folder / CLAIM, json.dumps(claim, indent=1))

    @staticmethod
    def short(text: str) -> str:
        """Return 24 digits that change with a text."""
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def looked_at(self, content: str) -> tuple[dict[str, str], list[str]] | None:
        """Return what was found when images of this content were looked at, None where they were not."""
        path = self.work / f"looked-at-{content}.json"
        if not path.exists():
            return None
        failed, warnings = json.loads(path.read_text(encoding="utf-8"))
        return dict(failed), list(warnings)

    def keep_looks(self, content: str, failed: Mapping[str, str], warnings: list[str]) -> None:
        """Keep what was found, so that images are looked at once."""
        write_text(self.work / f"looked-at-{content}.json", json.dumps([dict(failed), warnings]))

    def clear(self) -> None:
        """Take away what is not needed when it is finished, and what a kill left half-written."""
        shutil.rmtree(self.work, ignore_errors=True)
        for name in (CLAIM, OUTCOME, CARD, TENSORS, PICTURES, "stages.json", "plan-table.json", "made-with.json"):
            for left in self.folder.glob(f".{name}.*"):
                left.unlink(missing_ok=True)

    def finished(self) -> Pretrained:
        """Return the finished pre-training."""
        (stage,) = json.loads((self.folder / "stages.json").read_text(encoding="utf-8"))
        facts = Facts.model_validate_json((self.folder / OUTCOME).read_text(encoding="utf-8"))
        return Pretrained(self.folder, read_card(self.folder / CARD), facts, StageRecord.model_validate(stage))


def finish(place: Place, lab: RunLab, net: Network, gathered: Gathered, facts: Facts) -> None:
    """Write the source and all that is known of it, the card last."""
    keep_plans(place.folder, lab.records)
    drawn = lab.where / lab.records[-1].stage / PICTURES
    if drawn.exists():
        shutil.copyfile(drawn, place.folder / PICTURES)
    write_text(place.folder / OUTCOME, facts.model_dump_json(indent=1))
    _made_with(lab, gathered).write(place.folder)
    write_source(_source(place, lab, net), place.folder, place=place.folder)
    place.clear()


def _made_with(lab: RunLab, gathered: Gathered) -> MadeWith:
    """Return which images and patients were learnt from."""
    learn, salt = lab.cohorts["train"], site_salt()
    seen = [one for case in learn for one in gathered.contents[case.id]]
    others = [one for case, held in gathered.contents.items() if case not in set(learn.ids) for one in held]
    images = ImagesSeen.of((learn.name, *learn.seen_as), seen, (*others, *gathered.left_out))
    groups = () if learn.unit in {"image", "folder"} else tuple(sorted({pseudonym(g, salt) for g in learn.groups}))
    own = MadeWith(groups=groups, seen=(images,))
    return own | made_with(lab.arm.source.card) if lab.arm.source else own


def _source(place: Place, lab: RunLab, net: Network) -> SourceWeights:
    """Return the network as a source with a card that says what it is, what it has seen and what it expects."""
    made, how, method = lab.source(net, place.name), lab.arm.pool.store.index.preprocess, lab.objective
    parent = f", from {lab.arm.source.card.name}" if lab.arm.source else ""
    expects: dict[str, object] = {"standard": how.space == "standard"}
    if how.intensity == "window":
        expects["window"] = (how.low, how.high)
    if isinstance(how.spacing, tuple):
        expects["spacing_mm"] = how.spacing
    changes = {
        "title": f"{lab.net.encoder} pre-trained by {method.name} on {lab.key.dataset} without labels{parent}",
        "reference": method.paper,
        "expects": made.card.expects.model_copy(update=expects),
    }
    made.card = made.card.model_copy(update=changes)
    return made


def _flat(data: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of nested settings by dotted name."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name.removeprefix("settings."), data


def _said(value: object) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else text[:57] + "..."
