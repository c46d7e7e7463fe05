"""Summary: what a study found, as data; the report and `allograft compare` only show it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from allograft.core.config import Config
from allograft.study.chain import Chain
from allograft.study.compared import Estimate, Fused, Pair
from allograft.study.domain_gap import LeftOut, Shifted
from allograft.study.label_need import LabelNeed
from allograft.study.outcome import Failed, RunKey, Waiting
from allograft.study.pointed import Pointing
from allograft.study.pretext_stage import PretextStage
from allograft.study.rounds import Round

__all__ = [
    "Curve",
    "Estimate",
    "Example",
    "Fused",
    "Layer",
    "LeftOut",
    "Looked",
    "Pair",
    "Pointing",
    "Pruned",
    "Ranked",
    "RunRow",
    "Seen",
    "Shifted",
    "Summary",
    "Table",
    "Unseen",
]


class Ranked(Config):
    """One recipe in one table.

    Args:
        name: the recipe.
        estimate: primary metric, averaged over seeds within units, then over units.
        by_metric: every metric.
        by_class: metric -> class -> mean.
        outcomes: of a segmentation, class -> how many cases hold it ("present"), of these missed, falsely
            alarmed, and rightly left empty ("absent"), over all runs.
        by_seed: primary metric of each seed, over all folds, by seed.
        lrs: chosen learning rates, one per run.
        runs: finished runs.
        seconds: mean wall time of a run.
        coverage: mean shares of numbers by fate (copied, adapted, sampled, computed, fresh, frozen).
        start, tuning, source, objective, procedure, encoder: the recipe in words.
        learn, selects_by: whose labels it learns from under a shift, what chose its weights; where the recipe says so.
        steps_to_threshold: median over runs, None where most runs never reached it.
        reached: share of runs that reached the threshold.
    """

    name: str
    estimate: Estimate
    by_metric: Mapping[str, Estimate]
    by_class: Mapping[str, Mapping[str, float]]
    by_seed: Mapping[str, float]
    outcomes: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)
    lrs: tuple[float, ...]
    runs: int
    seconds: float
    coverage: Mapping[str, float]
    start: str
    tuning: str
    source: str | None
    objective: str
    procedure: str
    encoder: str
    learn: str = ""
    selects_by: str = ""
    steps_to_threshold: float | None = None
    reached: float = 0.0


class Curve(Config):
    """A line with a band: mean over runs at each x."""

    recipe: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Layer(Config):
    """Change and similarity of one stage, averaged over runs.

    Args:
        recipe: the recipe.
        stage: the stage.
        change: relative L2 change of its weights by training, None where frozen or absent.
        cka: linear CKA of its features before and after training, None where not measured.
        cca: mean canonical correlation before and after, None where not measured.
        svcca: the same over the directions that carry 99 % of the variance.
    """

    recipe: str
    stage: str
    change: float | None
    cka: float | None
    cca: float | None
    svcca: float | None = None


class Pruned(Config):
    """A recipe that was left out on one data set before training, and why."""

    recipe: str
    dataset: str
    reason: str


class Unseen(Config):
    """One data set that nothing of the study has looked at, predicted by every run.

    Args:
        dataset: its name.
        unit: what an independent unit is.
        n_units: how many.
        estimates: primary metric by recipe; runs of all folds and seeds are averaged within units.
        pairs: recipes compared on its units.
    """

    dataset: str
    unit: str
    n_units: int
    estimates: Mapping[str, Estimate]
    pairs: tuple[Pair, ...]


class Seen(Config):
    """One test case as one run segmented it.

    Args:
        recipe, run, seed: which run.
        value: primary metric of the whole case, None where nothing is there and nothing was predicted.
        dice: Dice of the whole case by class, of classes that are there or were predicted.
        slice: file of the slice to show (see `study.slices`).
    """

    recipe: str
    run: str
    seed: int
    value: float | None
    dice: Mapping[str, float]
    slice: Path


class Example(Config):
    """A test case that is shown: "best", "median" or "worst" of the leading recipe.

    Args:
        which: of the three.
        case: its pseudonym.
        seen: by the leading recipe, then by the baseline; by the second recipe where the baseline leads.
    """

    which: str
    case: str
    seen: tuple[Seen, ...]


class Looked(Config):
    """Where one recipe's network looked in one test case (see `study.heat`)."""

    case: str
    recipe: str
    file: Path


