"""Whether two grids are one, whatever the unit of their pixels; and axes that no array has."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import zarr
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.io.layer_data import unit_of_layer
from napari_segxai.io.layer_image import image_from_layer
from napari_segxai.io.raster import read_raster


def layer(name: str, *, pixel: float, moved: float, unit: str) -> sx.Image:
    values = np.arange(64.0).reshape(8, 8)
    place = {"scale": (pixel, pixel), "translate": (moved * pixel, 0.0), "units": (unit, unit)}
    return image_from_layer(values, {"name": name, **place})


@pytest.mark.parametrize("unit", ["nm", "um", "mm", "m"])
def test_channels_that_lie_some_pixels_apart_are_not_joined_in_any_unit(unit):
    first, moved = (layer(name, pixel=0.5, moved=k, unit=unit) for name, k in (("a", 0), ("b", 3)))
    assert sx.join_channels([first, layer("c", pixel=0.5, moved=0.01, unit=unit)]).channels == 2
    with pytest.raises(sx.UserError, match="different places"):
        sx.join_channels([first, moved])


def test_a_mask_that_fits_at_one_corner_alone_lies_elsewhere(tmp_path):
    image = sx.Image(np.zeros((8, 8, 8), np.float32), affine=np.eye(4))
    away = np.eye(4)
    away[0, 0], away[0, 3] = 0.5, 4.0  # what is lost in size is won in place at the far end
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), away), tmp_path / "mask.nii.gz")
    with pytest.raises(sx.UserError, match=r"lies 4\.0 mm away"):
        sx.read_region(tmp_path / "mask.nii.gz", image)


@pytest.mark.parametrize(
    "asked", [{"channel_axis": 4}, {"time_axis": -5}, {"channel_axis": 0, "time_axis": -4}]
)
def test_axes_that_an_array_has_not(tmp_path, asked):
    zarr.save(str(tmp_path / "a.zarr"), np.zeros((4, 5, 6, 7), np.float32))
    with pytest.raises(sx.UserError, match=r"is outside the 4 axes|both"):
        sx.read_image(tmp_path / "a.zarr", **asked)
    with pytest.raises(sx.UserError, match=r"is outside the 4 axes|both"):
        sx.Image(np.zeros((4, 5, 6, 7), np.float32), **asked)


def test_an_array_without_axes_is_no_image(tmp_path):
    zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(), dtype="f4")
    with pytest.raises(sx.UserError, match="outside the 0 axes"):
        sx.read_image(tmp_path / "a.zarr", channel_axis=0)


def test_all_pages_of_a_picture_count(tmp_path):
    pages = [Picture.new("P", (64, 64), k) for k in range(10)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert read_raster(tmp_path / "stack.tif").shape == (10, 64, 64, 3)
    with pytest.raises(sx.UserError, match="64 x 64 x 10 pixels are too many"):
        read_raster(tmp_path / "stack.tif", largest=5 * 64 * 64 * 4)


def test_units_that_strangers_make_up_are_not_kept():
    from napari_segxai.io import layer_data

    assert [unit_of_layer(name) for name in ("mm", "um", "parsnip", "x" * 10_000)] == [
        "mm",
        "um",
        "pixel",
        "pixel",
    ]
    for k in range(300):
        unit_of_layer(f"unit{chr(97 + k % 26)}{'x' * (k // 26)}")
    assert layer_data._is_unit.cache_info().currsize <= 256
