"""Pictures: what their axes mean, and files that are none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.layer_data import layer_from_image
from napari_segxai.io.layer_image import image_from_layer

GRAY = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
COLOR = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def test_grey_and_colour(tmp_path):
    for ending in ("png", "tif", "bmp"):
        Picture.fromarray(GRAY).save(tmp_path / f"grey.{ending}")
        image = read_image(tmp_path / f"grey.{ending}")
        np.testing.assert_array_equal(image.array, GRAY)
        assert image.channel_axis is None
        assert image.affine is None
        assert image.units == "pixel"
        assert image.name == "grey"
        Picture.fromarray(COLOR).save(tmp_path / f"colour.{ending}")
        image = read_image(str(tmp_path / f"colour.{ending}"))
        np.testing.assert_array_equal(image.array, COLOR)
        assert image.channel_axis == 2
    Picture.fromarray(COLOR).save(tmp_path / "COLOUR.JPG")
    assert read_image(tmp_path / "COLOUR.JPG").array.shape == (20, 30, 3)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_dropped_with_a_warning(tmp_path, name):
    rgba = np.concatenate([COLOR, np.full((20, 30, 1), 128, np.uint8)], axis=2)
    Picture.fromarray(rgba).save(tmp_path / name)
    with pytest.warns(UserWarning, match=rf"{name}.*alpha"):
        image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.array, COLOR)


def test_other_pixel_kinds(tmp_path):
    deep = GRAY.astype(np.uint16) * 200
    Picture.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png").array, deep)
    Picture.fromarray(GRAY > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").array > 0, GRAY > 100)
    Picture.fromarray(COLOR).quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").array.shape == (20, 30, 3)
    Picture.fromarray(COLOR).convert("CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").array.shape == (20, 30, 3)
    Picture.fromarray(GRAY).convert("LA").save(tmp_path / "la.png")
    with pytest.warns(UserWarning, match="alpha"):
        image = read_image(tmp_path / "la.png")
    np.testing.assert_array_equal(image.array, GRAY)
    big = np.random.default_rng(0).normal(size=(20, 30)).astype(">f4")
    tifffile.imwrite(tmp_path / "big.tif", big, byteorder=">")
    image = read_image(tmp_path / "big.tif")
    assert image.array.dtype.isnative
    np.testing.assert_array_equal(image.array, big)


def test_tiff_stacks(tmp_path):
    stack = np.random.default_rng(0).normal(size=(5, 20, 30)).astype(np.float32)
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    image = read_image(tmp_path / "stack.tif")
    assert image.spatial_shape == (5, 20, 30)
    assert image.affine is None
    assert read_image(tmp_path / "stack.tif", time_axis=0).frames == 5
    assert read_image(tmp_path / "stack.tif", channel_axis=0).channels == 5
    tifffile.imwrite(
        tmp_path / "tc.tif", np.zeros((3, 4, 2, 20, 30), np.uint16), imagej=True, metadata={"axes": "TZCYX"}
    )
    image = read_image(tmp_path / "tc.tif")
    assert (image.time_axis, image.channel_axis, image.spatial_shape) == (0, 2, (4, 20, 30))
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([COLOR] * 5), photometric="rgb")
    image = read_image(tmp_path / "pages.tif")
    assert (image.channel_axis, image.spatial_shape) == (3, (5, 20, 30))
    tifffile.imwrite(
        tmp_path / "planar.tif", np.moveaxis(COLOR, 2, 0), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "planar.tif").array, COLOR)
    tifffile.imwrite(tmp_path / "zip.tif", stack, compression="zlib")
    np.testing.assert_array_equal(read_image(tmp_path / "zip.tif").array, stack)
    Picture.fromarray(COLOR).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "lzw.tif").array, COLOR)


def test_layers_of_pictures(tmp_path):
    Picture.fromarray(COLOR).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    array, meta = layer_from_image(image)
    assert meta["rgb"] is True
    assert meta["scale"] == (1.0, 1.0)
    back = image_from_layer(array, meta)
    np.testing.assert_array_equal(back.array, COLOR)
    assert back.channel_axis == 2
    assert back.units == "pixel"
    assert back.path == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.png", b"hello " * 50),
        ("text.tif", b"hello " * 50),
        ("text.jpg", b"\xff\xd8\xff" + b"hello " * 50),
        ("noise.bmp", b"BM" + bytes(range(200))),
        ("tiff.tiff", b"II*\0" + b"\xff" * 50),
        ("folder.png", None),
        ("missing.png", ...),
    ],
)
def test_a_bad_picture_is_named_in_one_sentence(tmp_path, name, content):
    if content is None:
        (tmp_path / name).mkdir()
    elif content is not ...:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_truncated_picture(tmp_path, name):
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)).save(
        tmp_path / name
    )
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=name):
        read_image(tmp_path / name)


def test_wrong_axes(tmp_path):
    Picture.fromarray(GRAY).save(tmp_path / "a.png")
    with pytest.raises(UserError):
        read_image(tmp_path / "a.png", channel_axis=5)
    with pytest.raises(UserError):
        read_image(tmp_path / "a.png", channel_axis=0)


def test_writing(tmp_path):
    image = Image(COLOR, channel_axis=2, header={"format": "raster", "rgb": True})
    write_volume(tmp_path / "c.png", image.array, image)
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").array, COLOR)
    write_volume(tmp_path / "c.tif", image.array, image)
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif").array, COLOR)
    saliency = np.random.default_rng(0).normal(size=(20, 30))
    write_volume(tmp_path / "map.tif", saliency, image, description="seg-grad-cam")
    np.testing.assert_array_equal(read_image(tmp_path / "map.tif").array, saliency)
    mask = (saliency > 0).astype(np.int64) * 300
    for ending in ("png", "tif"):
        write_volume(tmp_path / f"mask.{ending}", mask, image, kind="labels")
        written = read_image(tmp_path / f"mask.{ending}").array
        assert written.dtype == np.uint16
        np.testing.assert_array_equal(written, mask)
    with pytest.raises(UserError, match=r"map\.png.*use \.tif"):
        write_volume(tmp_path / "map.png", saliency, image)
    with pytest.raises(UserError, match="does not lie on the grid"):
        write_volume(tmp_path / "map.tif", saliency[1:], image)
    with pytest.raises(UserError, match="cannot be written"):
        write_volume(tmp_path / "no" / "map.tif", saliency, image)
    with pytest.raises(UserError, match="whole numbers"):
        write_volume(tmp_path / "map.tif", saliency, image, kind="labels")
    write_volume(tmp_path / "map.nii.gz", saliency, image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_image(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(volume.array[..., 0].T, saliency)
