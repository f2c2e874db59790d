"""NIfTI and FreeSurfer files: geometry, exact return, damaged files, the label rule."""

from __future__ import annotations

import gzip
import itertools
import struct
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.layer_data import WORLD, index_to_world, layer_from_image, layers_from_image
from napari_segxai.io.layer_image import image_from_layer
from napari_segxai.io.nifti.read import is_label_volume, read_nifti, write_nifti

DATA = Path(nib.__file__).parent / "tests" / "data"
SHAPE = (4, 5, 6)
ORIENTATIONS = [
    tuple(axes[k][flip[k]] for k in range(3))
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for flip in itertools.product((0, 1), repeat=3)
]


def affine_of(codes, spacing=(1.5, 2.0, 2.5), origin=(-10.0, 20.0, 30.5)):
    """Return the affine with these axis codes."""
    out = np.eye(4)
    out[:3, :3] = 0
    for k, code in enumerate(codes):
        axis = next(a for a, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        out[axis, k] = spacing[k] if code in "RAS" else -spacing[k]
    out[:3, 3] = origin
    return out


def rotation(degrees, axis=(1.0, 2.0, 3.0)):
    a = np.asarray(axis) / np.linalg.norm(axis)
    k = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    t = np.deg2rad(degrees)
    return np.eye(3) + np.sin(t) * k + (1 - np.cos(t)) * k @ k


def oblique(degrees=17.0, codes="LAS", **kwargs):
    out = affine_of(codes, **kwargs)
    out[:3, :3] = rotation(degrees) @ out[:3, :3]
    return out


def volume(shape=SHAPE, dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(-900, 900, shape).astype(dtype)


def save(path, data, affine, *, klass=nib.Nifti1Image, codes=(1, 1), dtype=None, **fields):
    image = klass(data, None, dtype=dtype)
    image.header.set_sform(affine, code=codes[0])
    image.header.set_qform(affine, code=codes[1])
    for name, value in fields.items():
        image.header[name] = value
    image._affine = image.header.get_best_affine()
    nib.save(image, path)
    return path


def raw_header(path):
    with (gzip.open if str(path).endswith("gz") else open)(path, "rb") as file:
        size = struct.unpack("<i", file.read(4))[0]
        file.seek(0)
        return file.read(540 if 540 in (size, struct.unpack(">i", struct.pack("<i", size))[0]) else 348)


def there_and_back(source, target, change=None, kind="image"):
    """Read a file, turn it into a layer and back, and write it."""
    array, meta = layer_from_image(read_image(source))
    if change is not None:
        array = change(array)
    image = image_from_layer(array, meta)
    write_volume(target, image.array, image, kind=kind)
    return array, meta


# --- geometry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_storage_order_comes_back(tmp_path, codes):
    affine, data = affine_of(codes), volume()
    source = save(tmp_path / "a.nii.gz", data, affine, codes=(1, 2))
    image = read_image(source)
    assert image.codes == codes
    np.testing.assert_array_equal(image.array, data)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)

    array, meta = there_and_back(source, tmp_path / "b.nii.gz")
    assert "affine" not in meta
    assert min(meta["scale"]) > 0
    shown = image_from_layer(array, meta)
    assert shown.codes == orientation.DISPLAY
    assert shown.to_display == ((0, 1, 2), (False,) * 3)
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj), data)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL"])
@pytest.mark.parametrize("degrees", [3.0, 17.0, 45.0, 60.0])
def test_oblique_comes_back(tmp_path, codes, degrees):
    source = save(tmp_path / "a.nii", volume(), oblique(degrees, codes))
    _, meta = there_and_back(source, tmp_path / "b.nii")
    assert "affine" in meta
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()


def test_a_volume_turned_by_half_a_right_angle_comes_back(tmp_path):
    for degrees in (45.0, 135.0, 225.0):
        for axis in ((0, 0, 1), (0, 1, 0), (1, 0, 0)):
            affine = affine_of("RAS", spacing=(2, 2, 2))
            affine[:3, :3] = rotation(degrees, axis) @ affine[:3, :3]
            source = save(tmp_path / "a.nii", volume(), affine)
            there_and_back(source, tmp_path / "b.nii")
            assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("corner", list(itertools.product("RL", "AP", "SI")), ids="".join)
