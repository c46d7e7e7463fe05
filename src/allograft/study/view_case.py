"""View case: a test case of a run, with its image and truth read again from the study's own data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.io.image import Image, read_channels
from allograft.data.io.mask import read_mask
from allograft.metrics import METRICS
from allograft.study.data_spec import DataSpec, open_cohort
from allograft.study.frames import from_frame
from allograft.study.label_maps import LABELS, read_labels
from allograft.study.outcome import Done, RunKey
from allograft.study.store import RunStore

__all__ = ["ViewedCase", "view_case"]


@dataclass(frozen=True, kw_only=True)
class ViewedCase:
    """A case as one run segmented it.

    Args:
        key: the run.
        name: pseudonym of the case.
        image: canonical, as its files hold it.
        labels: (*S) predicted classes on its grid.
        truth: (*S) true classes, None where the case has no mask.
        task: names the classes.
        said: its score, in words.
        others: pseudonyms of the run's test cases, the worst first.
    """

    key: RunKey
    name: str
    image: Image
    labels: npt.NDArray[Any]
    truth: npt.NDArray[Any] | None
    task: Task
    said: str
    others: tuple[str, ...]


def view_case(folder: Path, runs: tuple[str, ...], name: str = "") -> ViewedCase:
    """Open a test case of one of the runs, the first that has it.

    Args:
        folder: of the study.
        runs: finished runs of it, in the order of preference.
        name: pseudonym; "" takes the case of the first run that scores worst.

    Raises:
        ConfigError: no run has such a case, or the study segments nothing.
        DataError: the data have gone or changed.
    """
    store = RunStore(folder)
    facts, keys = store.study(), {run: _key(store, run) for run in runs}
    task = Task.model_validate(facts["data"][keys[runs[0]].dataset]["task"])
    if task.kind != "segmentation":
        msg = f"{folder}: a {task.kind} study has no label maps to view. Give --image and --labels for files."
        raise ConfigError(msg)
    metric = METRICS[facts["metric"]]
    worth = {run: _worth(store, run, task, metric.name) for run in (runs if name else runs[:1])}
    run = next((run for run, cases in worth.items() if not name or name in cases), None)
    if run is None:
        known = {case for cases in worth.values() for case in cases}
        msg = f'--case "{name}": no test case of that name in these runs. {did_you_mean(name, known)}'
        raise ConfigError(msg)
    order = sorted(worth[run], key=lambda case: worth[run][case] * (1 if metric.larger_is_better else -1))
    chosen = name or order[0]
    value = worth[run][chosen]
    return _opened(
        store,
        facts,
        keys[run],
        chosen,
        said=f"{metric.title} {value:.3f} (mean over classes)" if np.isfinite(value) else "nothing there to score",
        others=tuple(order),
        task=task,
    )


def _key(store: RunStore, run: str) -> RunKey:
    outcome = store.outcome(run)
    if not isinstance(outcome, Done):
        msg = f"{store.folder}: run {run} is not finished. Continue the study."
        raise DataError(msg)
    return outcome.key


def _worth(store: RunStore, run: str, task: Task, metric: str) -> dict[str, float]:
    """Return the primary metric of each test case of a run, by pseudonym."""
    found = from_frame(store.predictions(run), task)
    values = METRICS[metric].cases(found)
    assert values is not None, "metrics of masks are of cases"
    return dict(zip(found.ids, map(float, values), strict=True))


def _opened(
    store: RunStore, facts: Mapping[str, Any], key: RunKey, name: str, *, said: str, others: tuple[str, ...], task: Task
) -> ViewedCase:
    labels = read_labels(store.run_folder(key.id) / LABELS / f"{name}.npz")
    case = _case(store.folder, facts, key.dataset, name)
    image = read_channels(case.image, dims=labels.ndim)
    if image.geometry.shape != labels.shape:
        msg = (
            f"case {name}: its image is now {image.geometry.shape}, the run segmented {labels.shape}. The data have "
            "changed since; run the study again."
        )
        raise DataError(msg)
    target = case.targets.get(task.head)
    truth = None
    if isinstance(target, ImageRef):
        truth = read_mask(target, onto=case.image[0], dims=labels.ndim).array[0]
    return ViewedCase(key=key, name=name, image=image, labels=labels, truth=truth, task=task, said=said, others=others)


def _case(folder: Path, facts: Mapping[str, Any], dataset: str, name: str) -> Case:
    """Return the case behind a pseudonym, from the study's own description of its data."""
    path = folder / "private" / "ids.json"
    try:
        real = json.loads(path.read_text(encoding="utf-8"))[dataset][name]
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: does not say whose {name} is ({type(error).__name__}). View it where the study was run."
        raise DataError(msg) from error
    spec = next(d for d in facts["spec"]["study"]["datasets"] if d["name"] == dataset)
    cohort = open_cohort(DataSpec.model_validate(spec), base=Path(facts["spec"]["base"]), check_files=False)
    found = next((case for case in cohort if case.id == real), None)
    if found is None:
        msg = f"case {name}: is no longer in data set {dataset}. The data have changed since the study was run."
        raise DataError(msg)
    return found
