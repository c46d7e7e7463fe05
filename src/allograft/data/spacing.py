"""Spacing of a cohort: "median" as numbers, known from headers before anything is resampled."""

from __future__ import annotations

import numpy as np

from allograft.core.errors import ConfigError, DataError
from allograft.data.cohort import Cohort
from allograft.data.io.grid import grid_of
from allograft.data.preprocess import Preprocess

__all__ = ["resolve_spacing"]


def resolve_spacing(cohort: Cohort, preprocess: Preprocess) -> Preprocess:
    """Return the settings with `spacing: median` replaced by the cohort's median along each axis.

    Axes are canonical, so the median of an axis is over the same direction of the body in all cases.
    Settings without "median" come back as they are.

    Raises:
        DataError: a case cannot be read, does not know its spacing in mm, or has other axes; named.
        ConfigError: the cohort has no cases.
    """
    if preprocess.spacing != "median":
        return preprocess
    if not cohort.cases:
        msg = f"cohort {cohort.name}: no cases, so spacing has no median. Give it in mm."
        raise ConfigError(msg)
    found = []
    for case in cohort:
        try:
            geometry = grid_of(case.image[0]).geometry
        except DataError as error:
            msg = f"case {case.id!r} ({case.image[0]}): {error}"
            raise DataError(msg) from error
        if geometry.unit != "mm":
            msg = (
                f"case {case.id!r} ({case.image[0]}): the file does not say its spacing in mm, so the cohort has no "
                "median. Leave preprocess.spacing out, or save the images in a format that holds it."
            )
            raise DataError(msg)
        found.append(geometry.spacing)
        if len(geometry.spacing) != len(found[0]):
            msg = f"case {case.id!r}: {geometry.dims}-D among {len(found[0])}-D images. Leave it out."
            raise DataError(msg)
    median = tuple(float(value) for value in np.median(np.asarray(found), axis=0))
    return preprocess.model_copy(update={"spacing": median})
