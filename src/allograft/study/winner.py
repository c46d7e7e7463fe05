"""Winner: which networks a study hands over, and from where a run's or a study's predictor is opened."""

from __future__ import annotations

from pathlib import Path

from allograft import catalog
from allograft.core.config import Config
from allograft.core.errors import DataError, did_you_mean
from allograft.infer.ensemble import Predictor, open_bundles
from allograft.metrics import METRICS
from allograft.study.outcome import Done, RunKey
from allograft.study.store import RunStore
from allograft.study.summarise import summarise
from allograft.study.summary import Table

__all__ = ["Chosen", "choose", "open_predictor"]


class Chosen(Config):
    """Which networks speak.

    Args:
        said: how they were chosen, for people.
        bundles: folders of their bundles.
        runs: finished runs that the bundles belong to, empty for a bundle on its own.
        study: the study's folder, None for a bundle on its own.
        recipe: its name, "" where unknown.
        dataset: that they were trained on, "" where unknown.
    """

    said: str
    bundles: tuple[Path, ...]
    runs: tuple[str, ...] = ()
    study: Path | None = None
    recipe: str = ""
    dataset: str = ""


def choose(path: Path, *, dataset: str = "") -> Chosen:
    """Return the networks behind a study's folder, a run's folder or a bundle.

    Of a study: the recipe that leads its ranking with the most labels, and of that recipe every
    finished run, averaged. A single run is never picked by its own test result.

    Args:
        path: the folder.
        dataset: of a study with several data sets, the one whose ranking counts; "" takes the first.

    Raises:
        DataError: nothing of these is there, or no recipe can be ranked yet.
    """
    if (path / "study.json").exists():
        return _winner(path, dataset)
    if (path / "outcome.json").exists():
        return _run(path)
    if (path / "bundle.json").exists():
        if (path.parent / "outcome.json").exists():
            return _run(path.parent)
        return Chosen(said=f"One network: the bundle {path.name}.", bundles=(path,))
    msg = (
        f"{path}: no networks here. Expected a study's folder (study.json), a finished run (runs/<id>), or a bundle "
        "(bundle.json, model.safetensors)."
    )
    raise DataError(msg)


def open_predictor(path: Path, *, dataset: str = "") -> Predictor:
    """Open the networks that `choose` finds.

    Raises:
        DataError: nothing is there, or files are damaged.
    """
    return open_bundles(choose(path, dataset=dataset).bundles, catalog.parts)


def _winner(folder: Path, dataset: str) -> Chosen:
    summary = summarise(folder)
    if not summary.tables:
        msg = f"{folder}: no seed is finished for all recipes yet, so nothing leads. Finish the study, or name a run."
        raise DataError(msg)
    table = _table(summary.tables, dataset, folder)
    best = table.recipes[0]
    if best.estimate.mean is None:
        msg = f"{folder}: {summary.metric_title} has no value on {table.dataset}, so nothing leads. Name a run."
        raise DataError(msg)
    store = RunStore(folder)
    keys = [RunKey.model_validate(key) for key in store.study()["keys"]]
    wanted = (best.name, table.dataset, table.label_fraction)
    runs = [k for k in keys if (k.recipe, k.dataset, k.label_fraction) == wanted]
    done = [k for k in runs if isinstance(store.outcome(k.id), Done)]
    folds, seeds = len({k.fold for k in done}), len({k.seed for k in done})
    scaled = ", each at the temperature fitted on its own validation cases"
    scaled = "" if "segmentation" in METRICS[summary.metric].kinds else scaled
    said = (
        f'Recipe "{best.name}" leads the study\'s ranking on {table.dataset} ({best.estimate.mean:.3f} '
        f"{summary.metric_title}). Its {len(done)} networks ({_count(folds, 'fold')}, {_count(seeds, 'seed')}"
        f"{'' if len(done) == len(runs) else f', {len(runs) - len(done)} unfinished'}) are averaged{scaled}; "
        "no run is chosen by its test result."
    )
    return Chosen(
        said=said,
        bundles=tuple(store.run_folder(k.id) / "model" for k in done),
        runs=tuple(k.id for k in done),
        study=folder,
        recipe=best.name,
        dataset=table.dataset,
    )


def _table(tables: tuple[Table, ...], dataset: str, folder: Path) -> Table:
    """Return the table with the most labels, of `dataset` where one is named."""
    named = [table for table in tables if dataset in {"", table.dataset}]
    if not named:
        msg = f'{folder}: no data set "{dataset}" in this study. {did_you_mean(dataset, {t.dataset for t in tables})}'
        raise DataError(msg)
    return max(named, key=lambda table: table.label_fraction)


def _run(folder: Path) -> Chosen:
    study = folder.parent.parent
    inside = folder.parent.name == "runs" and (study / "study.json").exists()
    outcome = RunStore(study).outcome(folder.name) if inside else None
    key = outcome.key if outcome is not None else None
    where = f' of recipe "{key.recipe}", fold {key.fold}, seed {key.seed}' if key else ""
    return Chosen(
        said=f"One network: run {folder.name}{where}. A study's folder gives the ensemble of all its runs.",
        bundles=(folder / "model",),
        runs=(folder.name,) if inside else (),
        study=study if inside else None,
        recipe=key.recipe if key else "",
        dataset=key.dataset if key else "",
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
