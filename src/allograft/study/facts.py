"""Facts that a report shows beside the numbers: data, weights, recipes in words, the machine."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from allograft import catalog
from allograft.contracts import Method
from allograft.core.config import Config
from allograft.data.cohort import Cohort
from allograft.data.split import Fold
from allograft.data.store import Store
from allograft.study.data_spec import known_dataset
from allograft.study.grid import Study
from allograft.study.recipe import Recipe
from allograft.train.device import Device
from allograft.weights.card import WeightSource

__all__ = ["card_facts", "cohort_card", "data_facts", "environment", "recipe_words"]


def recipe_words(recipe: Recipe, study: Study) -> dict[str, Any]:
    """Return a recipe as a table shows it; what chose its weights only where the study's rule does not say so."""
    by = study.chooses_by(recipe)
    newer = {"learn": recipe.learn, "selects_by": by if by != study.select_by else recipe.select_by}
    return {
        "start": _method(recipe.start),
        "tuning": _method(recipe.tuning),
        "source": recipe.source,
        "objective": _method(recipe.objective),
        "procedure": _method(recipe.procedure),
        "encoder": recipe.net.encoder,
        **{name: value for name, value in newer.items() if value is not None},
    }


def data_facts(cohort: Cohort, folds: Sequence[Fold], store: Store) -> dict[str, Any]:
    """Return what judging needs to know of a data set."""
    labelled = cohort.labelled()
    return {
        "task": cohort.task.model_dump(mode="json"),
        "unit": cohort.unit,
        "notes": list(cohort.notes),
        "cases": len(cohort),
        "labelled": len(labelled),
        "groups": len(cohort.groups),
        "folds": len(folds),
        "units_of_size": _units_of_size(store),
    }


def _units_of_size(store: Store) -> dict[str, str]:
    """Return what distances and volumes of these images are in; pixels, where files say no size."""
    found = {grid.geometry.unit for grid in store.index.grids}
    length = "mm" if found == {"mm"} else "px" if "mm" not in found else "mm or px"
    power = "³" if store.dims == 3 else "²"
    return {"length_unit": length, "volume_unit": " or ".join(f"{one}{power}" for one in length.split(" or "))}


def cohort_card(study: Study, name: str, cohort: Cohort) -> dict[str, Any]:
    """Return a data set's facts for the report; counts only, never ids."""
    spec = next(d for d in study.data if d.name == name)
    known = known_dataset(spec).card() if spec.dataset else {"title": name, "licence": "your own data"}
    head, classes = cohort.task.head, cohort.task.classes
    counts = Counter(c.targets[head] for c in cohort if isinstance(c.targets.get(head), int))
    facts = {
        "name": name,
        "task": cohort.task.kind,
        "cases": len(cohort),
        "unit": cohort.unit,
        "units": len(cohort.groups),
        "classes": {label: counts.get(i, 0) for i, label in enumerate(classes)} if counts else list(classes),
        "notes": list(cohort.notes),
    }
    return {**known, **facts}


def card_facts(card: WeightSource) -> dict[str, Any]:
    """Return a weight card's facts for the report."""
    return {
        "name": card.name,
        "title": card.title,
        "licence": card.license,
        "commercial use": "allowed" if card.commercial else "not allowed",
        "origin": card.origin,
        "sha256": card.sha256 or "unknown",
        "has seen": list(card.seen),
        "paper": card.reference.short(),
        "encoder": card.encoder,
        "proof": "fingerprint" if card.fingerprint else "unproven: the card has no fingerprint",
    }


def environment(device: Device) -> dict[str, str]:
    """Return versions and machine."""
    packages = ("allograft", "torch", "timm", "monai", "numpy", "scipy", "scikit-learn")
    return {
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{device.accelerator}, {device.precision}, {device.threads} threads per process",
    }


def _method(method: Any) -> str:
    """Write a method with the settings that differ from its defaults: "partial(until=stage2)"."""
    name = next(iter(catalog.spell(method)))
    said = _changed(method)
    return f"{name}({said})" if said else name


def _changed(settings: Config) -> str:
    """Write the settings that differ from their defaults, nested ones alike: "segmentation(cross_entropy=0.0)"."""
    said = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if value != default:
            said.append(_said(key, value, default))
    return ", ".join(said)


def _said(key: str, value: Any, default: Any) -> str:
    """Write one setting; a method in place of another one by its name, several groups of settings in brackets."""
    if isinstance(value, Method) and type(value) is not type(default):
        return f"{key}={_method(value)}"
    if isinstance(value, Config):
        return f"{key}({_changed(value)})"
    if isinstance(value, tuple):
        inside = [f"({_changed(one)})" if isinstance(one, Config) else repr(one) for one in value]
        return f"{key}=[{', '.join(inside)}]"
    return f"{key}={value}"
