"""What is written for 3D Slicer, as ITK reads it, which Slicer reads images with: `make test-peers`."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.files.slicer import NAMES, oblique

import napari_segxai as sx
from napari_segxai.export.contents import Grid
from napari_segxai.io import write_volume
from napari_segxai.io.slicer.segmentation import Layer, Segment, write_segmentation


@pytest.mark.parametrize("left_handed", [False, True])
def test_itk_reads_values_places_and_names(tmp_path, left_handed):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(NAMES) + 1, (5, 6, 7)).astype(np.uint8)
    image = sx.Image(
        rng.normal(size=labels.shape).astype(np.float32), affine=oblique(left_handed=left_handed)
    )
    grid = Grid.of(image)
    write_volume(tmp_path / "map.nii.gz", image.array, grid.image)
    segments = {k: Segment(name, (k / 8, 0.5, 0.25)) for k, name in enumerate(NAMES, 1)}
    layers = [Layer(labels, segments), Layer(labels > 2, {1: Segment("SR", (1, 0, 0))})]
    layers = [Layer(grid.volume(layer.values), layer.segments) for layer in layers]
    write_segmentation(tmp_path / "regions.seg.nrrd", layers, grid.affine)
    volume, regions = (sitk.ReadImage(str(tmp_path / name)) for name in ("map.nii.gz", "regions.seg.nrrd"))
    values = sitk.GetArrayFromImage(regions)
    np.testing.assert_array_equal(values[..., 0].T, labels)
    np.testing.assert_array_equal(values[..., 1].T, labels > 2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume).T, image.array)
    for name in ("GetOrigin", "GetDirection", "GetSpacing"):
        np.testing.assert_allclose(getattr(regions, name)(), getattr(volume, name)(), atol=3e-6)
    index = (4, 0, 3)
    lps = np.array(regions.TransformIndexToPhysicalPoint(index))
    np.testing.assert_allclose(lps * [-1, -1, 1], grid.place(index), atol=1e-5)
    assert [regions.GetMetaData(f"Segment{k}_Name") for k in range(len(NAMES))] == NAMES
    assert regions.GetMetaData("Segment7_Layer") == "1"


def test_itk_refuses_what_is_refused_before(tmp_path):
    """An image whose axes lean is none for ITK either."""
    affine = oblique()
    affine[:3, 1] += 3e-4 * affine[:3, 0] / np.linalg.norm(affine[:3, 0]) * 1.3
    image = sx.Image(np.zeros((3, 4, 5), np.float32), affine=affine)
    with pytest.raises(sx.UserError, match="is sheared"):
        Grid.of(image)
    write_volume(tmp_path / "a.nii.gz", image.array, image)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "a.nii.gz"))
