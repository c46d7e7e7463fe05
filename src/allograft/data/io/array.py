"""NumPy files: rows of .npy (memory-mapped) and .npz (unpacked once); never unpickled."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from allograft.core.errors import DataError, did_you_mean
from allograft.core.geometry import Geometry
from allograft.data.case import ImageRef
from allograft.data.io.image import MAX_VALUES, Image, too_large
from allograft.data.io.raster import GREY, RGB

__all__ = ["ArrayHeader", "array_headers", "load_array", "read_array"]

IN_MEMORY = 2**30
"""Bytes of unpacked .npz arrays that are kept in memory; larger ones go to a temporary file."""

_recent: OrderedDict[tuple[str, int, int, str], npt.NDArray[Any]] = OrderedDict()


class ArrayHeader(NamedTuple):
    """Shape and number type of an array, known without unpacking it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size once unpacked."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def array_headers(path: Path) -> dict[str, ArrayHeader]:
    """Return the header of each array in an .npz file, by name, without unpacking any.

    Raises:
        DataError: the file is damaged or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            headers = {}
            for name in members:
                with archive.open(name) as member:
                    headers[name.removesuffix(".npy")] = _header(member, f"{path}:{name}")
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return headers


def load_array(path: Path, key: str = "") -> npt.NDArray[Any]:
    """Return a whole array: a memory map of an .npy file, or one array of an .npz file.

    The arrays of .npz files used last stay unpacked (up to `IN_MEMORY` bytes), so that reading
    row after row unpacks once.

    Raises:
        DataError: the file is damaged, holds Python objects, or has no array `key`.
    """
    if path.suffix.lower() == ".npy":
        return _map_npy(path)
    headers = array_headers(path)
    key = _only_key(path, key, headers)
    state = path.stat()
    mark = (str(path.resolve()), state.st_mtime_ns, state.st_size, key)
    if mark not in _recent:
        _recent[mark] = _unpack(path, key, headers[key])
    _recent.move_to_end(mark)
    while len(_recent) > 1 and sum(_in_memory(array) for array in _recent.values()) > IN_MEMORY:
        _recent.popitem(last=False)
    return _recent[mark]


def read_array(ref: ImageRef, *, dims: int | None = None) -> Image:
    """Read one row of an array, or the whole array as one image.

    Axes: (*S), or (*S, C) or (C, *S) with C at most 4. Without `dims`, an array of three axes is a
    colour picture when its last axis has 3 or 4 entries, a volume otherwise.

    Raises:
        DataError: no such row, an ambiguous shape, or values that are not an image.
    """
    array = _cached_or_load(ref)
    if ref.row is not None:
        if not 0 <= ref.row < len(array):
            msg = f"{ref}: the array has rows 0 to {len(array) - 1}. Correct the row."
            raise DataError(msg)
        array = array[ref.row]
    if array.dtype.kind not in "buif":
        msg = f"{ref}: values of type {array.dtype} are not an image. Save it as integers or floats."
        raise DataError(msg)
    if array.size > MAX_VALUES:
        raise too_large(ref, array.shape)
    if array.size == 0:
        msg = f"{ref}: the array is empty (shape {array.shape}). Leave the case out."
        raise DataError(msg)
    return _arrange(np.array(array), ref, dims)


def _cached_or_load(ref: ImageRef) -> npt.NDArray[Any]:
    """Skip the archive's directory for rows of an array that is unpacked already."""
    try:
        state = ref.path.stat()
    except OSError as error:
        raise _damaged(ref.path, error) from error
    mark = (str(ref.path.resolve()), state.st_mtime_ns, state.st_size, ref.key)
    return _recent[mark] if mark in _recent else load_array(ref.path, ref.key)


