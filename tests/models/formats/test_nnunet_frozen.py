"""Folders that nnU-Net itself trained, against what its own predictor made of a case; see scripts/make_nnunet_folders.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import napari_segxai as sx

DATA = Path(__file__).parents[2] / "data" / "nnunet"

FOLDERS = ("Dataset903_Slices",)


@cache
def case(name: str) -> SimpleNamespace:
    """Model, image, prepared inputs in the order of the network's axes, and what was frozen."""
    folder = DATA / name
    images = [sx.read_image(path) for path in sorted((folder / "frozen").glob("case_*.nii.gz"))]
    image = images[0] if len(images) == 1 else sx.join_channels(images)
    model = sx.load_model(folder)
    count = model.slices(image)
    inputs = [model.prepare(image, k) for k in ([None] if count is None else range(count))]
    inputs.sort(key=lambda one: one.placement.slice or 0)
    frozen = np.load(folder / "frozen" / "predictor.npz")
    stack = (lambda found: found[0]) if count is None else (lambda found: np.stack(found, 1))
    return SimpleNamespace(model=model, image=image, inputs=inputs, frozen=frozen, stack=stack)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_network_s_input_is_nnunet_s_bit_for_bit(name):
    one = case(name)
    seen = one.stack([each.tensor[0].numpy() for each in one.inputs])
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, one.frozen["input"])


@pytest.mark.parametrize("name", FOLDERS)
def test_logits_and_labels_are_nnunet_s(name):
    one = case(name)
    with torch.inference_mode():
        logits = one.stack([one.model.logits(each.tensor)[0].numpy() for each in one.inputs])
    theirs = one.frozen["logits_float32"]
    np.testing.assert_allclose(logits[-len(theirs) :], theirs, rtol=0, atol=1e-5)
    predicted = one.model.predict(one.image)
    if one.model.overlapping:  # painted as nnU-Net paints regions
        predicted = np.max([k * mask for k, mask in enumerate(predicted, 1)], axis=0)
    labels = one.frozen["labels_float32"].transpose(2, 1, 0)
    assert len(np.unique(labels)) == len(one.model.labels)
    np.testing.assert_array_equal(predicted, labels)


def test_half_precision_in_which_nnunet_adds_up_changes_few_voxels():
    """The number is told on the page of nnU-Net: with it, its labels are not ours everywhere."""
    changed = {}
    for name in FOLDERS:
        frozen = case(name).frozen
        changed[name] = int((frozen["labels"] != frozen["labels_float32"]).sum())
        assert np.abs(frozen["logits"].astype(np.float32) - frozen["logits_float32"]).max() < 2
    assert changed == {"Dataset903_Slices": 0}


def test_a_folder_of_two_folds_is_the_mean_of_both():
    one = case("Dataset903_Slices")
    root = next((DATA / "Dataset903_Slices").glob("*__2d"))
    x = one.inputs[3].tensor
    with torch.inference_mode():
        each = [sx.load_model(root / fold).logits(x) for fold in ("fold_0", "fold_1")]
        np.testing.assert_allclose(one.model.logits(x), (each[0] + each[1]) / 2, atol=1e-5)
