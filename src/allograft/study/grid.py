"""Study: the grid of recipe x data x fold x seed x label fraction, from one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from allograft.core.config import Config, read_yaml
from allograft.core.errors import ConfigError, did_you_mean
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.transforms.augment import Augment
from allograft.infer.views import Views
from allograft.study.data_spec import DataSpec
from allograft.study.outcome import RunKey
from allograft.study.prune import Prune
from allograft.study.recipe import Recipe, SelectBy
from allograft.study.shift import apart

__all__ = ["Search", "Study", "read_study"]


class Search(Config):
    """The learning-rate search that every arm gets, on validation and inside its budget.

    Args:
        lrs: candidate rates; empty takes each recipe's own and searches nothing.
        share: share of the recipe's steps that the search may use in all, in (0, 1).
    """

    lrs: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    share: float = Field(default=0.3, gt=0, lt=1)

    def trial_steps(self, steps: int) -> int:
        """Return the steps of each trial in a stage of `steps`; 0 where one candidate leaves nothing to search.

        >>> Search(lrs=(1e-4, 1e-3, 1e-2), share=0.3).trial_steps(100)
        10
        """
        return max(1, int(steps * self.share / len(self.lrs))) if len(self.lrs) > 1 else 0

    def training_steps(self, steps: int) -> int:
        """Return what the search leaves of a stage's `steps` for training, >= 1.

        Raises:
            ConfigError: the search would use them all.
        """
        left = steps - self.trial_steps(steps) * len(self.lrs)
        if left < 1:
            msg = (
                f"search: {len(self.lrs)} candidate rates need a step each and leave none of {steps} to train with. "
                "Raise budget.steps, or name fewer rates in search.lrs."
            )
            raise ConfigError(msg)
        return left


class Study(Config):
    """Recipes compared on the same folds with paired seeds.

    Args:
        study: the study's name.
        datasets: the data sets that are studied.
        auxiliary: data sets that procedures may learn from and that nothing is tested on; each lends its name
            to its head.
        unseen: data sets that every run is also tested on and that nothing else reads: other scanners, other
            hospitals. Their tasks are those of the studied data.
        recipes: the arms; names are unique.
        baseline: the arm that others are compared with first.
        primary_metric: the metric that decides; empty takes the task's usual one.
        margin: largest difference that counts as none; None takes the metric's own.
        folds: patient-grouped test folds, at least 3. Data that bring their own split use that one; 0 says
            that they must.
        test_folds: how many of the folds are used as test, from the first; None all.
        seeds: paired seeds; each gives its own order of cases, head and draws.
        label_fractions: nested shares of the training labels, in (0, 1].
        label_counts: nested numbers of labelled training cases, in place of fractions.
        label_target: score that recipes which ask for labels are to reach, in the primary metric; None takes the
            baseline's with all labels less the margin, and where it has none that of random asking at its end.
        preprocess: what is done to every image before training.
        patches: size of the windows that a segmentation network sees and how a whole image is covered; None
            suggests a size from the images. Multiples of the encoder's largest stride.
        augment: augmentation of training images for every recipe that does not name its own.
        search: the learning-rate search.
        views: what a network predicts an image from, in validation and test alike: "plain", or for 2-D
            classification "ten_crop", the mean over four corners, centre and their mirror images.
        select_by: what validation chooses weights and rates by: the primary "metric" or the "loss"; under a shift,
            where validation has the source's labels, also what needs no label of the target: "entropy" of its
            predictions, or "importance" (the source's loss, weighted towards the target); recipes with `learn: target`
            are then judged by the metric.
        accept_licence: cards whose non-commercial licence the user accepts.
        prune: recipes to leave out, or to run first, by what their source promises; never decides who wins.
    """

    study: str = Field(min_length=1)
    datasets: tuple[DataSpec, ...] = Field(min_length=1)
    auxiliary: tuple[DataSpec, ...] = ()
    unseen: tuple[DataSpec, ...] = ()
    recipes: tuple[Recipe, ...] = Field(min_length=1)
    baseline: str
    primary_metric: str = ""
    margin: float | None = Field(default=None, gt=0)
    folds: int = Field(default=5, ge=0)
    test_folds: int | None = Field(default=None, ge=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    label_fractions: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    label_counts: tuple[int, ...] = ()
    label_target: float | None = None
    preprocess: Preprocess = Preprocess()
    patches: Patches | None = None
    augment: Augment = Augment(preset="light")
    search: Search = Search()
    views: Views = "plain"
    select_by: SelectBy = "metric"
    accept_licence: tuple[str, ...] = ()
    prune: Prune | None = None

    @model_validator(mode="before")
    @classmethod
    def _each_left_out(cls, data: Any) -> Any:
        specs = data.get("datasets") if isinstance(data, Mapping) else None
        if not isinstance(specs, list | tuple) or not all(isinstance(spec, Mapping) for spec in specs):
            return data
        return {**data, "datasets": [one for spec in specs for one in apart(spec)]}

    @model_validator(mode="after")
    def _shifted(self) -> Self:
        shifted = [data.name for data in self.datasets if data.shift is not None]
        if shifted and (self.label_counts or self.label_fractions != (1.0,)):
            msg = f'label_counts and label_fractions do not go with the shift of "{shifted[0]}"; name shift.labels'
            raise ValueError(msg)
        blind = {"entropy", "importance"}
        for recipe in self.recipes:
            if recipe.learn is not None and len(shifted) < len(self.datasets):
                msg = f'recipe "{recipe.name}": learn: {recipe.learn} needs a shift in every studied data set'
                raise ValueError(msg)
            if (recipe.select_by or self.select_by) in blind and len(shifted) < len(self.datasets):
                msg = f"select_by: {recipe.select_by or self.select_by} needs a shift in every studied data set"
                raise ValueError(msg)
        if extra := [data.name for data in (*self.auxiliary, *self.unseen) if data.shift is not None]:
            msg = f'"{extra[0]}": shift is for studied data sets'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("recipe", [r.name for r in self.recipes]), ("datasets", [d.name for d in self.data])):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                msg = f'two {what} entries are called "{twice[0]}"; names must be unique'
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _recipes_differ(self) -> Self:
        seen: dict[str, str] = {}
        for recipe in self.recipes:
            content = recipe.model_copy(update={"name": "same"}).content_id()
            if content in seen:
                msg = f'recipes "{seen[content]}" and "{recipe.name}" are the same but for their names; remove one'
                raise ValueError(msg)
            seen[content] = recipe.name
        return self

    @model_validator(mode="after")
    def _baseline_and_folds(self) -> Self:
        names = [recipe.name for recipe in self.recipes]
        if self.baseline not in names:
            msg = f'baseline "{self.baseline}" is no recipe. {did_you_mean(self.baseline, names)}'
            raise ValueError(msg)
        unknown = [name for name in (self.prune.keep if self.prune else ()) if name not in names]
        if unknown:
            msg = f'prune.keep: "{unknown[0]}" is no recipe. {did_you_mean(unknown[0], names)}'
            raise ValueError(msg)
        if self.folds == 1:
            msg = "folds must be 0 (the data's own split) or at least 3 (train, validation and test differ); got 1"
            raise ValueError(msg)
        if self.folds == 2:
            msg = "folds must be at least 3: one tests, one validates, the rest train; got 2"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            msg = f"seeds must be different, got {list(self.seeds)}"
            raise ValueError(msg)
        if len(set(self.label_fractions)) != len(self.label_fractions):
            msg = f"label_fractions must be different, got {list(self.label_fractions)}"
            raise ValueError(msg)
        wrong = [f for f in self.label_fractions if not 0 < f <= 1]
        if wrong:
            msg = f"label_fractions lie in (0, 1], got {wrong[0]}"
            raise ValueError(msg)
        if self.label_counts and self.label_fractions != (1.0,):
            msg = "label_counts and label_fractions say the same thing twice; give one of them"
            raise ValueError(msg)
        if len(set(self.label_counts)) != len(self.label_counts) or any(count < 1 for count in self.label_counts):
            msg = f"label_counts must be different numbers of at least 1, got {list(self.label_counts)}"
            raise ValueError(msg)
        return self

    @property
    def data(self) -> tuple[DataSpec, ...]:
        """Every data set: studied, helping, only tested on."""
        return (*self.datasets, *self.auxiliary, *self.unseen)

    def accepting(self, licences: Sequence[str]) -> Study:
        """Return the study with further cards whose non-commercial licence the user accepts."""
        return self.model_copy(update={"accept_licence": tuple(dict.fromkeys((*self.accept_licence, *licences)))})

    def chooses_by(self, recipe: Recipe) -> SelectBy:
        """Return what validation chooses a recipe's weights by; one that has all target labels is judged by them."""
        blind = self.select_by in {"entropy", "importance"}
        return recipe.select_by or ("metric" if blind and recipe.learn == "target" else self.select_by)

    def recipe(self, name: str) -> Recipe:
        """Return the recipe called `name`."""
        return next(recipe for recipe in self.recipes if recipe.name == name)

    def keys(
        self, identity: Mapping[str, Mapping[str, Any]], cells: Mapping[str, Sequence[tuple[int, float]]]
    ) -> Iterator[RunKey]:
        """Yield every run, seeds outermost.

        Args:
            identity: by data set, what besides this file decides a run's numbers (content of the
                data, hashes of the weights by source name, resolved device).
            cells: by data set, test folds with shares of the labels.
        """
        for seed in self.seeds:
            for data in self.datasets:
                for fold, fraction in cells[data.name]:
                    for recipe in self.recipes:
                        yield self._key(recipe, data.name, (fold, seed, fraction), identity[data.name])

    def _key(self, recipe: Recipe, data: str, cell: tuple[int, int, float], identity: Mapping[str, Any]) -> RunKey:
        fold, seed, fraction = cell
        # A field that is newer than a run changes the run's id only where it is set.
        unset: dict[str, Any] = {f: True for f in ("learn", "select_by") if getattr(recipe, f) is None}
        unset |= {} if recipe.net.anchors else {"net": {"anchors"}}
        shared = {"preprocess", "patches", "augment", "search", "select_by", "views", "folds", "primary_metric"}
        facts = RunFacts(
            recipe=recipe.model_dump(mode="json", exclude={"name": True, **unset}),
            shared=self.model_dump(mode="json", include=shared),
            identity=dict(identity),
            cell=(data, fold, seed, fraction),
        )
        return RunKey(
            id=facts.content_id(), recipe=recipe.name, dataset=data, fold=fold, seed=seed, label_fraction=fraction
        )


class RunFacts(Config):
    """Everything that can change a run's numbers; its content id is the run's id."""

    recipe: dict[str, Any]
    shared: dict[str, Any]
    identity: dict[str, Any]
    cell: tuple[str, int, int, float]


def read_study(path: Path) -> Study:
    """Read a study file; `common` is merged into every recipe, once.

    Raises:
        ConfigError: names file, field, what was expected and the nearest known name.
    """
    return study_from(read_yaml(path), where=str(path))


def study_from(data: object, *, where: str) -> Study:
    """Make a study from plain data as a file holds it."""
    if not isinstance(data, Mapping):
        msg = f"{where}: expected fields like study, datasets, recipes; got {type(data).__name__}."
        raise ConfigError(msg)
    fields = dict(data)
    common = fields.pop("common", {}) or {}
    recipes = fields.get("recipes")
    if isinstance(recipes, list) and isinstance(common, Mapping):
        fields["recipes"] = [_merge(common, recipe) if isinstance(recipe, Mapping) else recipe for recipe in recipes]
    return Study.from_data(fields, where=where)


def _merge(common: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a recipe over `common`; mappings of settings merge, methods are replaced whole."""
    merged = {**common, **recipe}
    for name in ("net", "optim", "budget"):
        if isinstance(common.get(name), Mapping) and isinstance(recipe.get(name), Mapping):
            merged[name] = {**common[name], **recipe[name]}
    return merged