def test_upright_and_not_mirrored(tmp_path, corner):
    """A voxel at a known corner of the head is at the right corner of the screen."""
    for codes in ("RAS", "LPS", "SRA", "PIL"):
        data = np.zeros(SHAPE, np.int16)
        data[tuple(-1 if code in corner else 0 for code in codes)] = 1000
        array, meta = layer_from_image(read_image(save(tmp_path / "a.nii", data, affine_of(codes))))
        right, anterior, superior = (want in corner for want in "RAS")
        # the first index is the top slice, the first row is anterior, the first column is the patient's right
        assert array[0 if superior else -1, 0 if anterior else -1, 0 if right else -1] == 1000
        assert np.linalg.det(np.diag(meta["scale"])) > 0


def test_layer_world_is_minus_sar(tmp_path):
    rng = np.random.default_rng(3)
    for affine in (affine_of("LPS"), oblique(20, "PIR"), oblique(0.001), oblique(45, "RAS")):
        image = read_image(save(tmp_path / "a.nii", volume((17, 23, 31)), affine))
        array, meta = layer_from_image(image)
        world = index_to_world(meta, 3)
        for index in rng.integers(0, np.array(array.shape), (20, 3)):
            ras = nib.affines.apply_affine(image.affine, image.index_from_display(index))
            np.testing.assert_allclose((world @ [*index, 1])[:3], -ras[::-1], atol=1e-4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codes=st.sampled_from(ORIENTATIONS),
    degrees=st.floats(-180, 180),
    axis=st.tuples(*[st.floats(0.1, 1)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 9)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_any_affine_comes_back(codes, degrees, axis, spacing, origin, tmp_path_factory):
    affine = affine_of(codes, spacing, origin)
    affine[:3, :3] = rotation(degrees, axis) @ affine[:3, :3]
    image = Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine=affine)
    array, meta = layer_from_image(image)
    back = image_from_layer(array, meta)
    np.testing.assert_allclose(WORLD @ back.affine[:3, :3], index_to_world(meta, 3)[:3, :3], atol=1e-4)
    target = tmp_path_factory.mktemp("any") / "b.nii"
    write_volume(target, back.array, back)
    again = nib.load(target)
    np.testing.assert_allclose(again.affine, affine, atol=1e-3)
    np.testing.assert_array_equal(again.dataobj, image.array)


def test_results_on_the_grid(tmp_path):
    source = save(
        tmp_path / "a.nii.gz", volume(), oblique(), cal_max=700, descrip=b"scanner", intent_code=1001
    )
    image = read_image(source)
    saliency = np.random.default_rng(0).normal(size=image.spatial_shape).astype(np.float32)
    write_volume(tmp_path / "map.nii.gz", saliency, image, description="seg-grad-cam")
    out = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(out.affine, nib.load(source).affine)
    np.testing.assert_array_equal(out.dataobj, saliency)
    assert out.get_data_dtype() == np.float32
    assert out.header["cal_max"] == 0
    assert out.header["intent_code"] == 0
    assert out.header["descrip"].item() == b"seg-grad-cam"

    mask = saliency > 0
    write_volume(tmp_path / "mask.nii.gz", mask, image, kind="labels")
    out = nib.load(tmp_path / "mask.nii.gz")
    assert out.get_data_dtype() == np.uint8
    assert out.header["intent_code"] == 1002
    np.testing.assert_array_equal(out.dataobj, mask)

    stages = np.stack([saliency, saliency * 2])
    write_volume(tmp_path / "stages.nii.gz", stages, image)
    np.testing.assert_array_equal(nib.load(tmp_path / "stages.nii.gz").get_fdata()[..., 1], saliency * 2)

    # the same result on the axes of the layer lands at the same place
    shown = image_from_layer(*layer_from_image(image))
    turned = orientation.apply(saliency, image.to_display)
    write_volume(tmp_path / "shown.nii.gz", turned, shown)
    np.testing.assert_array_equal(nib.load(tmp_path / "shown.nii.gz").dataobj, saliency)
    with pytest.raises(UserError, match=r"bad\.nii\.gz.*does not lie on the grid"):
        write_volume(tmp_path / "bad.nii.gz", saliency[1:], image)


def test_edited_voxels_and_moved_layers(tmp_path):
    source = save(tmp_path / "a.nii.gz", volume(), oblique(codes="PSR"), codes=(2, 1))

    def paint(array):
        array = array.copy()
        array[0, 1, 2] = 321
        return array

    array, meta = there_and_back(source, tmp_path / "b.nii.gz", paint)
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    again = layer_from_image(read_image(tmp_path / "b.nii.gz"))[0]
    np.testing.assert_array_equal(again, array)

    shift = np.array(meta["affine"])
    shift[:3, 3] += (3, 2, 1)  # 3 mm down, 2 mm back, 1 mm to the left: S, A, R shrink
    image = image_from_layer(array, {**meta, "affine": shift})
    write_volume(tmp_path / "c.nii.gz", image.array, image)
    moved, still = nib.load(tmp_path / "c.nii.gz"), nib.load(source)
    np.testing.assert_allclose(moved.affine[:3, 3], still.affine[:3, 3] - [1, 2, 3], atol=1e-4)
    np.testing.assert_allclose(moved.affine[:3, :3], still.affine[:3, :3], atol=1e-5)
    assert moved.shape == still.shape
    assert moved.header["sform_code"] == 2

    # a layer that carries only the metadata lies where the file lies
    image = image_from_layer(array, {"metadata": meta["metadata"]})
    write_volume(tmp_path / "d.nii.gz", image.array, image)
    np.testing.assert_array_equal(nib.load(tmp_path / "d.nii.gz").affine, still.affine)


def test_layer_without_a_file(tmp_path):
    array = volume((3, 4, 5))
    meta = {
        "scale": (2.0, 1.0, 0.5), "translate": (10.0, 20.0, 30.0), "rotate": rotation(30), "shear": (0, 0, 0),
        "units": ("millimeter",) * 3, "name": "drawn",
    }  # fmt: skip
    image = image_from_layer(array, meta)
    assert image.affine is None
    assert image.spacing == (2.0, 1.0, 0.5)
    assert image.units == "mm"
    write_volume(tmp_path / "a.nii", array, image)
    out = nib.load(tmp_path / "a.nii")
    for index in ((0, 0, 0), (1, 2, 3), (2, 3, 4)):
        world = rotation(30) @ (np.array(index) * meta["scale"]) + meta["translate"]
        np.testing.assert_allclose(nib.affines.apply_affine(out.affine, index[::-1]), -world[::-1], atol=1e-4)
        assert out.dataobj[index[::-1]] == array[index]

    flat = image_from_layer(array[0], {"scale": (2, 3), "units": ("micrometer",) * 2})
    assert flat.spacing == (2.0, 3.0)
    write_volume(tmp_path / "b.nii", flat.array, flat)
    out = nib.load(tmp_path / "b.nii")
    assert out.shape == (5, 4, 1)
    np.testing.assert_allclose(out.header.get_zooms()[:2], (3e-3, 2e-3))

    # metadata of a file with another grid says nothing about this layer
    other = layer_from_image(read_image(save(tmp_path / "c.nii", volume(), np.eye(4))))[1]
    assert image_from_layer(array, {**meta, "metadata": other["metadata"]}).affine is None
    with pytest.raises(UserError, match="six: a layer with 6 axes"):
        image_from_layer(np.zeros((2,) * 6), {"name": "six"})


# --- what the header says ---------------------------------------------------------------------------------


def test_sform_and_qform_disagree(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_qform(affine_of("RAS", origin=(0, 0, 0)), code=1)
    header.set_sform(affine_of("RAS", origin=(3, 4, 0)), code=2)
    nib.save(nib.Nifti1Image(volume(), None, header), tmp_path / "a.nii")
    with pytest.warns(UserWarning, match=r"a\.nii.*disagree by up to 5 mm"):
        image = read_image(tmp_path / "a.nii")
    np.testing.assert_allclose(image.affine[:3, 3], (3, 4, 0))
    with pytest.warns(UserWarning, match="disagree"):
        there_and_back(tmp_path / "a.nii", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_qform_only_and_neither(tmp_path):
    source = save(tmp_path / "a.nii", volume(), oblique(30), codes=(0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there_and_back(source, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()
    source = save(tmp_path / "none.nii", volume(), affine_of("LAS"), codes=(0, 0))
    with pytest.warns(UserWarning, match=r"none\.nii.*does not say where it lies"):
        image = read_image(source)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)


@pytest.mark.parametrize("unit", [1, 2, 3, 0])
def test_spatial_units(tmp_path, unit):
    factor = {0: 1, 1: 1e3, 2: 1, 3: 1e-3}[unit]
    affine = affine_of("LPS")
    affine[:3] /= factor
    source = save(tmp_path / "a.nii.gz", volume(), affine, xyzt_units=unit)
    image = read_image(source)
    np.testing.assert_allclose(image.spacing, (1.5, 2.0, 2.5), rtol=1e-5)
    assert image.units == "mm"
    _, meta = there_and_back(source, tmp_path / "b.nii.gz")
    assert meta["units"] == ("mm",) * 3
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    shifted = image.affine.copy()
    shifted[0, 3] += 5
    moved = replace(image, affine=shifted)
    write_volume(tmp_path / "c.nii.gz", moved.array, moved)
    np.testing.assert_allclose(read_image(tmp_path / "c.nii.gz").affine, moved.affine, rtol=1e-5)


def test_scaled_integers(tmp_path):
    raw = nib.Nifti1Image(volume(), affine_of("RPI"))
    raw.header.set_slope_inter(0.25, -3)
    nib.save(raw, tmp_path / "a.nii")
    reference = nib.load(tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.array, reference.get_fdata())
    there_and_back(tmp_path / "a.nii", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()
    there_and_back(tmp_path / "a.nii", tmp_path / "c.nii", lambda array: array + 0.1)
    np.testing.assert_array_equal(nib.load(tmp_path / "c.nii").get_fdata(), reference.get_fdata() + 0.1)


def test_an_integer_shift_stays_integer(tmp_path):
    raw = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(SHAPE), np.eye(4))
    raw.header.set_slope_inter(1, -1024)
    nib.save(raw, tmp_path / "ct.nii")
    image = read_image(tmp_path / "ct.nii")
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array, nib.load(tmp_path / "ct.nii").get_fdata())
    there_and_back(tmp_path / "ct.nii", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "ct.nii").read_bytes()


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4", ">i8"]
)
def test_data_types(tmp_path, dtype):
    data = np.abs(volume(dtype=np.int32) % 100).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    header.set_sform(affine_of("ALS"), code=1)
    header.set_data_shape(SHAPE)
    nib.save(nib.Nifti1Image(data, None, header), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.array.dtype.isnative
    assert image.array.flags.writeable
    np.testing.assert_array_equal(image.array, data)
    there_and_back(tmp_path / "a.nii", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_written_types(tmp_path):
    image = Image(np.zeros(SHAPE), affine=np.eye(4))
    for array, kind, expected in (
        (np.ones(SHAPE, np.int64), "labels", np.uint8),
        (np.full(SHAPE, 300, np.int64), "labels", np.int16),
        (np.full(SHAPE, 40000, np.uint64), "labels", np.uint16),
        (np.full(SHAPE, 70000, np.int64), "labels", np.int32),
        (np.full(SHAPE, -1, np.int64), "labels", np.int16),
        (np.full(SHAPE, 2**40, np.int64), "labels", np.int64),
        (np.ones(SHAPE, bool), "labels", np.uint8),
        (np.ones(SHAPE, np.float64), "labels", np.uint8),
        (np.ones(SHAPE, np.float16), "image", np.float32),
        (np.ones(SHAPE, bool), "image", np.uint8),
        (np.ones(SHAPE, np.float64), "image", np.float64),
    ):
        write_nifti(tmp_path / "a.nii", array, image, kind=kind)
        out = nib.load(tmp_path / "a.nii")
        assert out.get_data_dtype() == expected, (array.dtype, array.flat[0])
        np.testing.assert_array_equal(out.dataobj, array)
    with pytest.raises(UserError, match=r"a\.nii.*whole numbers"):
        write_nifti(tmp_path / "a.nii", np.full(SHAPE, 0.5), image, kind="labels")
    with pytest.raises(UserError, match=r"a\.nii.*complex"):
        write_nifti(tmp_path / "a.nii", np.full(SHAPE, 1j), image)
    with pytest.raises(UserError, match="cannot be written"):
        write_nifti(tmp_path / "no folder" / "a.nii", image.array, image)
    with pytest.raises(UserError, match=r"a\.xyz"):
        write_volume(tmp_path / "a.xyz", image.array, image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii"]  # no left-overs


def test_labels_come_back(tmp_path):
    data = (np.abs(volume()) % 5).astype(np.int32)
    source = save(tmp_path / "labels.nii.gz", data, oblique(codes="IPR"), intent_code=1002)
    there_and_back(source, tmp_path / "b.nii.gz", kind="labels")
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    there_and_back(source, tmp_path / "c.nii.gz", lambda a: a.astype(np.int64), kind="labels")
    out = nib.load(tmp_path / "c.nii.gz")
    assert out.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(out.dataobj, data)
    np.testing.assert_array_equal(out.affine, nib.load(source).affine)


# --- more axes --------------------------------------------------------------------------------------------


def test_time_series(tmp_path):
    source = save(tmp_path / "a.nii.gz", volume((4, 5, 6, 7)), oblique(), xyzt_units=2 + 16, toffset=250)
    raw = nib.load(source)
    raw.header["pixdim"][4] = 2000
    nib.save(raw, source)
    image = read_image(source)
    assert image.time_axis == 3
    assert image.frames == 7
    array, meta = there_and_back(source, tmp_path / "b.nii.gz")
    assert array.shape[0] == 7
    assert meta["scale"][0] == 2000
    assert meta["translate"][0] == 250
    assert meta["units"] == ("ms", "mm", "mm", "mm")
    assert meta["axis_labels"] == ("t", "I", "P", "L")
    assert meta["affine"].shape == (5, 5)
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    frame = image_from_layer(array, meta).frame(3)
    np.testing.assert_array_equal(frame.array, layer_from_image(image.frame(3))[0])
    # a map of one frame is a volume at the same place
    write_volume(tmp_path / "c.nii.gz", np.zeros(image.spatial_shape), image)
    assert nib.load(tmp_path / "c.nii.gz").shape == SHAPE
    # the fourth axis may be channels
    channels = read_image(source, channel_axis=3)
    assert channels.channels == 7
    assert channels.time_axis is None
    write_volume(tmp_path / "d.nii.gz", channels.array, channels)
    assert raw_header(tmp_path / "d.nii.gz") == raw_header(source)
    with pytest.raises(UserError, match=r"a\.nii\.gz.*first three axes"):
        read_image(source, channel_axis=0)


def test_time_series_of_a_layer(tmp_path):
    meta = {"scale": (0.5, 2, 2, 2), "translate": (1.5, 0, 0, 0), "units": ("second", "mm", "mm", "mm")}
    image = image_from_layer(volume((7, 3, 4, 5)), meta)
    assert image.time_axis == 0
    write_volume(tmp_path / "a.nii", image.array, image)
    out = nib.load(tmp_path / "a.nii")
    assert out.shape == (5, 4, 3, 7)
    assert out.header.get_zooms() == (2, 2, 2, 0.5)
    assert out.header.get_xyzt_units() == ("mm", "sec")
    assert out.header["toffset"] == 1.5


@pytest.mark.parametrize(
    "shape", [(4, 5, 6, 1, 3), (4, 5, 6, 7, 3), (4, 5, 6, 1), (4, 5), (4, 5, 6, 1, 1), (9,)]
)
def test_odd_numbers_of_axes(tmp_path, shape):
    source = save(tmp_path / "a.nii.gz", volume(shape, np.float32), oblique())
    image = read_image(source)
    assert image.channels == (3 if shape[-1] == 3 else 1)
    assert image.frames == (7 if 7 in shape else 1)
    assert image.spatial_shape == (*shape, 1, 1)[:3]
    if image.channels == 3:
        layers = layers_from_image(image)
        assert len(layers) == 3
        write_nifti(tmp_path / "b.nii.gz", image.array, image)
        one = image_from_layer(*layers[1][:2])
        write_volume(tmp_path / "c.nii.gz", one.array, one)
        np.testing.assert_array_equal(
            np.squeeze(nib.load(tmp_path / "c.nii.gz").dataobj), image.array[..., 1]
        )
    else:
        there_and_back(source, tmp_path / "b.nii.gz")
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii.gz").dataobj, nib.load(source).dataobj)


@pytest.mark.parametrize(("letters", "shape"), [("RGB", SHAPE), ("RGBA", SHAPE), ("RGB", (4, 5, 6, 2))])
def test_colours(tmp_path, letters, shape):
    dtype = np.dtype([(c, "u1") for c in letters])
    data = np.random.default_rng(0).integers(0, 255, (*shape, len(letters)), np.uint8)
    source = save(tmp_path / "a.nii.gz", data.view(dtype)[..., 0], affine_of("LSA"))
    image = read_image(source)
    np.testing.assert_array_equal(image.array, data)
    assert image.channels == len(letters)
    array, meta = there_and_back(source, tmp_path / "b.nii.gz")
    assert meta["rgb"] is True
    assert array.shape[-1] == len(letters)
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    written = np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj)
    for k, letter in enumerate(letters):
        np.testing.assert_array_equal(written[letter], data[..., k])


# --- other containers -------------------------------------------------------------------------------------


def test_nifti2_pairs_and_capitals(tmp_path):
    data, affine = volume(), oblique()
    source = save(tmp_path / "a.nii.gz", data, affine, klass=nib.Nifti2Image)
    there_and_back(source, tmp_path / "b.nii.gz")
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    for klass in (nib.Nifti1Pair, nib.Nifti2Pair):
        save(tmp_path / "p.img", data, affine, klass=klass)
        for name in ("p.img", "p.hdr"):
            image = read_image(tmp_path / name)
            np.testing.assert_array_equal(image.array, data)
            there_and_back(tmp_path / name, tmp_path / "c.nii")
            np.testing.assert_array_equal(
                nib.load(tmp_path / "c.nii").affine, nib.load(tmp_path / "p.img").affine
            )
    source.rename(tmp_path / "A.NII.GZ")
    assert read_image(tmp_path / "A.NII.GZ").name == "A"


def test_extensions_are_kept_with_the_image_only(tmp_path):
    raw = nib.Nifti1Image(volume(), np.eye(4))
    raw.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"patient"))
    nib.save(raw, tmp_path / "a.nii")
    there_and_back(tmp_path / "a.nii", tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").header.extensions[0].get_content() == b"patient"
    image = read_image(tmp_path / "a.nii")
    write_volume(tmp_path / "c.nii", np.zeros(SHAPE), image)
    assert not nib.load(tmp_path / "c.nii").header.extensions


@pytest.mark.parametrize("ending", [".mgz", ".mgh"])
def test_freesurfer(tmp_path, ending):
    data, affine = volume(dtype=np.int32), oblique(codes="LIA")
    nib.save(nib.MGHImage(data, affine), tmp_path / f"a{ending}")
    image = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(image.array, data)
    np.testing.assert_array_equal(image.affine, nib.load(tmp_path / f"a{ending}").affine)
    there_and_back(tmp_path / f"a{ending}", tmp_path / "b.nii")
    out = nib.load(tmp_path / "b.nii")
    np.testing.assert_allclose(out.affine, image.affine, atol=1e-4)
    np.testing.assert_array_equal(out.dataobj, data)
    assert out.header["sform_code"] == 1


@pytest.mark.parametrize(
    "name",
    ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz",
     "reoriented_anat_moved.nii", "resampled_anat_moved.nii"],
)  # fmt: skip
def test_files_of_nibabel(tmp_path, name):
    source = DATA / name
    if not source.exists():
        pytest.skip("nibabel was installed without its test data")
    there_and_back(source, tmp_path / "b.nii.gz")
    assert raw_header(tmp_path / "b.nii.gz") == raw_header(source)
    ours, theirs = nib.load(tmp_path / "b.nii.gz"), nib.load(source)
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
    assert len(ours.header.extensions) == len(theirs.header.extensions)


# --- bad files --------------------------------------------------------------------------------------------


def _patched(**fields):
    """Return a writer of a file whose header has these fields, though they are wrong."""

    def write(path):
        save(path, volume(), affine_of("RAS"))
        content = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        path.write_bytes(bytes(content))

    return write


def _cut(path, keep, ending=".nii"):
    whole = path.with_name("whole" + ending)
    save(whole, volume((20, 20, 20)), np.eye(4))
    path.write_bytes(whole.read_bytes()[:keep])
    whole.unlink()


def _flip(path):
    _cut(path, None, ".nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _checksum(path):
    _cut(path, None, ".nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))


def _bomb(path):
    _patched(dim=[3, 30000, 30000, 30, 1, 1, 1, 1])(path.with_name("b.nii"))
    path.write_bytes(gzip.compress(path.with_name("b.nii").read_bytes()))
    path.with_name("b.nii").unlink()


def _header_only_pair(path):
    save(path.with_suffix(".img"), volume(), np.eye(4), klass=nib.Nifti1Pair)
    path.with_suffix(".img").unlink()


def _analyze(path):
    nib.save(nib.AnalyzeImage(volume(), np.eye(4)), path.with_suffix(".img"))


def _bad_mgh(path):
    nib.save(nib.MGHImage(volume(dtype=np.int32), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[4:8] = (-5).to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(content))


NAN = float("nan")
BAD = {
    "empty.nii": (lambda p: p.write_bytes(b""), "empty"),
    "empty.nii.gz": (lambda p: p.write_bytes(b""), "empty"),
    "text.nii": (lambda p: p.write_text("patient,age\n" * 99), "NIfTI header"),
    "text.nii.gz": (lambda p: p.write_text("hello " * 99), "not compressed"),
    "zipped text.nii.gz": (lambda p: p.write_bytes(gzip.compress(b"hello " * 99)), "NIfTI header"),
    "noise.nii": (lambda p: p.write_bytes(np.random.default_rng(0).bytes(2000)), "NIfTI header"),
    "missing.nii": (lambda p: None, "no such file"),
    "folder.nii": (lambda p: p.mkdir(), "folder"),
    "header.nii": (lambda p: _cut(p, 200), "ends within its header"),
    "truncated.nii": (lambda p: _cut(p, 5000), "truncated"),
    "truncated.nii.gz": (lambda p: _cut(p, 5000, ".nii.gz"), "truncated"),
    "start.nii.gz": (lambda p: _cut(p, 15, ".nii.gz"), "truncated"),
    "damaged.nii.gz": (_flip, "gzip|damaged"),
    "checksum.nii.gz": (_checksum, "damaged"),
    "bomb.nii.gz": (_bomb, "truncated"),
    "packed.nii": (lambda p: _cut(p, None, ".nii.gz"), "name it .nii.gz"),
    "plain.nii.gz": (lambda p: _cut(p, None, ".nii"), "not compressed"),
    "negative.nii": (_patched(dim=[3, -4, 5, 6, 1, 1, 1, 1]), "at least 1"),
    "nothing.nii": (_patched(dim=[3, 4, 0, 6, 1, 1, 1, 1]), "at least 1"),
    "dimensions.nii": (_patched(dim=[99, 4, 5, 6, 1, 1, 1, 1]), "dimensions"),
    "huge.nii": (_patched(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "TiB"),
    "large.nii": (_patched(dim=[3, 400, 500, 600, 1, 1, 1, 1]), "truncated"),
    "six.nii": (_patched(dim=[6, 1, 5, 6, 1, 1, 4, 1]), "too many dimensions"),
    "magic.nii": (_patched(magic=b"n+9"), "magic"),
    "half.nii": (_patched(magic=b"ni1"), "pair"),
    "type.nii": (_patched(datatype=77), "unknown"),
    "bits.nii": (_patched(datatype=1, bitpix=1), "not supported"),
    "complex.nii": (_patched(datatype=32, bitpix=64, dim=[3, 2, 2, 2, 1, 1, 1, 1]), "complex"),
    "offset.nii": (_patched(vox_offset=NAN), "begin at byte"),
    "far.nii": (_patched(vox_offset=1e9), "truncated"),
    "tiny.nii": (_patched(srow_y=[0, 1e-38, 0, 0]), "singular"),
    "singular.nii": (_patched(srow_z=[0, 0, 0, 0]), "singular"),
    "nan.nii": (_patched(srow_x=[NAN, 0, 0, 0]), "NaN"),
    "infinite.nii": (_patched(srow_x=[1, 0, 0, np.inf]), "NaN"),
    "quaternion.nii": (_patched(sform_code=0, quatern_b=9), "cannot be read|NaN|affine"),
    "alone.hdr": (_header_only_pair, "alone.img"),
    "old.hdr": (_analyze, "Analyze"),
    "bad.mgh": (_bad_mgh, "at least 1"),
    "text.mgz": (lambda p: p.write_text("hello " * 99), "not compressed"),
    "text.mgh": (lambda p: p.write_text("hello " * 99), "FreeSurfer"),
    "image.xyz": (lambda p: p.write_text("x"), "not an image format"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, name):
    make, reason = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=reason) as caught:
        read_image(tmp_path / name)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(tmp_path))


def test_more_than_the_memory(tmp_path, monkeypatch):
    save(tmp_path / "a.nii", volume(), np.eye(4))
    monkeypatch.setattr("napari_segxai.io.nifti.checks._memory", lambda: 100)
    with pytest.raises(UserError, match=r"a\.nii.*memory"):
        read_image(tmp_path / "a.nii")


def test_not_a_number_stays(tmp_path):
    data = volume(dtype=np.float32)
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    image = read_image(save(tmp_path / "a.nii.gz", data, np.eye(4)))
    np.testing.assert_array_equal(image.array, data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 351), st.binary(min_size=1, max_size=8))
def test_no_header_brings_the_reader_down(tmp_path, position, noise):
    path = tmp_path / "fuzz.nii"
    if not (tmp_path / "base.nii").exists():
        save(tmp_path / "base.nii", volume(), oblique())
    content = bytearray((tmp_path / "base.nii").read_bytes())
    content[position : position + len(noise)] = noise
    path.write_bytes(bytes(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layer_from_image(read_nifti(path))
            message = path.name
        except UserError as error:
            message = str(error)
    assert path.name in message


# --- labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "name", "intent", "expected"),
    [
        (np.arange(120), "t1.nii", 0, False),
        (np.arange(120), "t1.nii", 1002, True),
        (np.arange(120), "t1_seg.nii.gz", 0, True),
        (np.arange(120), "sub-01_desc-aparcaseg_dseg.nii.gz", 0, True),
        (np.arange(120), "aparc+aseg.mgz", 0, True),
        (np.arange(120), "brainmask.mgz", 0, False),
        (np.arange(120), "T1_masked.nii", 0, False),
        (np.arange(120), "tissueLabels.nii", 0, True),
        (np.arange(120) - 1000, "ct_seg.nii", 0, False),
        (np.arange(120) % 64, "t1.nii", 0, True),
        (np.arange(120) % 65, "t1.nii", 0, False),
        (np.arange(120) % 5 + 1, "t1.nii", 0, False),
        (np.arange(120) % 5 - 1, "t1.nii", 0, False),
        ((np.arange(120) % 2).astype(np.uint8), "scan.nii", 0, True),
        ((np.arange(120) % 2 * 255).astype(np.uint8), "scan.nii", 0, True),
        ((np.arange(120) % 2 * 10**9).astype(np.int64), "scan.nii", 0, True),
        ((np.arange(120) % 3).astype(np.float32), "seg.nii", 1002, False),
        (np.zeros(0, np.uint8), "seg.nii", 0, False),
    ],
)
def test_label_rule(array, name, intent, expected):
    assert is_label_volume(array, name=name, intent=intent) is expected


def test_label_rule_counts_every_voxel():
    array = np.zeros((300, 300, 60), np.int16)
    array.reshape(-1)[7::80_000] = np.arange(1, 69)
    assert not is_label_volume(array)
    assert is_label_volume(np.minimum(array, 60))


# --- imports ----------------------------------------------------------------------------------------------


def test_importing_io_is_cheap():
    code = (
        "import sys, napari_segxai.io.layer_data, napari_segxai.gui.manifest.reader, napari_segxai.gui.manifest.writer\n"
        "print([m for m in ('nibabel', 'napari', 'qtpy', 'torch', 'tifffile', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("sform", "qform"), [(99, 0), (0, 77), (99, 77)])
def test_a_code_without_a_meaning_says_that_there_is_a_place(tmp_path, sform, qform):
    path = save(tmp_path / "a.nii", volume(), affine_of("RAS"))
    raw = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    header["sform_code"], header["qform_code"] = sform, qform
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match="has no meaning"):
        image = read_image(path)
    assert image.codes == ("R", "A", "S")