def _arrange(array: npt.NDArray[Any], ref: ImageRef, dims: int | None) -> Image:
    """Return (C, *S), finding the channel axis."""
    wanted = dims or _guess_dims(array.shape, ref)
    if array.ndim == wanted + 1:
        axis = _channel_axis(array.shape, ref)
        array = np.moveaxis(array, axis, 0)
    elif array.ndim == wanted:
        array = array[None]
    else:
        msg = f"{ref}: shape {array.shape} is no {wanted}-D image. Set the right dims or give a row."
        raise DataError(msg)
    array = array.astype(np.uint8) if array.dtype == np.bool_ else array
    count = len(array)
    channels = GREY if count == 1 else RGB if count == 3 and array.dtype == np.uint8 else ("",) * count
    full = (0.0, 255.0) if array.dtype == np.uint8 and array.max() > 1 else None
    geometry = Geometry.of_pixels(array.shape[1:])
    return Image(array=np.ascontiguousarray(array), geometry=geometry, channels=channels, full_range=full)


def _guess_dims(shape: tuple[int, ...], ref: ImageRef) -> int:
    """Return 2 or 3 where the shape leaves no doubt."""
    if len(shape) == 2:
        return 2
    if len(shape) == 3 and shape[-1] in {3, 4} and shape[0] > 4:
        return 2
    if len(shape) == 4 or (len(shape) == 3 and min(shape[0], shape[-1]) > 4):
        return 3
    msg = f"{ref}: shape {shape} may be a volume or a picture with channels. Set dims to 2 or 3."
    raise DataError(msg)


def _channel_axis(shape: tuple[int, ...], ref: ImageRef) -> int:
    """Return the last axis where it is short, else the first."""
    if shape[-1] <= 4:
        return -1
    if shape[0] <= 4:
        return 0
    msg = f"{ref}: no axis of shape {shape} can be channels (the last or the first, at most 4). Set the right dims."
    raise DataError(msg)


def _map_npy(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, error) from error
    assert isinstance(array, np.ndarray)
    return array


def _only_key(path: Path, key: str, headers: dict[str, ArrayHeader]) -> str:
    if not key and len(headers) == 1:
        return next(iter(headers))
    if key in headers:
        return key
    what = f"has no array {key!r}" if key else f"holds {len(headers)} arrays, and none was named"
    msg = f"{path}: {what}. {did_you_mean(key, headers)}"
    raise DataError(msg)


def _unpack(path: Path, key: str, header: ArrayHeader) -> npt.NDArray[Any]:
    """Unpack into memory where it is small, else into an unnamed temporary file."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            if header.nbytes <= IN_MEMORY:
                return npy.read_array(member, allow_pickle=False)
            return _unpack_to_disk(member, header, path)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _unpack_to_disk(member: IO[bytes], header: ArrayHeader, path: Path) -> npt.NDArray[Any]:
    """Unpack into a file that vanishes with the process and map it."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if header.nbytes > free:
        msg = (
            f"{path}: unpacked it needs {header.nbytes / 1e9:.1f} GB, {tempfile.gettempdir()} has "
            f"{free / 1e9:.1f} GB. Set TMPDIR to a larger disk."
        )
        raise DataError(msg)
    fortran = _skip_header(member)
    with tempfile.TemporaryFile() as aside:
        shutil.copyfileobj(member, aside, 2**22)
        aside.flush()
        file: Any = aside  # the map keeps the disk space after the name and the handle are gone
        mapped: npt.NDArray[Any] = np.memmap(file, header.dtype, "r", 0, header.shape, "F" if fortran else "C")
        return mapped


def _header(member: IO[bytes], name: str) -> ArrayHeader:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        msg = f"{name}: holds Python objects, which are refused because loading them runs code. Save plain numbers."
        raise DataError(msg)
    return ArrayHeader(tuple(shape), dtype)


def _skip_header(member: IO[bytes]) -> bool:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return bool(read(member)[1])


def _in_memory(array: npt.NDArray[Any]) -> int:
    return 0 if isinstance(array, np.memmap) else array.nbytes


def _damaged(path: Path, error: Exception) -> DataError:
    if "allow_pickle" in str(error):
        return DataError(
            f"{path}: holds Python objects, which are refused because loading them runs code. Save plain numbers."
        )
    return DataError(f"{path}: cannot be read, it is damaged or cut short ({error}). Copy it again.")
