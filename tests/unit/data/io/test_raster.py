from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import skimage.io
import tifffile

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_channels, read_image

REAL = Path(skimage.data.__file__).parent


def read(path, dims=None):
    return read_image(ImageRef(Path(path)), dims=dims)


def chunk(kind, data):
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("name", ["cell.png", "retina.jpg", "ihc.png", "camera.png", "hubble_deep_field.jpg"])
def test_real_pictures_equal_scikit_image(name):
    image = read(REAL / name)
    judge = skimage.io.imread(REAL / name)
    judge = judge[None] if judge.ndim == 2 else judge.transpose(2, 0, 1)
    np.testing.assert_array_equal(image.array, judge)
    assert image.full_range == (0.0, 255.0)
    assert image.channels == (("grey",) if len(judge) == 1 else ("red", "green", "blue"))
    assert image.geometry.unit == "pixel"


@pytest.mark.parametrize("name", ["multipage.tif", "multipage_rgb.tif"])
def test_real_multipage_tiff_is_a_volume_and_no_picture(name):
    judge = tifffile.imread(REAL / name)
    image = read(REAL / name, dims=3)
    got = image.array[0] if len(image.array) == 1 else np.moveaxis(image.array, 0, -1)
    judge = np.moveaxis(judge, 1, -1) if judge.shape[1:2] == (3,) else judge  # colour planes apart
    np.testing.assert_array_equal(got, judge)
    with pytest.raises(DataError, match=name):
        read(REAL / name, dims=2)


def test_partial_transparency_is_refused_and_opaque_alpha_dropped(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (5, 6, 4), dtype=np.uint8)
    picture[..., 3] = 255
    for name in ("a.png", "a.tif"):
        PIL.Image.fromarray(picture).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name).array, picture[..., :3].transpose(2, 0, 1))
    picture[0, 0, 3] = 254
    for name in ("b.png", "b.tif"):
        PIL.Image.fromarray(picture).save(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}.*transparen.*Flatten"):
            read(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int16, np.uint8])
def test_depth_survives_tiff(tmp_path, dtype):
    values = np.linspace(0, 200 if dtype == np.uint8 else 30000, 30).reshape(5, 6).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values)
    image = read(tmp_path / "x.tif")
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0], values)


def test_16_bit_grey_png_keeps_its_values_and_16_bit_colour_is_refused(tmp_path):
    values = np.arange(0, 60000, 2000, dtype=np.uint16).reshape(5, 6)
    PIL.Image.fromarray(values).save(tmp_path / "grey.png")
    image = read(tmp_path / "grey.png")
    np.testing.assert_array_equal(image.array[0], values)
    assert image.full_range == (0.0, 65535.0)

    raw = b"".join(b"\0" + struct.pack(">6H", *range(6)) for _ in range(2))
    header = struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    (tmp_path / "colour.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert PIL.Image.open(tmp_path / "colour.png").mode == "RGB"  # what we guard against
    with pytest.raises(DataError, match=r"16 bits.*TIFF"):
        read(tmp_path / "colour.png")


def test_palettes_become_their_colours(tmp_path):
    rgb = np.zeros((4, 4, 3), dtype=np.uint8)
    rgb[:2] = (200, 10, 30)
    PIL.Image.fromarray(rgb).convert("P", palette=PIL.Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png").array, rgb.transpose(2, 0, 1))
    grey = PIL.Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8), mode="P")
    grey.putpalette([v for i in range(4) for v in (i * 60,) * 3])
    grey.save(tmp_path / "g.png")
    np.testing.assert_array_equal(read(tmp_path / "g.png").array, [[[0, 60], [120, 180]]])


def test_exif_orientation_is_applied(tmp_path):
    values = np.random.default_rng(1).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    PIL.Image.fromarray(values).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "x.png").array, np.rot90(values, -1).transpose(2, 0, 1))


def test_white_is_zero_tiff_is_turned(tmp_path):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "x.tif").array[0], 255 - values)


@pytest.mark.parametrize("name", ["cell.png", "retina.jpg", "multipage.tif"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5])
def test_truncated_and_empty_files_name_themselves(tmp_path, name, keep):
    data = (REAL / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_cut_within_its_pixels_is_refused(tmp_path, compression):
    values = np.random.default_rng(0).integers(0, 255, (200, 100), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, rowsperstrip=20, compression=compression)
    data = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"x\.tif"):
        read(tmp_path / "x.tif")


def test_wrong_names_are_refused_with_the_content_named(tmp_path):
    (tmp_path / "page.png").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"page\.png.*web page"):
        read(tmp_path / "page.png")
    (tmp_path / "notes.png").write_text("some text that is no picture at all")
    with pytest.raises(DataError, match=r"notes\.png"):
        read(tmp_path / "notes.png")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.png")
    (tmp_path / "x.xyz").write_text("x")
    with pytest.raises(DataError, match=r"no reader.*\.xyz"):
        read(tmp_path / "x.xyz")


def test_a_jpeg_named_png_is_the_same_picture(tmp_path):
    shutil.copy(REAL / "retina.jpg", tmp_path / "retina.png")
    np.testing.assert_array_equal(read(tmp_path / "retina.png").array, read(REAL / "retina.jpg").array)


def test_decompression_bomb_is_refused_by_its_header(tmp_path):
    header = struct.pack(">2I5B", 40000, 20000, 1, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    with pytest.raises(DataError, match=r"bomb\.png.*pixels"):
        read(tmp_path / "bomb.png")


def test_animations_are_refused(tmp_path):
    frames = [PIL.Image.fromarray(np.full((4, 4), i, np.uint8)) for i in (1, 200)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        read(tmp_path / "x.png")


def test_dims_are_checked():
    with pytest.raises(DataError, match=r"2-D.*expected 3-D"):
        read(REAL / "cell.png", dims=3)


def test_channels_are_stacked_on_one_grid_only(tmp_path):
    a, b = np.zeros((4, 5), np.uint8), np.ones((4, 5), np.uint8)
    PIL.Image.fromarray(a).save(tmp_path / "a.png")
    PIL.Image.fromarray(b).save(tmp_path / "b.png")
    PIL.Image.fromarray(b[:3]).save(tmp_path / "c.png")
    refs = [ImageRef(tmp_path / f"{name}.png") for name in "abc"]
    np.testing.assert_array_equal(read_channels(refs[:2]).array, np.stack([a, b]))
    with pytest.raises(DataError, match=r"c\.png.*grid"):
        read_channels([refs[0], refs[2]])
