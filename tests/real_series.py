"""Series made from pydicom's real CT and MR slices: their pixels and headers, set into places of our choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

REAL = Path(pydicom.data.__file__).parent / "test_files"

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ORIENTATIONS = {
    "axial": AXIAL,
    "feet_first": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": (0.96, 0.28, 0.0, -0.28, 0.96, 0.0),
}


def write_series(
    folder, *, count=5, size=(24, 32), turn=AXIAL, step=2.5, origin=(-20.0, 30.0, -100.0), base="CT_small"
):
    """Write `count` crops of a real slice as a series with shuffled file names; return the folder."""
    source = pydicom.dcmread(REAL / f"{base}.dcm")
    pixels = source.pixel_array
    normal = np.cross(turn[:3], turn[3:])
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    names = np.random.default_rng(0).permutation(count)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        data = pydicom.dcmread(REAL / f"{base}.dcm")
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.InstanceNumber = i + 1
        data.Rows, data.Columns = size
        data.PixelSpacing = [0.75, 0.5]
        data.ImageOrientationPatient = list(turn)
        data.ImagePositionPatient = [round(float(x), 6) for x in np.asarray(origin) + i * step * normal]
        crop = pixels[20 + i : 20 + i + size[0], 20 + i : 20 + i + size[1]]
        data.PixelData = np.ascontiguousarray(crop).tobytes()
        if "DataSetTrailingPadding" in data:
            del data.DataSetTrailingPadding
        data.save_as(folder / f"{names[i]:03d}.dcm", enforce_file_format=True)
    return folder


def synthetic_labels(shape, classes=3, seed=0):
    """Return blocks of labels 0 .. classes - 1 without any symmetry, so that every turn shows."""
    out = np.zeros(shape, np.int16)
    for value in range(1, classes):
        low = [1 + value * n // (2 * classes) for n in shape]
        out[low[0] : low[0] + max(1, shape[0] // 3), low[1] : low[1] + 3 + value, low[2] : low[2] + 5 + value] = value
    rng = np.random.default_rng(seed)
    out[tuple(rng.integers(0, n, 6) for n in shape)] = classes - 1
    return out
