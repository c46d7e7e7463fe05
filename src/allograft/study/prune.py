"""Prune: which recipes a study leaves out beforehand, or runs first, by an estimate of their source."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config

__all__ = ["By", "Prune"]

By = Literal["logme", "leep", "nce", "h_score", "gbc", "knn", "linear_probe", "cc_fv"]


class Prune(Config):
    """Leave out recipes whose source promises least, before anything is trained; the estimate never decides who wins.

    The baseline, recipes without a source, recipes whose procedure trains the encoder before, those that could not
    be scored and those with finished runs are never left out. What is left out is a row of the report, and removing
    this field later runs just that.

    Args:
        by: the estimate: "logme", "leep", "nce", "h_score", "gbc", "knn", "linear_probe", or for segmentation "cc_fv".
        top_k: how many starts from a source are kept, >= 1; None keeps all. Recipes that start with the same
            encoder share a rank.
        order: whether what promises most runs first within each seed.
        keep: recipes that are never left out.
    """

    by: By = "logme"
    top_k: int | None = Field(default=None, ge=1)
    order: bool = False
    keep: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.top_k is None and not self.order:
            msg = "prune does nothing: give top_k (how many starts to keep), or order: true"
            raise ValueError(msg)
        if self.keep and self.top_k is None:
            msg = "keep does nothing where top_k is not given: no recipe is left out"
            raise ValueError(msg)
        return self
