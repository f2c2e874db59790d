"""NIfTI files: what the header says, more axes, other containers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.files.nifti import SHAPE, affine_of, oblique, raw_header, save, there_and_back, volume

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.layer_data import layer_from_image, layers_from_image
from napari_segxai.io.layer_image import image_from_layer
from napari_segxai.io.nifti.write import write_nifti

DATA = Path(nib.__file__).parent / "tests" / "data"


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
