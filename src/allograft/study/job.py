"""One run, from its key to a finished folder; whatever goes wrong becomes a row."""

from __future__ import annotations

import json
import resource
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from allograft.core.atomic import write_text
from allograft.core.config import canonical_json
from allograft.core.errors import AllograftError, Pending
from allograft.core.private import hide
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.infer.score_masks import Labels
from allograft.metrics.temperature import fit_temperature
from allograft.nets.network import Network
from allograft.study.casting import cast_run
from allograft.study.collapsed import collapse_notes
from allograft.study.desk import Desk
from allograft.study.feature_maps import Held, keep_feature_map
from allograft.study.frames import metric_rows, to_frame
from allograft.study.heat_maps import keep_heat
from allograft.study.inspection import inspect_layers
from allograft.study.keep_plans import keep_plans
from allograft.study.keeping import keep_bundle
from allograft.study.lab import RunLab
from allograft.study.label_maps import LABELS, write_labels
from allograft.study.outcome import Done, Failed, RunKey, Waiting
from allograft.study.pointing_maps import keep_pointing
from allograft.study.prepared import Prepared, load_prepared
from allograft.study.pretext_pictures import PICTURES
from allograft.study.provenance import write_made_with
from allograft.study.run_arm import make_arm
from allograft.study.shift import domain_names
from allograft.study.slices import SLICES, cut_slice, write_slice
from allograft.study.store import RunStore

__all__ = ["run_one"]


def run_one(key: RunKey, folder: Path) -> Done | Failed | Waiting:
    """Make one run of the study in `folder` and finish it in the store.

    Args:
        key: which run.
        folder: the study's folder, prepared.

    Returns:
        How the run ended; an exception is a `Failed` with its traceback.
    """
    store = RunStore(folder)
    names: Mapping[str, str] = {}
    try:
        prepared = load_prepared(folder)
        names = prepared.pseudonyms(key.dataset)
        with threadpool_limits(prepared.device.threads):
            return _run(key, store, prepared)
    except Pending as question:  # stages lie on disk: the run goes on from here
        return Waiting(key=key, message=hide(str(question), names))
    except Exception as error:
        shown = "" if isinstance(error, AllograftError) else traceback.format_exc()
        message, shown = (hide(text, names) for text in (str(error), shown))
        return Failed(key=key, error=type(error).__name__, message=message, traceback=shown)


def _run(key: RunKey, store: RunStore, prepared: Prepared) -> Done:
    """Train, test once, and finish the folder by rename."""
    fold = prepared.folds[key.dataset][key.fold]
    cohorts = cast_run(prepared, key)
    arm = make_arm(prepared, key, cohorts["train"])
    lab = RunLab(
        key=key,
        arm=arm,
        cohorts=cohorts,
        where=store.work_folder(key.id),
        truth=prepared.cohorts[key.dataset].subset((*fold.train, *fold.unlabelled)),
        desk=Desk(store.folder, key.dataset),
    )
    net, test = arm.recipe.procedure.run(lab), prepared.tests(key.dataset, key.fold)
    found = {"val": arm.predict(net, cohorts["val"]), "test": _tested(lab, net, test, prepared)}
    elsewhere = {**_unseen(lab, net, prepared), **_source(lab, net, prepared)}
    with store.finishing(key.id) as aside:
        _keep_journey(aside, lab, test, prepared)
        for part, (name, predictions) in elsewhere.items():
            _keep(aside, part, predictions, prepared.pseudonyms(name), _domains(prepared, name, part))
        _keep_pictures(aside, lab.where)
        return _finish(aside, lab, net, found, prepared)


def _tested(lab: RunLab, net: Network, cohort: Cohort, prepared: Prepared) -> Predictions:
    """Predict the test cases once; label maps and a slice of each go into the run's work folder under pseudonyms."""
    names, begun = prepared.pseudonyms(lab.key.dataset), time.monotonic()
    store = lab.arm.pool.store

    def keep(case: Case, labels: Labels, truth: Labels | None) -> None:
        write_labels(lab.where / LABELS / f"{names[case.id]}.npz", labels)
        shown = cut_slice(labels, truth, store.placement(case.id), partial(store.image, case.id))
        write_slice(lab.where / SLICES / f"{names[case.id]}.npz", shown)

    found = lab.arm.pool.judge(net, cohort, lab.arm.device, keep)
    lab.seconds["predict"] = time.monotonic() - begun
    return found


def _source(lab: RunLab, net: Network, prepared: Prepared) -> dict[str, tuple[str, Predictions]]:
    """Predict the source's part of the test fold under a shift: what the network does where its labels come from."""
    name, begun = lab.key.dataset, time.monotonic()
    if prepared.shift(name) is None:
        return {}
    judged = set(prepared.tests(name, lab.key.fold).ids)
    kept = prepared.cohorts[name].subset(i for i in prepared.folds[name][lab.key.fold].test if i not in judged)
    found = {"source": (name, lab.arm.pool.judge(net, kept, lab.arm.device))} if len(kept) else {}
    lab.seconds["predict"] += time.monotonic() - begun
    return found


def _unseen(lab: RunLab, net: Network, prepared: Prepared) -> dict[str, tuple[str, Predictions]]:
    """Predict the data sets that nothing of the study has looked at."""
    begun, arm = time.monotonic(), lab.arm
    found = {}
    for name in (data.name for data in prepared.study.unseen):
        whole, store, patches = prepared.cohorts[name], prepared.stores[name], prepared.patches[name]
        pool = replace(arm.pool, whole=whole, store=store, patches=patches)
        found[f"unseen-{name}"] = name, pool.judge(net, pool.whole, arm.device)
    lab.seconds["predict"] += time.monotonic() - begun
    return found


