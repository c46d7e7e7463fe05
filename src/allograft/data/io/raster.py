"""Pictures: PNG, JPEG, BMP, WebP, PNM through Pillow; TIFF through tifffile."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import MAX_VALUES, Image, too_large

__all__ = ["GREY", "RGB", "picture", "read_raster", "read_tiff"]

GREY = ("grey",)
RGB = ("red", "green", "blue")
MAX_PIXELS = 89_478_485
"""Most pixels of a picture, Pillow's own limit against decompression bombs."""


def read_raster(path: Path) -> Image:
    """Read a picture as (1 or 3, H, W), turned as its EXIF orientation says.

    Palettes become the colours that they stand for. An alpha channel that is opaque everywhere
    is dropped; any other is refused, since what is seen depends on the background.

    Raises:
        DataError: the file is damaged, animated, too large, partly transparent, or would lose
            precision (16-bit colour PNG).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            with PIL.Image.open(path) as picture_file:
                _check_header(picture_file, path)
                pixels = PIL.ImageOps.exif_transpose(picture_file)
                array = _to_array(pixels, path)
        except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
            msg = f"{path}: has more than {MAX_PIXELS:,} pixels. Cut it into tiles or reduce its size."
            raise DataError(msg) from error
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError) as error:
            msg = f"{path}: cannot be decoded, it is damaged or cut short ({error}). Copy it again or leave it out."
            raise DataError(msg) from error
    return picture(array)


def _check_header(file: PIL.Image.Image, path: Path) -> None:
    """Refuse what Pillow would decode to something else than the file holds."""
    if file.width * file.height > MAX_PIXELS:
        msg = f"{path}: has more than {MAX_PIXELS:,} pixels. Cut it into tiles or reduce its size."
        raise DataError(msg)
    frames = getattr(file, "n_frames", 1)
    if frames > 1:
        msg = f"{path}: holds {frames} frames, expected one picture. Save one file for each frame."
        raise DataError(msg)
    with path.open("rb") as raw:
        head = raw.read(26)
    # Pillow keeps 8 of the 16 bits of colour PNGs without saying so.
    if head[:4] == b"\x89PNG" and head[24] == 16 and head[25] != 0:
        msg = f"{path}: is a PNG with 16 bits for each colour, which would be cut to 8. Save it as TIFF."
        raise DataError(msg)


def _to_array(file: PIL.Image.Image, path: Path) -> npt.NDArray[Any]:
    """Return (H, W) or (H, W, 3) values of the file's own depth."""
    mode = file.mode
    if mode.startswith("I;16"):
        return np.asarray(file).astype(np.uint16)
    if mode in {"L", "I", "F", "RGB"} and "transparency" not in file.info:
        return np.asarray(file)
    if mode == "1":
        return np.asarray(file.convert("L"))
    if mode in {"CMYK", "YCbCr"}:
        return np.asarray(file.convert("RGB"))
    if mode in {"P", "PA", "LA", "La", "RGBA", "RGBa", "L", "RGB"}:
        return _opaque(file, path)
    msg = f"{path}: pixels of mode {mode!r} are not supported. Save it as grey or RGB."
    raise DataError(msg)


def _opaque(file: PIL.Image.Image, path: Path) -> npt.NDArray[Any]:
    """Resolve palette and alpha: grey where all colours are grey in the palette or the mode."""
    rgba = np.asarray(file.convert("RGBA"))
    if (rgba[..., 3] != 255).any():
        share = float((rgba[..., 3] != 255).mean())
        msg = f"{path}: {share:.1%} of its pixels are transparent. Flatten it onto a background and save it as RGB."
        raise DataError(msg)
    grey = file.mode in {"LA", "La", "L"} or (file.mode in {"P", "PA"} and _grey_palette(file))
    return rgba[..., 0] if grey else rgba[..., :3]


def _grey_palette(file: PIL.Image.Image) -> bool:
    colours = np.asarray(file.getpalette("RGB") or [0, 0, 1]).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def picture(array: npt.NDArray[Any]) -> Image:
    """Return an (H, W) or (H, W, 3) array as an Image of shape (1 or 3, H, W)."""
    colour = array.ndim == 3
    out = np.ascontiguousarray(array.transpose(2, 0, 1) if colour else array[None])
    kind = out.dtype
    full = (0.0, float(np.iinfo(kind).max)) if kind in {np.dtype(np.uint8), np.dtype(np.uint16)} else None
    return Image(
        array=out, geometry=Geometry.of_pixels(out.shape[1:]), channels=RGB if colour else GREY, full_range=full
    )


