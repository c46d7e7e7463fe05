"""Sides: where classes say left or right, nothing of a study mirrors images from left to right.

One rule for all recipes, so that they stay comparable: the flip of the presets is left out and said;
a flip along the last axis that the study file names itself is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.laterality import sided_classes
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.flip import Flip
from allograft.study.grid import Study

__all__ = ["keep_sides", "unmirrored"]


def unmirrored(augment: Augment, tasks: Iterable[Task]) -> Augment:
    """Return the augmentation without the presets' left-right flip where a task has classes of one side."""
    if not augment.flip_left_right or not any(sided_classes(task.classes) for task in tasks):
        return augment
    return Augment(preset=augment.preset, flip_left_right=False, transforms=augment.transforms)


def keep_sides(study: Study, tasks: Mapping[str, Task]) -> list[str]:
    """Return what is left out of a study's augmentation because classes say a side.

    Args:
        study: the study.
        tasks: by data set.

    Raises:
        ConfigError: a transform, test-time mirroring or ten crops along the last axis is asked for; names the classes.
    """
    learnt = [data.name for data in (*study.datasets, *study.auxiliary)]
    sided = {name: found for name in learnt if (found := sided_classes(tasks[name].classes))}
    if not sided:
        return []
    said = "; ".join(
        f"{name}: {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}" for name, found in sided.items()
    )
    augments = {r.name: r.augment if r.augment is not None else study.augment for r in study.recipes}
    flipped = [name for name, each in augments.items() if any(_mirrors(step) for step in each.transforms)]
    if flipped:
        msg = (
            f'recipe "{flipped[0]}": flip mirrors left and right (axis -1), but classes say a side ({said}). '
            "A mirrored image would have the wrong label. Take -1 out of the flip's axes."
        )
        raise ConfigError(msg)
    if study.patches is not None and len(study.patches.size) - 1 in study.patches.mirror:
        msg = (
            f"patches.mirror: axis {len(study.patches.size) - 1} is left-right, but classes say a side ({said}). "
            "Take it out of mirror."
        )
        raise ConfigError(msg)
    if study.views == "ten_crop":
        msg = f'views: ten_crop averages mirrored crops too, but classes say a side ({said}). Use "plain".'
        raise ConfigError(msg)
    if any(each.preset != "none" and each.flip_left_right for each in augments.values()):
        return [
            f"Classes say a side of the body ({said}): the left-right flip of the augmentation presets is left out."
        ]
    return []


def _mirrors(step: object) -> bool:
    return isinstance(step, Flip) and -1 in step.axes
