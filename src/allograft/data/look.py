"""Look at one case: decode it once and keep the facts that an audit needs, not the pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.duplicates import Fingerprint, fingerprint
from allograft.data.io.format import ending_of
from allograft.data.io.image import Stored, read_channels
from allograft.data.look_mask import BadMask, MaskLook, look_at_mask

__all__ = ["Look", "look"]


class Look(NamedTuple):
    """The facts of one readable image.

    Args:
        id: the case.
        shape: (*S).
        channels: channel count.
        dtype: number type.
        ending: of the (first) file, "" for a folder.
        low: smallest finite value.
        high: largest finite value.
        finite: no NaN and no infinity.
        constant: one value everywhere.
        units: of the values.
        spacing: along S in mm, empty where unknown.
        orient: where the file's own axes run to ("RAS"), "" for pictures.
        warnings: of the reader.
        print: for duplicates.
        mask: of the case, None where it has none.
    """

    id: str
    shape: tuple[int, ...]
    channels: int
    dtype: str
    ending: str
    low: float
    high: float
    finite: bool
    constant: bool
    units: str
    spacing: tuple[float, ...]
    orient: str
    warnings: tuple[str, ...]
    print: Fingerprint
    mask: MaskLook | BadMask | None = None

    @property
    def size(self) -> str:
        """The shape as text: 224x224."""
        return "x".join(map(str, self.shape))


def look(case: Case, head: str = "") -> Look | str:
    """Return the facts of a case, or the reader's message where its image cannot be read.

    Args:
        case: the case.
        head: of the target that may be a mask.
    """
    try:
        image = read_channels(case.image)
    except DataError as error:
        return str(error)
    array, geometry, target = image.array, image.geometry, case.targets.get(head)
    low, high = float(array.min()), float(array.max())  # NaN where any value is
    finite = bool(np.isfinite([low, high]).all())
    if not finite:
        good = array[np.isfinite(array)]
        low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 0.0)
    return Look(
        id=case.id,
        shape=geometry.shape,
        channels=len(array),
        dtype=str(array.dtype),
        ending="" if case.image[0].path.is_dir() else ending_of(case.image[0].path),
        low=low,
        high=high,
        finite=finite,
        constant=low == high,
        units=image.units,
        orient=_orient(image.stored),
        spacing=geometry.spacing if geometry.unit == "mm" else (),
        warnings=image.warnings,
        print=fingerprint(array, name=case.id, group=case.group),
        mask=look_at_mask(target, case.image[0], image) if isinstance(target, ImageRef) else None,
    )


def _orient(stored: Stored | None) -> str:
    """Return the letters of the directions that the file's own axes run to."""
    if stored is None:
        return ""
    ends = {
        axis: "SAR"[k] if not flip else "IPL"[k]
        for k, (axis, flip) in enumerate(zip(stored.order, stored.flipped, strict=True))
    }
    return "".join(ends[axis] for axis in sorted(ends))
