"""Two views: what objectives share that compare two looks at an image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, StreamSpec
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.all_processes import of_all_processes
from allograft.functional.contrastive import group_codes
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, images

__all__ = [
    "NOBODY",
    "TELL_APART",
    "TwoViews",
    "ViewsCriterion",
    "looks",
    "patient_codes",
    "require_two_patients",
    "shown",
]

NOBODY = -1
"""The code of a patient who is not known."""
TELL_APART = ", or set patients: negatives"


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

    def whole(self, *rows: Tensor) -> list[Tensor]:
        """Return rows (B, ...) of the step's images; in training by several processes those of all, (W B, ...).

        A loss that compares images, made of these, is the whole batch's in every process.
        """
        return [of_all_processes(_single(each)) for each in rows] if self.training else list(rows)


def _single(rows: Tensor) -> Tensor:
    """Return floats in single precision, in which all processes can exchange them; whole numbers as they are."""
    return rows.float() if rows.is_floating_point() else rows


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


def patient_codes(batch: Batch, device: torch.device) -> Tensor:
    """Return (B,) numbers that stand for the patients, NOBODY where they are not known."""
    if batch.groups:
        return group_codes(batch.groups, device)
    return torch.full((len(shown(batch)),), NOBODY, device=device)


def require_two_patients(codes: Tensor, *, otherwise: str = "") -> None:
    """Refuse images of one patient only, where images of a patient are no negatives of each other.

    Args:
        codes: (B,) of the first step's images; later a step may by chance have images of one patient.
        otherwise: a further way out for the message.

    Raises:
        ConfigError: nothing would be learnt.
    """
    if bool((codes == codes[0]).all()):
        msg = (
            f"all {len(codes)} images of the first step are of one patient, and images of a patient are not told "
            f"apart: nothing would be learnt. Give images of several patients, or raise budget.batch{otherwise}."
        )
        raise ConfigError(msg)
