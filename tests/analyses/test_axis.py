"""A 2D model on a volume: the axis across which its slices lie, in Python, on the command line and in the record."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_across_any_axis(axis):
    flat = planted_image()
    model = sx.load_model(PatchSwitch(patch_of(2)), card=card(grid={"size": [32, 32]}))
    volume = np.zeros((32, 32, 32), np.float32)
    np.moveaxis(volume, axis, 0)[5] = flat.array
    found = sx.explain(model, sx.Image(volume), "object", "seg-grad-cam", layer="mix", slice=5, axis=axis)
    wanted = sx.explain(model, flat, "object", "seg-grad-cam", layer="mix")
    np.testing.assert_array_equal(np.moveaxis(found.map, axis, 0)[5], wanted.map)
    assert not np.delete(np.moveaxis(found.prediction, axis, 0), 5, 0).any()
    assert (found.record.slice, found.record.axis) == (5, axis)
    flow = sx.information_flow(model, sx.Image(volume), slice=5, axis=axis)
    np.testing.assert_allclose(
        flow.tiles["object", "mix"].map,
        sx.information_flow(model, flat).tiles["object", "mix"].map,
        atol=1e-6,
    )
    again = sx.evaluate(model, found, metrics=["dice-explained"])
    assert len(again.rows) == 1
    other = sx.Image(volume)
    with pytest.raises(sx.UserError, match="across axis"):
        sx.compare(model, other, "object", maps={"mine": found}, slice=5, axis=(axis + 1) % 3)


def test_a_wrong_axis_is_said():
    model = sx.load_model(PatchSwitch(patch_of(2)), card=card(grid={"size": [32, 32]}))
    with pytest.raises(sx.UserError, match="choose 0, 1 or 2"):
        sx.explain(model, sx.Image(np.zeros((4, 32, 32))), "object", slice=1, axis=3)
    with pytest.raises(sx.UserError, match="is for volumes"):
        sx.explain(model, planted_image(), "object", axis=0)


def test_on_the_command_line(tmp_path):
    picture = sx.read_image(resource("sample_data/images/triangle_1.png"))
    volume = np.zeros((picture.shape[0], 3, picture.shape[1]), np.float32)
    volume[:, 1] = picture.array
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    command = ["explain", str(tmp_path / "v.nii.gz"), "--model", "triangle", "--label", "triangle", "--out"]
    options = ["--method", "seg-grad-cam", "--slice", "1", "--axis", "1"]
    said = CliRunner().invoke(app, [*command, str(tmp_path / "out"), *options])
    assert said.exit_code == 0, said.output
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["slice"], record["axis"]) == (1, 1)


def test_sequences_in_the_fourth_axis_of_a_file_need_no_word(tmp_path):
    values = np.random.default_rng(0).random((32, 32, 1, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(np.repeat(values, 4, 2), np.eye(4)), tmp_path / "v.nii")
    image = sx.read_image(tmp_path / "v.nii")
    assert image.frames == 3
    model = sx.load_model("selfie")
    assert model.predict(image, slice=0).shape == (32, 32, 4)
