"""allograft: which pretrained weights, moved over how, give the best model, and is the difference real?

The same words as in study files and on the command line:

>>> from allograft import Study, Recipe, Cohort

Names are imported when they are first used, so that `import allograft` is fast and free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allograft.catalog import allow_plugin
    from allograft.contracts import Budget, Optim
    from allograft.core.errors import (
        AllograftError,
        ConfigError,
        DataError,
        MissingExtra,
        NumericsError,
        PlanError,
        ResumeError,
    )
    from allograft.core.task import Task
    from allograft.data.audit import Audit, audit
    from allograft.data.case import Case, ImageRef
    from allograft.data.cohort import Cohort
    from allograft.data.predictions import Predictions
    from allograft.data.preprocess import Preprocess
    from allograft.data.sniff import open_data
    from allograft.data.transforms.augment import Augment
    from allograft.infer.ensemble import Predictor
    from allograft.nets.spec import NetSpec
    from allograft.report.write import write_report
    from allograft.study.conduct import conduct
    from allograft.study.data_spec import DataSpec, open_cohort
    from allograft.study.external import evaluate
    from allograft.study.grid import Search, Study, read_study
    from allograft.study.planning import plan_study
    from allograft.study.prepared import Launch
    from allograft.study.pretraining import pretrain
    from allograft.study.pretraining_spec import Pretraining
    from allograft.study.recipe import Recipe
    from allograft.study.summarise import summarise
    from allograft.study.summary import Summary
    from allograft.study.winner import choose, open_predictor
    from allograft.weights.source import SourceWeights, WeightSource

__all__ = [
    "AllograftError",
    "Audit",
    "Augment",
    "Budget",
    "Case",
    "Cohort",
    "ConfigError",
    "DataError",
    "DataSpec",
    "ImageRef",
    "Launch",
    "MissingExtra",
    "NetSpec",
    "NumericsError",
    "Optim",
    "PlanError",
    "Predictions",
    "Predictor",
    "Preprocess",
    "Pretraining",
    "Recipe",
    "ResumeError",
    "Search",
    "SourceWeights",
    "Study",
    "Summary",
    "Task",
    "WeightSource",
    "allow_plugin",
    "audit",
    "choose",
    "conduct",
    "evaluate",
    "open_cohort",
    "open_data",
    "open_predictor",
    "plan_study",
    "pretrain",
    "read_study",
    "summarise",
    "write_report",
]

_HOMES = {
    "catalog": ("allow_plugin",),
    "contracts": ("Budget", "Optim"),
    "core.errors": (
        "AllograftError",
        "ConfigError",
        "DataError",
        "MissingExtra",
        "NumericsError",
        "PlanError",
        "ResumeError",
    ),
    "core.task": ("Task",),
    "data.audit": ("Audit", "audit"),
    "data.case": ("Case", "ImageRef"),
    "data.cohort": ("Cohort",),
    "data.predictions": ("Predictions",),
    "data.preprocess": ("Preprocess",),
    "data.sniff": ("open_data",),
    "data.transforms.augment": ("Augment",),
    "infer.ensemble": ("Predictor",),
    "nets.spec": ("NetSpec",),
    "report.write": ("write_report",),
    "study.conduct": ("conduct",),
    "study.data_spec": ("DataSpec", "open_cohort"),
    "study.external": ("evaluate",),
    "study.grid": ("Search", "Study", "read_study"),
    "study.planning": ("plan_study",),
    "study.prepared": ("Launch",),
    "study.pretraining": ("pretrain",),
    "study.pretraining_spec": ("Pretraining",),
    "study.recipe": ("Recipe",),
    "study.summarise": ("summarise",),
    "study.summary": ("Summary",),
    "study.winner": ("choose", "open_predictor"),
    "weights.source": ("SourceWeights", "WeightSource"),
}

_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be imported from here."""
    return sorted({*globals(), *__all__})