def read_tiff(path: Path, *, dims: int | None = None) -> Image:
    """Read a TIFF: one page as (1 or 3, H, W), several pages as a volume (C, D, H, W).

    Raises:
        DataError: the file is damaged, too large, holds several series, or has axes that are
            neither pages, rows, columns nor colours.
    """
    import tifffile

    try:
        with _complaints("tifffile") as complaints, tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, shape, meaning = series.axes, series.shape, int(getattr(file.pages[0], "photometric", 1))
            array = None if int(np.prod(shape, dtype=np.int64)) > MAX_VALUES else series.asarray()
    except Exception as error:  # tifffile raises its decoders' own kinds
        msg = f"{path}: cannot be decoded, it is damaged, cut short or compressed in an unknown way ({error})."
        raise DataError(msg) from error
    if complaints:
        msg = f"{path}: is damaged or cut short ({complaints[0]}). Copy it again or leave it out."
        raise DataError(msg)
    if array is None:
        raise too_large(path, shape)
    if meaning == tifffile.PHOTOMETRIC.PALETTE:
        return read_raster(path)
    dark_is_high = meaning == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u"
    return _arrange_tiff(np.invert(array) if dark_is_high else array, axes, path, dims)


@contextmanager
def _complaints(name: str) -> Iterator[list[str]]:
    """Collect what a library only logs: tifffile drops the pages behind a cut and returns the rest."""
    found: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR and record.thread == thread:
            found.append(record.getMessage())
            return False
        return True

    logger = logging.getLogger(name)
    logger.addFilter(keep)
    try:
        yield found
    finally:
        logger.removeFilter(keep)


def _arrange_tiff(array: npt.NDArray[Any], axes: str, path: Path, dims: int | None) -> Image:
    """Sort tifffile's axes (Y, X, S samples, any page letter) into (C, *S)."""
    if array.dtype.kind not in "buif":
        msg = f"{path}: values of type {array.dtype} are not an image. Save it as integers or floats."
        raise DataError(msg)
    keep = [i for i, name in enumerate(axes) if name in "YXS" or array.shape[i] != 1]
    array, axes = array.reshape([array.shape[i] for i in keep]), "".join(axes[i] for i in keep)
    pages = [name for name in axes if name not in "YXSC"]
    if len(pages) > 1 or (pages and dims == 2) or not {"Y", "X"} <= set(axes):
        msg = f"{path}: has axes {axes} of shape {array.shape}, expected one {dims or 2}-D image. Save one file each."
        raise DataError(msg)
    sample = next((name for name in "SC" if name in axes), "")
    order = [axes.index(name) for name in (*sample, *pages, "Y", "X")]
    array = array.transpose(order) if sample else array.transpose(order)[None]
    array = _drop_alpha(array, path, is_colour=sample == "S")
    return _named(array, colour=sample == "S")


def _drop_alpha(array: npt.NDArray[Any], path: Path, *, is_colour: bool) -> npt.NDArray[Any]:
    """Drop an opaque alpha from (2 or 4, *S) samples."""
    if not is_colour or len(array) not in {2, 4}:
        return array
    top = np.iinfo(array.dtype).max if array.dtype.kind in "ui" else 1
    if (array[-1] != top).any():
        msg = f"{path}: its last of {len(array)} samples is a transparency. Flatten it and save it as grey or RGB."
        raise DataError(msg)
    return array[:-1]


def _named(array: npt.NDArray[Any], *, colour: bool) -> Image:
    """Name the channels of (C, *S)."""
    channels = GREY if len(array) == 1 else RGB if colour and len(array) == 3 else ("",) * len(array)
    array = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    small = array.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
    full = (0.0, float(np.iinfo(array.dtype).max)) if small else None
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    return Image(array=array, geometry=Geometry.of_pixels(array.shape[1:]), channels=channels, full_range=full)