def _keep_journey(aside: Path, lab: RunLab, test: Cohort, prepared: Prepared) -> None:
    """Test the networks on the way, and write what stages reported."""
    names, rows = prepared.pseudonyms(lab.key.dataset), []
    for stage, labels, net in lab.milestones:
        _, scores = metric_rows(lab.arm.pool.judge(net, test, lab.arm.device), names)
        rows.append({"stage": stage, "labels": labels, "scores": scores})
    if rows:
        write_text(aside / "milestones.json", json.dumps(rows))
    if lab.reports:
        write_text(aside / "reports.json", json.dumps(lab.reports))


def _domains(prepared: Prepared, name: str, part: str) -> dict[str, str]:
    """Return the domain of every case and group of the target ("test") or the "source" under a shift, else nothing."""
    shift = prepared.shift(name) if part in {"test", "source"} else None
    if shift is None:
        return {}
    return domain_names(prepared.cohorts[name].where(lambda case: shift.is_target(case.domain) == (part == "test")))


def _keep(
    aside: Path, part: str, predictions: Predictions, names: Mapping[str, str], domains: Mapping[str, str]
) -> dict[str, float]:
    """Write predictions and what they score; return the scores of the whole set."""
    to_frame(predictions, names, domains).to_parquet(aside / f"predictions-{part}.parquet", index=False)
    rows, scores = metric_rows(predictions, names)
    rows.to_parquet(aside / f"metrics-{part}.parquet", index=False)
    return scores


def _finish(aside: Path, lab: RunLab, net: Network, found: Mapping[str, Predictions], prepared: Prepared) -> Done:
    """Write everything that a report or a later reader needs."""
    names = prepared.pseudonyms(lab.key.dataset)
    began_with = lab.arm.source.card if lab.arm.source else None
    write_made_with(aside, lab.cohorts.values(), began_with, prepared.salt)
    to_frame(found["val"], names).to_parquet(aside / "predictions-val.parquet", index=False)
    scores = _keep(aside, "test", found["test"], names, _domains(prepared, lab.key.dataset, "test"))
    begun = time.monotonic()
    if lab.key.fold == 0:
        _inspect(aside, lab, net, prepared)
        keep_heat(aside, lab.arm.pool, net, prepared.tests(lab.key.dataset, lab.key.fold), names)
    keep_pointing(aside, lab.arm.pool, net, prepared.tests(lab.key.dataset, lab.key.fold), names)
    lab.seconds["inspect"] = time.monotonic() - begun
    plan = lab.records[-1].plan
    keep_plans(aside, lab.records)
    scaled = lab.task.kind not in {"regression", "segmentation"}
    temperature = fit_temperature(_single(lab, net, found["val"])).value if scaled else 1.0
    keep_bundle(aside / "model", lab, net, temperature)
    outcome = Done(
        key=lab.key,
        lr=lab.records[-1].lr,
        coverage=plan.coverage().model_dump(),
        scores={name: value if np.isfinite(value) else None for name, value in scores.items()},
        seconds=lab.seconds,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        environment={"device": canonical_json(prepared.device.model_dump(mode="json"))},
        notes=_notes(lab, found),
    )
    write_text(aside / "outcome.json", outcome.model_dump_json())
    return outcome


def _notes(lab: RunLab, found: Mapping[str, Predictions]) -> tuple[str, ...]:
    """Return what a reader of the run must know, each once."""
    learnt = (note for record in lab.records for note in record.notes)
    collapsed = collapse_notes(found, lab.arm.pool.store)
    said = (str(facts["note"]) for facts in lab.reports if facts.get("note"))
    return tuple(dict.fromkeys((lab.arm.pool.normalise.note, *lab.notes, *learnt, *said, *collapsed)))


def _single(lab: RunLab, net: Network, found: Predictions) -> Predictions:
    """Return validation predictions of single cases, which a temperature is for, where groups are scored."""
    if lab.task.score_by == "case":
        return found
    return lab.arm.pool.cases(net, lab.cohorts["val"], lab.arm.device)


def _keep_pictures(aside: Path, work: Path) -> None:
    """Take over label maps and slices of test cases, where there are some."""
    for part in (LABELS, SLICES):
        if (kept := work / part).exists():
            shutil.copytree(kept, aside / part)
    for kept in work.glob(f"*/{PICTURES}"):
        shutil.copyfile(kept, aside / PICTURES)


def _inspect(aside: Path, lab: RunLab, net: Network, prepared: Prepared) -> None:
    """Compare the network with what training began with (first fold only: it costs time)."""
    before = lab.like(net)
    rows, deep = inspect_layers(before, net, lab.arm.pool.batches(lab.cohorts["val"]), lab.seed("inspect"))
    write_text(aside / "analysis.json", json.dumps({"stages": rows}))
    np.save(aside / "features.npy", deep)
    name, shift = lab.key.dataset, prepared.shift(lab.key.dataset)
    if shift is not None and lab.key.seed == prepared.study.seeds[0]:
        cut = prepared.folds[name][lab.key.fold]
        held = Held(prepared.cohorts[name].subset((*cut.test, *cut.val)), shift, prepared.pseudonyms(name))
        keep_feature_map(aside, lab.arm, (before, net), held, lab.seed("feature map"))
