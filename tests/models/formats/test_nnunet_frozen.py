"""Folders that nnU-Net itself trained, against what its own predictor made of a case; see scripts/make_nnunet_folders.py."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.windows.stitch import stitch
from napari_segxai.models.windows.tiling import Tiling

DATA = Path(__file__).parents[2] / "data" / "nnunet"

FOLDERS = ("Dataset901_Ct", "Dataset902_Regions", "Dataset903_Slices", "Dataset904_Cascade")

SECOND = "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"


@cache
def case(name: str) -> SimpleNamespace:
    """Model, image, prepared inputs in the order of the network's axes, and what was frozen."""
    folder = DATA / name
    images = [sx.read_image(path) for path in sorted((folder / "frozen").glob("case_*.nii.gz"))]
    image = images[0] if len(images) == 1 else sx.join_channels(images)
    model = sx.load_model(folder / SECOND if (folder / SECOND).is_dir() else folder)
    count = model.slices(image)
    inputs = [model.prepare(image, k) for k in ([None] if count is None else range(count))]
    inputs.sort(key=lambda one: one.placement.slice or 0)
    with model.in_use():
        given = [model.given(one) for one in inputs]
    frozen = np.load(folder / "frozen" / "predictor.npz")
    stack = (lambda found: found[0]) if count is None else (lambda found: np.stack(found, 1))
    return SimpleNamespace(model=model, image=image, inputs=inputs, given=given, frozen=frozen, stack=stack)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_network_s_input_is_nnunet_s_bit_for_bit(name):
    one = case(name)
    seen = one.stack(
        [model.complete(each.tensor)[0].numpy() for model, each in zip(one.given, one.inputs, strict=True)]
    )
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, one.frozen["input"])


@pytest.mark.parametrize("name", FOLDERS)
def test_logits_and_labels_are_nnunet_s(name):
    one = case(name)
    with torch.inference_mode():
        pairs = zip(one.given, one.inputs, strict=True)
        logits = one.stack([model.logits(each.tensor)[0].numpy() for model, each in pairs])
    theirs = one.frozen["logits_float32"]
    np.testing.assert_allclose(logits[-len(theirs) :], theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())
    predicted = one.model.predict(one.image)
    if one.model.overlapping:  # painted as nnU-Net paints regions
        predicted = np.max([k * mask for k, mask in enumerate(predicted, 1)], axis=0)
    labels = one.frozen["labels_float32"].transpose(2, 1, 0)
    assert len(np.unique(labels)) == len(one.model.labels)
    np.testing.assert_array_equal(predicted, labels)


@pytest.mark.parametrize("name", FOLDERS[:2])
def test_added_up_in_half_precision_logits_are_nnunet_s_to_the_last_digit(name):
    """nnU-Net adds windows up in float16, and averages mirrored views before; both change the last digits, and corners by more."""
    one = case(name)
    model, x = one.model, one.inputs[0].tensor
    axes = [axis + 2 for axis in model.windows.mirror]
    views = [each for n in range(len(axes) + 1) for each in itertools.combinations(axes, n)]

    def run(windows):
        total = model.module(windows)
        for view in views[1:]:
            total = total + model.module(windows.flip(view)).flip(view)
        return total / len(views)

    plain = Tiling(replace(model.windows, mirror=()), tuple(x.shape[2:]))
    with torch.inference_mode():
        logits = stitch(run, x, plain, dtype=torch.float16)[0].numpy()
    theirs = one.frozen["logits"]
    assert logits.dtype == theirs.dtype
    assert (logits == theirs).mean() > 0.99  # all of them where convolutions are computed as they were then
    np.testing.assert_allclose(logits.astype(float), theirs.astype(float), rtol=1e-3, atol=1e-2)
    labels = np.asarray(one.frozen["labels"] != one.frozen["labels_float32"])
    assert not labels.any()  # what half precision changes here is not enough for a label


def test_a_folder_of_two_folds_is_the_mean_of_both():
    one = case("Dataset903_Slices")
    root = next((DATA / "Dataset903_Slices").glob("*__2d"))
    x = one.inputs[3].tensor
    with torch.inference_mode():
        each = [sx.load_model(root / fold).logits(x) for fold in ("fold_0", "fold_1")]
        np.testing.assert_allclose(one.model.logits(x), (each[0] + each[1]) / 2, atol=1e-5)


def test_what_is_explained_is_what_is_predicted():
    one = case("Dataset901_Ct")
    found = sx.explain(one.model, one.image, sx.Target("organ"), "seg-hires-grad-cam", layer="bottleneck")
    np.testing.assert_array_equal(found.prediction, one.model.predict(one.image))
    assert found.map.shape == one.image.spatial_shape
    assert np.abs(found.map).max() > 0


def test_the_first_stage_of_a_cascade_predicts_what_nnunet_wrote_of_it():
    folder = DATA / "Dataset904_Cascade"
    first = sx.load_model(next(folder.glob("*__3d_lowres")))
    written = sx.read_image(folder / "frozen" / "first_stage.nii.gz").array
    np.testing.assert_array_equal(first.predict(case("Dataset904_Cascade").image), written)
    assert len(np.unique(written)) == 3
