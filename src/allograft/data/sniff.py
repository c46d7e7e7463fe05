"""Open data of any known layout by looking at it."""

from __future__ import annotations

from pathlib import Path

from allograft.core.errors import DataError
from allograft.data.bids import is_bids, read_bids
from allograft.data.class_folder import FolderSpec, read_class_folder
from allograft.data.cohort import Cohort
from allograft.data.decathlon import is_decathlon, read_decathlon
from allograft.data.io.array import array_headers
from allograft.data.io.format import is_image_name
from allograft.data.labels import LabelSpec
from allograft.data.manifest import ManifestSpec, read_manifest
from allograft.data.mask_folder import is_mask_folder, read_mask_folder
from allograft.data.medmnist import is_medmnist, read_medmnist
from allograft.data.nnunet import is_nnunet, read_nnunet

__all__ = ["open_data"]

_TABLES = (".csv", ".tsv")
_NAMES = ("manifest", "labels", "metadata", "index", "dataset")
_WITH_MASKS = (
    (is_nnunet, read_nnunet),
    (is_decathlon, read_decathlon),
    (is_bids, read_bids),
)
"""Layouts of folders with masks: whether one is there, and how it is read; the first that fits."""


def open_data(
    path: Path,
    *,
    manifest: ManifestSpec | None = None,
    folder: FolderSpec | None = None,
    check_files: bool = True,
) -> Cohort:
    """Open a table, a MedMNIST file, a folder of classes or of images and masks, or images with one table.

    Folders with masks: nnU-Net raw, Medical Segmentation Decathlon, BIDS, images/ and masks/, and
    CASE/segmentations/.

    Args:
        path: file or folder.
        manifest: settings for a table; its label settings also serve a MedMNIST file.
        folder: settings for folders of classes.
        check_files: whether missing images stop here (the audit lists them instead).

    Raises:
        DataError: nothing known is there (the message lists what was looked for), or the data are
            wrong.
        ConfigError: the settings do not fit the data.
    """
    if not path.exists():
        msg = f"{path}: no such file or folder. Check the path."
        raise DataError(msg)
    if path.is_file():
        return _open_file(path, manifest, folder, check_files=check_files)
    for fits, read in _WITH_MASKS:
        if fits(path):
            return read(path, folder, check_files=check_files)
    table = _table_in(path)
    if table is not None:
        return read_manifest(table, manifest, check_files=check_files)
    if is_mask_folder(path):
        return read_mask_folder(path, folder, check_files=check_files)
    if any(child.is_dir() and not child.name.startswith(".") for child in path.iterdir()):
        return read_class_folder(path, folder)
    raise _unknown(path)


def _open_file(path: Path, manifest: ManifestSpec | None, folder: FolderSpec | None, *, check_files: bool) -> Cohort:
    ending = path.suffix.lower()
    if ending in _TABLES:
        return read_manifest(path, manifest, check_files=check_files)
    if ending == ".json" and is_decathlon(path):
        return read_decathlon(path, folder, check_files=check_files)
    if ending == ".npz" and is_medmnist(array_headers(path)):
        spec = manifest or ManifestSpec()
        labels = LabelSpec(kind=spec.kind, classes=spec.classes, positive=spec.positive, metric=spec.metric)
        return read_medmnist(path, labels, name=spec.name)
    raise _unknown(path)


def _table_in(folder: Path) -> Path | None:
    """Return the folder's table: the only one, or the only one with a usual name."""
    tables = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in _TABLES)
    if len(tables) > 1:
        usual = [path for path in tables if path.stem.lower() in _NAMES]
        if len(usual) != 1:
            names = ", ".join(path.name for path in tables[:6])
            msg = f"{folder}: holds {len(tables)} tables ({names}). Give the one with the labels instead of the folder."
            raise DataError(msg)
        return usual[0]
    return tables[0] if tables else None


def _unknown(path: Path) -> DataError:
    what = f"a {path.suffix or 'nameless'} file"
    if path.is_dir():
        images = sum(is_image_name(child) for child in path.iterdir())
        what = f"a folder with {images} images and no labels" if images else "a folder without images"
    return DataError(
        f"{path}: no data layout recognised in {what}. Looked for: a .csv or .tsv table (columns image, label, "
        "patient_id, site, split); a MedMNIST .npz file (train_images, train_labels, val_..., test_...); folders "
        "named for classes (class/image or train/class/image); masks (dataset.json of nnU-Net or the Decathlon, BIDS, "
        "images/ with masks/, CASE/segmentations/); a folder with images (NIfTI, DICOM series, "
        "pictures) and one table."
    )
