"""Two views: what objectives share that compare two looks at an image."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, StreamSpec
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, images

__all__ = ["TwoViews", "ViewsCriterion", "looks", "shown"]


class TwoViews(Config):
    """Settings of an objective that acts on two looks at each image, behind a projector of its own.

    Args:
        hidden: width of the projector's hidden layers, 0 for that of the features.
        output: width of what the loss sees.
    """

    hidden: int = Field(default=0, ge=0)
    output: int = Field(default=128, ge=2)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return one stream, "images": each image, augmented, and a further copy of it with draws of its own."""
        return images(views=1)

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return no head: what stands behind the encoder is the criterion's."""
        return {}


class ViewsCriterion(Criterion):
    """A criterion that acts on two looks at each image, and shows them."""

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return the two looks at images, as the loss sees them."""
        one, two = looks(batch[IMAGES])
        return {"one view": one, "other view": two}


def looks(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the two looks at the images of a batch, each (B, C, *S).

    Raises:
        ConfigError: as `shown`.
    """
    return shown(batch), batch.views[0].image


def shown(batch: Batch) -> Tensor:
    """Return the images (B, C, *S) of a batch that are to be compared.

    Raises:
        ConfigError: there is one only, so that there is nothing to tell it from.
    """
    assert isinstance(batch.image, Tensor), "pixels were asked for"
    if len(batch.image) < 2:
        msg = "a step has 1 image; methods that compare images need at least 2, better 32. Set budget.batch."
        raise ConfigError(msg)
    return batch.image
