"""Pixel sizes and units of OME-TIFF, ImageJ TIFF and Zarr are read, shown and written again."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import tifffile

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.gui.manifest.reader import get_reader
from napari_segxai.io import write_volume
from napari_segxai.models.card import ModelCard
from napari_segxai.models.preprocessing.framed import place

zarr = pytest.importorskip("zarr")

MICRONS = {
    "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 500.0, "PhysicalSizeZUnit": "nm", "TimeIncrement": 2.0, "TimeIncrementUnit": "s",
}  # fmt: skip


def ome_tiff(path, axes="CZYX", **more):
    shape = [{"T": 4, "C": 2, "Z": 3, "Y": 5, "X": 6}[c] for c in axes]
    values = np.random.default_rng(0).integers(0, 99, shape).astype(np.uint16)
    tifffile.imwrite(path, values, ome=True, metadata={"axes": axes, **MICRONS, **more})
    return values


def test_ome_tiff(tmp_path):
    values = ome_tiff(tmp_path / "cells.ome.tif")
    image = sx.read_image(tmp_path / "cells.ome.tif")
    np.testing.assert_array_equal(image.array, values)
    assert image.channel_axis == 0
    assert image.units == "um"
    assert image.spacing == pytest.approx((0.5, 0.2, 0.1))
    ome_tiff(tmp_path / "film.ome.tif", "TYX")
    film = sx.read_image(tmp_path / "film.ome.tif")
    assert (film.time_axis, film.units, film.header["time"]) == (0, "um", (2.0, "s", 0.0))
    assert film.spacing == (0.2, 0.1)


def test_what_a_file_does_not_say_is_said(tmp_path):
    path = tmp_path / "half.ome.tif"
    tifffile.imwrite(
        path,
        np.zeros((3, 5, 6), np.uint8),
        ome=True,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    with pytest.warns(UserWarning, match="no pixel size along Z; 0.5 um is assumed"):
        assert sx.read_image(path).spacing == (0.5, 0.5, 0.5)


def test_imagej_tiff(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, np.zeros((3, 2, 5, 6), np.uint16), imagej=True, resolution=(10, 5),
        metadata={"axes": "ZCYX", "spacing": 0.5, "unit": "um"},
    )  # fmt: skip
    image = sx.read_image(path)
    assert (image.channel_axis, image.units, image.spacing) == (1, "um", (0.5, 0.2, 0.1))


def test_dots_per_inch_are_no_size(tmp_path):
    tifffile.imwrite(
        tmp_path / "scan.tif", np.zeros((5, 6), np.uint8), resolution=(300, 300), resolutionunit=2
    )
    image = sx.read_image(tmp_path / "scan.tif")
    assert (image.units, image.spacing) == ("pixel", (1.0, 1.0))


def test_micrometres_are_sizes_for_a_model_that_asks_for_millimetres(tmp_path):
    ome_tiff(tmp_path / "film.ome.tif", "YX")
    image = sx.read_image(tmp_path / "film.ome.tif")
    card = ModelCard(name="net", labels=("no", "yes"), spatial_dims=2, grid={"spacing": (0.0001, 0.0001)})
    assert place(card, image).resampled_shape == (10, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16, np.float64])
def test_saved_results_carry_sizes(tmp_path, dtype):
    ome_tiff(tmp_path / "film.ome.tif", "ZYX")
    image = sx.read_image(tmp_path / "film.ome.tif")
    values = np.arange(90).reshape(3, 5, 6).astype(dtype)
    write_volume(tmp_path / "map.tif", values, image, description="seg-grad-cam")
    back = sx.read_image(tmp_path / "map.tif")
    np.testing.assert_array_equal(back.array, values)
    assert (back.array.dtype, back.units) == (dtype, image.units)
    assert back.spacing == pytest.approx(image.spacing)


def ome_zarr(path, version):
    root = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    values = np.random.default_rng(0).integers(0, 99, (2, 4, 8, 6)).astype(np.uint16)
    for k in range(2):
        part = values[..., :: 2**k, :: 2**k]
        root.create_array(str(k), data=part, chunks=(1, 1, *part.shape[2:]))
    scale = lambda k: {"type": "scale", "scale": [1, 0.5, 0.1 * 2**k, 0.2 * 2**k]}
    units = [{"name": c, "type": "space", "unit": "micrometer"} for c in "zyx"]
    image = {
        "version": version,
        "axes": [{"name": "c", "type": "channel"}, *units],
        "datasets": [{"path": str(k), "coordinateTransformations": [scale(k)]} for k in range(2)],
    }
    root.attrs.update({"multiscales": [image]} if version == "0.4" else {"ome": {"multiscales": [image]}})
    return values


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    values = ome_zarr(tmp_path / "cells.ome.zarr", version)
    image = sx.read_image(tmp_path / "cells.ome.zarr")
    assert not image.is_read
    assert (image.name, image.channel_axis, image.units) == ("cells", 0, "um")
    assert image.spacing == (0.5, 0.1, 0.2)
    np.testing.assert_array_equal(image.array, values)


def test_plain_zarr_with_names(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "film.zarr"), data=np.ones((3, 5, 6), np.float32), dimension_names=("t", "y", "x")
    )
    assert array.shape == (3, 5, 6)
    image = sx.read_image(tmp_path / "film.zarr")
    assert (image.time_axis, image.spatial_shape, image.units) == (0, (5, 6), "pixel")
    (tmp_path / "none.zarr").mkdir()
    with pytest.raises(UserError, match="cannot be read as Zarr"):
        sx.read_image(tmp_path / "none.zarr")


def test_the_reader_of_the_plugin_keeps_sizes(tmp_path):
    ome_zarr(tmp_path / "cells.zarr", "0.4")
    ome_tiff(tmp_path / "cells.ome.tif")
    for name, scale, unit in (
        ("cells.zarr", (0.5, 0.1, 0.2), "um"),
        ("cells.ome.tif", (0.5, 0.2, 0.1), "um"),
    ):
        path = str(tmp_path / name)
        layers = get_reader(path)(path)
        assert len(layers) == 2
        for data, meta, kind in layers:
            assert (data.shape, kind, set(meta["units"])) == (
                ((4, 8, 6) if "zarr" in name else (3, 5, 6)),
                "image",
                {unit},
            )
            assert meta["scale"] == pytest.approx(scale)
    assert not isinstance(
        get_reader(str(tmp_path / "cells.zarr"))(str(tmp_path / "cells.zarr"))[0][0], np.ndarray
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_nifti_file_without_voxel_sizes_says_what_was_assumed(tmp_path, known):
    path = tmp_path / "zero.nii"
    file = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), None if not known else np.diag([2.0, 2, 2, 1]))
    nib.save(file, path)
    raw = bytearray(path.read_bytes())
    raw[80:92] = np.zeros(3, "<f4").tobytes()
    path.write_bytes(raw)
    if known:
        import warnings

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert sx.read_image(path).spacing == (2, 2, 2)
        assert not [one for one in said if "voxel size" in str(one.message)]
    else:
        with pytest.warns(UserWarning, match="voxel sizes along i and j and k are 0; 1 mm is assumed"):
            assert sx.read_image(path).spacing == (1, 1, 1)


def test_records_of_lazy_files_are_json(tmp_path):
    ome_zarr(tmp_path / "cells.zarr", "0.4")
    assert json.dumps(sx.read_image(tmp_path / "cells.zarr").spacing)


def test_sizes_of_a_tiff_that_napari_opened_by_itself(tmp_path):
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers._source import layer_source

    from napari_segxai.gui.viewer.displayed import displayed_image

    path = str(tmp_path / "stack.tif")
    values = np.zeros((3, 5, 6), np.uint16)
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(10, 5),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": "micron"},
    )
    with layer_source(path=path):
        layers = [ImageLayer(values), ImageLayer(values, scale=(3, 2, 2)), ImageLayer(values[:, :4])]
    found = []
    for layer in layers:
        viewer = ViewerModel()
        viewer.add_layer(layer)
        image = displayed_image(layer, viewer, 1).image
        found.append((image.units, image.spacing))
        assert "array" not in image.layer
    # what a user said of the layer counts more; and of another grid the file knows nothing
    assert found == [("um", (0.5, 0.2, 0.1)), ("pixel", (3, 2, 2)), ("pixel", (1, 1, 1))]
    assert displayed_image(layers[0], viewer, 1).image.spacing_mm == pytest.approx((5e-4, 2e-4, 1e-4))


def test_units_that_files_write_are_lengths(tmp_path):
    for unit, size in (("inch", 25.4), ("inches", 25.4), ("pixels", None), ("nm", 1e-6), ("Å", 1e-7)):
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(path, np.zeros((5, 6), np.uint8), metadata={
            "axes": "YX", "PhysicalSizeX": 1, "PhysicalSizeXUnit": unit, "PhysicalSizeY": 1, "PhysicalSizeYUnit": unit
        })  # fmt: skip
        found = sx.read_image(path).spacing_mm
        assert found == (None if size is None else pytest.approx((size, size)))


def test_axes_of_a_zarr_array_that_nothing_names_are_asked(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("raw", data=np.zeros((2, 3, 4, 5)))
    path = tmp_path / "a.zarr" / "raw"
    with pytest.raises(UserError, match=r"does not say what its 4 axes \(2 x 3 x 4 x 5\) are"):
        sx.read_image(path)
    assert sx.read_image(path, axes="CZYX").channels == 2
