"""Which volumes are labels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_segxai.io.nifti.labels import is_label_volume


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
