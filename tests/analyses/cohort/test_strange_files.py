"""Cohorts of files of which something has to be said."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
import tifffile
from helpers.networks import LinearHead, card, planted_image, planted_model
from PIL import Image as Picture

import napari_segxai as sx

VALUES = (planted_image().array * 255).astype(np.uint8)


@pytest.fixture
def model() -> sx.SegmentationModel:
    return sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))


def said(found: sx.Cohort) -> dict[str, str]:
    assert not found.failed
    return {row["case"]: row["warnings"] for row in found.objects}


def test_what_is_said_of_a_file_stands_in_its_row(model, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Picture.fromarray(VALUES).save(data / "plain.png")
    Picture.fromarray(np.stack([VALUES, VALUES], -1), "LA").save(data / "alpha.png")
    holed = VALUES.astype(np.float32)
    holed[3, 3] = np.nan
    tifffile.imwrite(data / "holed.tif", holed)
    mask = (VALUES > 200).astype(np.uint8)
    Picture.fromarray(np.stack([mask, mask * 0 + 255], -1), "LA").save(data / "plain_label.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody could tell which of hundreds of cases is meant
        found = sx.run_cohort(
            model, data, None, ["vanilla-gradient"], out=tmp_path / "out", channels={"how": ["between"]}
        )
    told = said(found)
    assert told["plain"].endswith("plain_label.png: the alpha channel is left out.")
    assert told["alpha"].endswith("alpha.png: the alpha channel is left out.")
    assert told["holed"].startswith("1 values that are not finite")


def test_a_volume_of_one_slice_has_no_ends(model, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    nib.save(nib.Nifti1Image(VALUES.T.astype(np.float32), np.eye(4)), data / "flat.nii.gz")
    deep = np.stack([VALUES.T, VALUES.T * 0, VALUES.T * 0], -1).astype(np.float32)
    nib.save(nib.Nifti1Image(deep, np.eye(4)), data / "deep.nii.gz")
    found = sx.run_cohort(model, data, None, ["vanilla-gradient"], out=tmp_path / "out")
    assert {row["case"]: row["touches_border"] for row in found.objects} == {"flat": False, "deep": True}
    assert said(found)["deep"] == "in 2 of 3 slices: all values that the network sees of the image are 0."


def test_images_of_several_times_are_refused_in_one_way(tmp_path):
    model = sx.load_model(LinearHead(3, inputs=2), card=card(3, channels=["t1", "flair"]))
    data = tmp_path / "data"
    data.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 3), np.float32), np.eye(4)), data / "a.nii.gz")
    found = sx.run_cohort(model, data, None, ["vanilla-gradient"], out=tmp_path / "out", flow=True)
    assert {row["error"] for row in found.failed} == {
        "a has 3 time points; choose one with image.frame(index), or save it as a file of its own"
    }
    assert len(found.failed) == 3
