"""The arm of a run: a recipe joined with data, device and weights."""

from __future__ import annotations

from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.data.normalise import fit_statistics, normaliser
from allograft.metrics import METRICS
from allograft.study.arm import Arm
from allograft.study.blind_choice import BlindChoice
from allograft.study.casting import cast_run
from allograft.study.outcome import RunKey
from allograft.study.pool import Pool
from allograft.study.prepared import Prepared
from allograft.study.shift import BLIND
from allograft.study.sides import unmirrored
from allograft.study.sources import open_source
from allograft.weights.source import SourceWeights

__all__ = ["make_arm"]


def make_arm(prepared: Prepared, key: RunKey, train: Cohort) -> Arm:
    """Join a recipe with data, device and weights.

    Args:
        prepared: the study.
        key: which run.
        train: training cases; a network without a card is normalised by their mean and std.
    """
    study = prepared.study
    recipe = study.recipe(key.recipe)
    source = open_source(recipe.source, prepared.base) if recipe.source else None
    pool = _pool(prepared, key.dataset, train.ids, source)
    return Arm(
        recipe=recipe,
        pool=pool,
        others={
            helper.name: _pool(prepared, helper.name, prepared.folds[helper.name][0].train, source)
            for helper in study.auxiliary
        },
        device=prepared.device,
        source=source,
        search=study.search,
        select_by=study.chooses_by(recipe),
        blind=_blind(prepared, key, pool),
        augment=unmirrored(recipe.augment if recipe.augment is not None else study.augment, prepared.learnt_tasks()),
        cache=prepared.folder / "cache" / "features",
    )


def _blind(prepared: Prepared, key: RunKey, pool: Pool) -> BlindChoice | None:
    """Return what scores networks without labels of the target, None where validation's labels decide.

    Raises:
        ConfigError: the target has no validation image.
    """
    by = prepared.study.chooses_by(prepared.study.recipe(key.recipe))
    if by in {"metric", "loss"}:
        return None
    cohorts = cast_run(prepared, key)
    if BLIND not in cohorts:
        msg = f'"{key.dataset}" has no validation case of the target: choose by metric or loss.'
        raise ConfigError(msg)
    return BlindChoice(by=by, pool=pool, device=prepared.device, blind=cohorts[BLIND])


def _pool(prepared: Prepared, name: str, training: tuple[str, ...], source: SourceWeights | None) -> Pool:
    """Return a data set under the input contract of the weights, or of its own training cases."""
    store, task = prepared.stores[name], prepared.cohorts[name].task
    studied = {data.name for data in prepared.study.datasets}
    names = prepared.cohorts[name].channel_names(store.channels)
    expects = source.card.expects if source else None
    if expects is None and store.space == "unit":
        expects = fit_statistics(store, training)
    return Pool(
        whole=prepared.cohorts[name],
        store=store,
        normalise=normaliser(expects, store.space, store.channels, preprocess=store.index.preprocess, names=names),
        metric=prepared.metric if name in studied else METRICS[task.primary_metric],
        patches=prepared.patches[name],
        views=prepared.study.views if name in studied else "plain",
    )
