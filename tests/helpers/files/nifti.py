"""NIfTI files, written as tests need them."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np

from napari_segxai.io import read_image, write_volume
from napari_segxai.io.layer_data import layer_from_image
from napari_segxai.io.layer_image import image_from_layer

SHAPE = (4, 5, 6)


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
