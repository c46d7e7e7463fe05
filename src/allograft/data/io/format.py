"""Which reader a file needs: by its ending, checked against its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from allograft.core.errors import DataError

__all__ = ["ENDINGS", "Format", "content_of", "ending_of", "format_of", "is_image_name"]

Format = Literal["raster", "tiff", "array", "nifti", "dicom", "sitk", "zip"]

ENDINGS: dict[str, Format] = {
    ".png": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".bmp": "raster",
    ".webp": "raster",
    ".pgm": "raster",
    ".ppm": "raster",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "array",
    ".npz": "array",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".nrrd": "sitk",
    ".nhdr": "sitk",
    ".mha": "sitk",
    ".mhd": "sitk",
    ".zip": "zip",
}

_PICTURES = {"raster", "tiff"}

# (first bytes, offset, what it is, formats whose reader can take it)
_MAGIC: tuple[tuple[bytes, int, str, tuple[Format, ...]], ...] = (
    (b"DICM", 128, "DICOM", ("dicom",)),  # first: the preamble before it may look like a TIFF
    (b"\x89PNG", 0, "PNG", ("raster",)),
    (b"\xff\xd8\xff", 0, "JPEG", ("raster",)),
    (b"II*\0", 0, "TIFF", ("tiff",)),
    (b"MM\0*", 0, "TIFF", ("tiff",)),
    (b"BM", 0, "BMP", ("raster",)),
    (b"GIF8", 0, "GIF", ()),
    (b"\x93NUMPY", 0, "NumPy array", ("array",)),
    (b"PK\x03\x04", 0, "zip archive", ("array", "zip")),
    (b"NRRD000", 0, "NRRD", ("sitk",)),
    (b"\x1f\x8b", 0, "gzip stream", ("nifti",)),
    (b"n+1\0", 344, "NIfTI", ("nifti",)),
    (b"n+2\0", 4, "NIfTI", ("nifti",)),
    (b"<!DOC", 0, "web page", ()),
    (b"<html", 0, "web page", ()),
)


def ending_of(path: Path) -> str:
    """Return the ending in lower case; ".nii.gz" counts as one ending.

    >>> ending_of(Path("scan.v2.NII.gz"))
    '.nii.gz'
    """
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_image_name(path: Path) -> bool:
    """Tell whether the ending is one that a reader knows; hidden files are none."""
    return ending_of(path) in ENDINGS and not path.name.startswith(".")


def content_of(path: Path) -> tuple[str, tuple[Format, ...]] | None:
    """Return what the first bytes say the file is, with the readers that take it; None where unknown.

    Raises:
        DataError: the file is missing, empty or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        msg = f"{path}: cannot be opened ({error.strerror}). Check the path and its permissions."
        raise DataError(msg) from error
    if not head:
        msg = f"{path}: the file is empty (0 bytes). Copy it again or leave the case out."
        raise DataError(msg)
    for magic, offset, name, formats in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name, formats
    return None


def format_of(path: Path) -> Format:
    """Return the reader that `path` needs; a file without a known ending may be DICOM.

    Raises:
        DataError: the ending is unknown, or the content is of another kind than the ending says.
    """
    if path.is_dir():
        return "dicom"
    content = content_of(path)
    by_name = ENDINGS.get(ending_of(path))
    if by_name is None:
        if content is not None and "dicom" in content[1]:
            return "dicom"
        msg = f"{path}: no reader for the ending {ending_of(path)!r}. Known: {', '.join(ENDINGS)}."
        raise DataError(msg)
    if content is None:
        return by_name
    name, formats = content
    if by_name in formats:
        return by_name
    if by_name in _PICTURES and set(formats) & _PICTURES:
        return formats[0]  # a JPEG named .png shows the same picture
    msg = f"{path}: the name says {ending_of(path)}, the content is a {name}. Rename the file or export it again."
    raise DataError(msg)