class Table(Config):
    """Everything about one data set and one label fraction.

    Args:
        length_unit: what distances between masks are in: "mm", or "px" where the data say no size; "" where unknown.
        volume_unit: the same of volumes (areas in 2-D).
        examples: test cases of a segmentation to be shown.
        looked: maps of where networks looked, of a classification.
        pointing: how much of the heat lies inside masks, where the data set has some beside its classes.
        fused: recipes whose runs were fused (`allograft fuse`).
        rounds: of recipes that learn from pseudo-labels.
        shift: what the shift of the data set costs and what recipes recover, None where it has none.
    """

    dataset: str
    label_fraction: float
    unit: str
    n_units: int
    n_cases: int
    classes: tuple[str, ...]
    recipes: tuple[Ranked, ...]
    pairs: tuple[Pair, ...]
    validation_curves: tuple[Curve, ...] = ()
    loss_curves: tuple[Curve, ...] = ()
    layers: tuple[Layer, ...] = ()
    similarity: Mapping[str, Mapping[str, float]] = {}
    similarity_baseline: float | None = None
    notes: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    length_unit: str = ""
    volume_unit: str = ""
    examples: tuple[Example, ...] = ()
    looked: tuple[Looked, ...] = ()
    pointing: tuple[Pointing, ...] = ()
    fused: tuple[Fused, ...] = ()
    rounds: tuple[Round, ...] = ()
    shift: Shifted | None = None


class RunRow(Config):
    """One run for the appendix."""

    key: RunKey
    lr: float
    score: float | None
    seconds: float
    peak_memory_mb: float


class Summary(Config):
    """A whole study.

    Args:
        study: its name.
        metric: primary metric's name.
        metric_title: the same for people.
        baseline: the baseline recipe.
        headline: the verdict in plain words, a sentence each, the most important first.
        tables: one per data set and label fraction; the first is the headline's.
        left_out: data sets of which each domain was left out in turn.
        efficiency: label-efficiency curves by data set (x label fraction).
        runs: finished runs.
        failures: runs that failed.
        waiting: runs that wait for a person's labels.
        label_needs: learning curves of recipes that ask for labels, and how many they needed.
        pretexts: stages that read no labels, by data set and recipe.
        planned: number of runs that the study asks for, those left out beforehand not counted.
        pruned: recipes that were left out before training, with the reason.
        data_cards, weight_cards: facts and licences, shown as they are.
        plans: by recipe, the plan's table by stage (rows of cells) and its notes.
        chains: by recipe, every training stage of its first finished run, from the weights to the task.
        environment: versions and machine.
        commands: how to repeat.
        threshold: validation score that steps-to-threshold counts to, with where it comes from.
        warnings: duplicates, contamination, licences, stopped by time.
    """

    study: str
    metric: str
    metric_title: str
    larger_is_better: bool
    baseline: str
    headline: tuple[str, ...]
    tables: tuple[Table, ...]
    left_out: tuple[LeftOut, ...] = ()
    efficiency: Mapping[str, tuple[Curve, ...]] = {}
    runs: tuple[RunRow, ...] = ()
    failures: tuple[Failed, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    label_needs: tuple[LabelNeed, ...] = ()
    pretexts: tuple[PretextStage, ...] = ()
    planned: int = 0
    pruned: tuple[Pruned, ...] = ()
    data_cards: tuple[Mapping[str, Any], ...] = ()
    weight_cards: tuple[Mapping[str, Any], ...] = ()
    plans: Mapping[str, Mapping[str, Any]] = {}
    chains: Mapping[str, Chain] = {}
    environment: Mapping[str, str] = {}
    commands: tuple[str, ...] = ()
    threshold: str = ""
    warnings: tuple[str, ...] = ()

    def without_pictures(self) -> Summary:
        """Return the summary without anything that shows a patient."""
        tables = tuple(table.model_copy(update={"examples": (), "looked": ()}) for table in self.tables)
        pretexts = tuple(stage.model_copy(update={"pictures": None}) for stage in self.pretexts)
        return self.model_copy(update={"tables": tables, "pretexts": pretexts})
