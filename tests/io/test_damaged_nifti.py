"""Damaged, strange and too large NIfTI and FreeSurfer files."""

from __future__ import annotations

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
from helpers.files.nifti import affine_of, oblique, save, volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_segxai.core.errors import UserError
from napari_segxai.io import read_image
from napari_segxai.io.layer_data import layer_from_image
from napari_segxai.io.nifti.read import read_nifti


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
    "loop.nii": (lambda p: p.symlink_to(p.name), "cannot be opened"),
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
    monkeypatch.setattr("napari_segxai.io.nifti.checks.machine_memory", lambda: 100)
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
