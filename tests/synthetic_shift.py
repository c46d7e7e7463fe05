"""Hand-made (synthetic) runs of a study with a shift, written as a study writes them: no network was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allograft.core.task import Task
from allograft.data.predictions import Predictions
from allograft.study.frames import to_frame
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

TASK = Task(kind="binary", classes=("flat", "round"))


def right(counts: Sequence[int], each: int, *, name: str = "", split: str = "p") -> Predictions:
    """Return predictions: of the `each` cases of unit k the first `counts[k]` are right; classes alternate."""
    n = len(counts) * each
    targets = np.arange(n) % 2
    good = np.concatenate([np.arange(each) < count for count in counts])
    said = np.where(good, targets, 1 - targets)
    yes = np.where(said == 1, 0.9, 0.1)
    return Predictions(
        task=TASK,
        ids=tuple(f"{name}{i}" for i in range(n)),
        groups=tuple(f"{split}{i // each}" for i in range(n)),
        logits=np.log(yes / (1 - yes))[:, None].astype(np.float32),
        probabilities=np.stack([1 - yes, yes], axis=1),
        targets=targets.astype(np.int64),
    )


def parts(p: Predictions, folds: int) -> list[Predictions]:
    """Deal the units of predictions to folds."""
    from allograft.metrics.judgement import take

    units = {name: i % folds for i, name in enumerate(dict.fromkeys(p.groups))}
    number = np.array([units[group] for group in p.groups])
    return [take(p, np.flatnonzero(number == k)) for k in range(folds)]


def write_runs(
    folder: Path,
    recipes: Mapping[str, Mapping[str, Any]],
    tested: Mapping[str, Sequence[tuple[Predictions, Predictions | None]]],
    *,
    folds: int = 2,
    shift: Mapping[str, Any] | None = None,
    dataset: str = "cases",
) -> tuple[RunStore, list[RunKey], dict[str, Any]]:
    """Write runs of recipes by seed, target and source predictions of each; return store, keys and facts.

    The domain of a case is "siteA" in source predictions; in target ones "siteB", or that behind a case's "@".
    """
    store, keys = RunStore(folder), []
    for recipe, seeds in tested.items():
        for seed, (target, source) in enumerate(seeds):
            cut = parts(target, folds), parts(source, folds) if source is not None else [None] * folds
            for fold, (a, b) in enumerate(zip(*cut, strict=True)):
                key = RunKey(
                    id=f"{dataset}{recipe}{seed}{fold}", recipe=recipe, dataset=dataset, fold=fold, seed=seed,
                    label_fraction=1.0,
                )  # fmt: skip
                keys.append(key)
                where = store.run_folder(key.id)
                where.mkdir(parents=True, exist_ok=True)
                for part, found, site in (("test", a, "siteB"), ("source", b, "siteA")):
                    if found is not None:
                        names = {name: name for name in (*found.ids, *found.groups)}
                        domains = {name: name.split("@")[1] if "@" in name else site for name in found.ids}
                        to_frame(found, names, domains).to_parquet(where / f"predictions-{part}.parquet", index=False)
    spec = {"name": dataset, "shift": shift or {"target": ["siteB"], "source": [], "labels": 2}}
    facts = {
        "baseline": next(iter(recipes)),
        "margin": None,
        "recipes": {name: {"objective": "supervised", "procedure": "finetune", **w} for name, w in recipes.items()},
        "data": {dataset: {"task": TASK.model_dump(mode="json"), "unit": "patient"}},
        "spec": {"study": {"datasets": [spec], "select_by": "metric"}},
    }
    return store, keys, facts
