from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from skimage.draw import polygon2mask

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.grid import grid_of
from allograft.data.io.mask import read_mask
from allograft.data.io.rtstruct import fill, read_rtstruct, structures_of
from real_series import ORIENTATIONS, REAL, write_series

pytestmark = pytest.mark.filterwarnings("ignore")


def write_rtstruct(path, structures, kind="CLOSED_PLANAR"):
    """Write structures {name: [(N, 3) corners in patient coordinates]}."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Modality, data.StructureSetROISequence, data.ROIContourSequence = "RTSTRUCT", [], []
    for number, (name, contours) in enumerate(structures.items(), start=5):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{x:.6f}" for x in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(drawn)
    data.save_as(path, enforce_file_format=True)
    return path


def outline(grid, plane, corners):
    """Return (row, column) corners on a slice as patient coordinates."""
    index = np.array([(plane, row, column) for row, column in corners])
    world = index @ np.asarray(grid.stored.affine)[:3, :3].T + np.asarray(grid.stored.affine)[:3, 3]
    return world * [-1, -1, 1]


SQUARE = [(3.5, 4.5), (3.5, 12.5), (15.5, 12.5), (15.5, 4.5)]
HOLE = [(6.5, 6.5), (6.5, 9.5), (10.5, 9.5), (10.5, 6.5)]
STAR = [(2.2, 10.1), (20.3, 16.4), (8.7, 3.3), (9.1, 25.2), (19.6, 5.9)]


@pytest.mark.parametrize("turn", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_synthetic_contours_on_a_real_series_fill_their_slices_and_leave_holes(tmp_path, turn):
    folder = write_series(tmp_path / "ct", turn=turn)
    grid = grid_of(ImageRef(folder))
    path = write_rtstruct(
        tmp_path / "rs.dcm", {"GTV": [outline(grid, 1, SQUARE), outline(grid, 1, HOLE), outline(grid, 3, HOLE)]}
    )
    expected = np.zeros(grid.stored.shape, np.int16)
    expected[1, 4:16, 5:13] = 1
    expected[1, 7:11, 7:10] = 0
    expected[3, 7:11, 7:10] = 1
    ours = read_mask(ImageRef(path), onto=ImageRef(folder))
    np.testing.assert_array_equal(ours.array, grid.image(expected).array)


def test_filling_equals_skimage_off_the_pixel_centres():
    corners = np.array(STAR)
    np.testing.assert_array_equal(fill(corners, (24, 32)), polygon2mask((24, 32), corners))
    assert fill(corners, (24, 32))[4:18, 4:20].sum() < 14 * 16  # a star crosses itself: its middle is even


def test_neighbours_that_share_an_edge_share_no_pixel():
    left, right = np.array([(2, 3), (2, 9), (12, 9), (12, 3)]), np.array([(2, 9), (2, 15), (12, 15), (12, 9)])
    a, b = fill(left, (20, 20)), fill(right, (20, 20))
    assert not (a & b).any()
    assert (a | b).sum() == 10 * 12


def test_real_structure_set_names_its_structures_and_lies_off_a_foreign_series(tmp_path):
    with pytest.raises(DataError, match="is not a DICOM file"):  # as packaged it has no preamble
        structures_of(REAL / "rtstruct.dcm")
    data = pydicom.dcmread(REAL / "rtstruct.dcm", force=True)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(path := tmp_path / "rtstruct.dcm", enforce_file_format=True)
    names = structures_of(path)
    assert list(names) == [str(item.ROIName) for item in data.StructureSetROISequence]
    grid = grid_of(ImageRef(write_series(tmp_path / "ct")))
    with pytest.raises(DataError, match=rf"rtstruct\.dcm: structure '{next(iter(names))}', contour 0: lies"):
        read_rtstruct(path, grid)
    with pytest.raises(DataError, match=r"has no structure GTV.*Known"):
        read_rtstruct(path, grid, classes={"GTV": 1})


def test_synthetic_contours_off_the_grid_name_structure_and_slice(tmp_path):
    grid = grid_of(ImageRef(write_series(tmp_path / "ct")))

    def refused(plane, corners, text, kind="CLOSED_PLANAR"):
        path = write_rtstruct(tmp_path / "rs.dcm", {"GTV": [outline(grid, plane, corners)]}, kind)
        with pytest.raises(DataError, match=text):
            read_rtstruct(path, grid)

    refused(1.5, SQUARE, r"structure 'GTV', contour 0: lies between slices .* z = -96.25 mm")
    refused(7, SQUARE, r"structure 'GTV', contour 0: lies outside the grid .*slice 7 of 5")
    refused(1, [(r + 20, c) for r, c in SQUARE], "outside the grid")
    refused(1, SQUARE, "is of kind OPEN_PLANAR", kind="OPEN_PLANAR")


def test_synthetic_structures_that_overlap_are_refused_unless_chosen(tmp_path):
    folder = write_series(tmp_path / "ct")
    grid = grid_of(ImageRef(folder))
    path = write_rtstruct(tmp_path / "r.dcm", {"Lung": [outline(grid, 1, SQUARE)], "GTV": [outline(grid, 1, HOLE)]})
    with pytest.raises(DataError, match="structure 'GTV' shares 12 voxels with class 1"):
        read_rtstruct(path, grid)
    later = read_rtstruct(path, grid, overlap="later").array
    assert (later == 2).sum() == 12
    assert (later == 1).sum() == 12 * 8 - 12
    mask = read_mask(ImageRef(path, classes=(("background", 0), ("gtv", 1), ("Heart", 2))), onto=ImageRef(folder))
    assert mask.array.sum() == 12
    assert mask.warnings == ("r.dcm: has no structure 'Heart'",)
    with pytest.raises(DataError, match="together with the series"):
        read_mask(ImageRef(path))
