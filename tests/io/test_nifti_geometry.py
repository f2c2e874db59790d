"""NIfTI and FreeSurfer files: every geometry comes back."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from helpers.files.nifti import SHAPE, affine_of, oblique, raw_header, rotation, save, there_and_back, volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.layer_data import WORLD, index_to_world, layer_from_image
from napari_segxai.io.layer_image import image_from_layer

ORIENTATIONS = [
    tuple(axes[k][flip[k]] for k in range(3))
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for flip in itertools.product((0, 1), repeat=3)
]


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
