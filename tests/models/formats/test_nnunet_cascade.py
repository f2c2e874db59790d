"""The second stage of a cascade: it sees what the first stage predicted beside the image, and that is held fixed."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.nnunet import CONFIGURATION, DATASET, network, plans, write_results

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.models.formats.nnunet.plans import read_plans
from napari_segxai.models.preprocessing.label_image import LabelResampling

FIRST, SECOND = "3d_lowres", "3d_cascade_fullres"

SPACING = (2.0, 1.0, 1.0)


def told() -> dict:
    first = {**copy.deepcopy(CONFIGURATION), "spacing": [2.0, 2.0, 2.0], "next_stage": SECOND}
    second = {**copy.deepcopy(CONFIGURATION), "previous_stage": FIRST}
    return {**plans(), "configurations": {FIRST: first, SECOND: second}}


def balanced(module: torch.nn.Module, inputs: int) -> torch.nn.Module:
    """Move the outputs of an untrained network so that every label is drawn somewhere."""
    x = torch.randn(1, inputs, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    head = module.decoder.seg_layers[-1]
    with torch.no_grad():
        spread = module(x).std((0, 2, 3, 4))
        head.weight /= spread.view(-1, 1, 1, 1, 1)
        head.bias -= module(x).mean((0, 2, 3, 4))
    return module


def write_stage(folder: Path, stage: str, dataset: dict = DATASET, inputs: int | None = None, **more) -> Path:
    inputs = inputs or (1 if stage == FIRST else 3)
    module = balanced(network(inputs=inputs, seed=4), inputs)
    name = f"nnUNetTrainer__nnUNetPlans__{stage}"
    about = {"init_args": {"configuration": stage, "fold": 0}, "inference_allowed_mirroring_axes": (2,)}
    return write_results(folder, told=told(), dataset=dataset, module=module, name=name, **about, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set with both stages."""
    place = tmp_path_factory.mktemp("results") / "Dataset007_Spheres"
    for stage in (FIRST, SECOND):
        write_stage(place, stage)
    return place


def second_of(folder: Path) -> Path:
    return folder / f"nnUNetTrainer__nnUNetPlans__{SECOND}"


def first_of(folder: Path) -> Path:
    return folder / f"nnUNetTrainer__nnUNetPlans__{FIRST}"


@pytest.fixture(scope="module")
def image():
    values = np.random.default_rng(0).normal(40, 80, (10, 20, 24)).astype(np.float32)
    return sx.Image(values, spacing=SPACING, units="mm")


def reference(model, image, fixed):
    """The stitched logits as one graph, written out; and the image's channels, which take a gradient."""
    prepared = model.prepare(image)
    leaf = prepared.tensor.clone().requires_grad_(True)
    tiling = model.tiling(leaf.shape[2:])
    padded = tiling.pad(torch.cat([leaf, fixed], 1))
    out, total = 0, 0
    for corner in tiling.corners:
        place = tiling.place(corner)
        seen = padded[(..., *place)]
        found = (model.module(seen) + model.module(seen.flip(4)).flip(4)) / 2
        empty = torch.zeros((1, 3, *tiling.padded))
        weight = torch.zeros(tiling.padded)
        weight[place] = tiling.importance
        empty[(..., *place)] = found * tiling.importance
        out, total = out + empty, total + weight
    return (out / total)[(..., *tiling.inner)], leaf


def one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(labels == k) for k in (1, 2)])[None].float()


def test_the_network_sees_the_labels_of_the_first_stage_beside_the_image(folder, image):
    model, first = sx.load_model(second_of(folder)), sx.load_model(first_of(folder))
    assert model.card.channels == ("CT",)
    labels = first.predict(image)
    assert len(np.unique(labels)) > 1
    prepared = model.prepare(image)
    assert prepared.tensor.shape == (1, 1, 10, 20, 24)
    with model.in_use():
        given = model.given(prepared)
        torch.testing.assert_close(given.fixed, one_hot(labels), rtol=0, atol=0)
    logits, _ = reference(model, image, one_hot(labels))
    with torch.no_grad():
        torch.testing.assert_close(given.logits(prepared.tensor), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.predict(image), logits[0].argmax(0).numpy())
    blank, _ = reference(model, image, torch.zeros_like(given.fixed))
    assert not torch.equal(blank.argmax(1), logits.argmax(1))  # what the first stage says counts


def test_the_gradient_is_that_of_the_image_s_channels_with_the_first_stage_held_fixed(folder, image):
    model = sx.load_model(second_of(folder))
    labels = sx.load_model(first_of(folder)).predict(image)
    logits, leaf = reference(model, image, one_hot(labels))
    where = torch.zeros(10, 20, 24, dtype=torch.bool)
    where[2:5, 3:9, 4:11] = True
    (gradient,) = torch.autograd.grad(logits[0, 1][where].mean(), [leaf])
    found = sx.explain(model, image, sx.Target("organ", region=where.numpy()), "vanilla-gradient")
    expected = gradient[0, 0].abs().numpy()
    np.testing.assert_allclose(found.map, expected, atol=1e-6 * expected.max(), rtol=1e-4)
    [said] = [note for note in found.record.warnings if "held fixed" in note]
    assert "3d_lowres (fold 0)" in said
    assert "what is explained are the channels of the image" in said


METHODS = (
    "input-x-gradient",
    "seg-grad-cam",
    "seg-hires-grad-cam",
    "lrp",
    "occlusion",
    "rise",
    "kernel-shap",
    "integrated-gradients",
    "seg-ablation-cam",
)
SMALL = {
    "rise": {"masks": 8},
    "kernel-shap": {"samples": 8},
    "integrated-gradients": {"steps": 4},
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_explain_the_channels_of_the_image(method, folder, image):
    model = sx.load_model(second_of(folder))
    box = np.zeros(image.spatial_shape, bool)
    box[2:5, 3:9, 4:11] = True
    found = sx.explain(model, image, sx.Target("organ", region=box), method, **SMALL.get(method, {}))
    assert found.map.shape == image.spatial_shape
    assert np.isfinite(found.map).all()
    assert found.map.any()
    if method == "lrp":  # what reaches the first stage's labels is none of the image's
        results = found.record.results
        assert found.map.sum() == pytest.approx(results["input"], rel=1e-4)
        assert abs(results["gap"]) < 1e-5
        assert abs(results["biases"]) > 0


def test_what_the_first_stage_predicted_may_be_given(folder, image, tmp_path):
    model = sx.load_model(second_of(folder))
    own = model.predict(image)
    labels = sx.load_model(first_of(folder)).predict(image).astype(np.uint8)
    path = tmp_path / "volume.nii.gz"
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(np.asarray(image.array).transpose(2, 1, 0), affine), path)
    volume = sx.read_image(path)
    (tmp_path / "predicted").mkdir()
    given = tmp_path / "predicted" / "volume.nii.gz"
    nib.save(nib.Nifti1Image(labels.transpose(2, 1, 0), affine), given)
    for place in (given, given.parent, first_of(folder)):
        other = sx.load_model(second_of(folder), card={"previous_stage": str(place)})
        np.testing.assert_array_equal(other.predict(volume).transpose(2, 1, 0), own)
    nib.save(nib.Nifti1Image(np.zeros((24, 20, 10), np.uint8), affine), given)
    other = sx.load_model(second_of(folder), card={"previous_stage": str(given)})
    assert not np.array_equal(other.predict(volume).transpose(2, 1, 0), own)
    nib.save(nib.Nifti1Image(np.full((24, 20, 10), 7, np.uint8), affine), given)
    other = sx.load_model(second_of(folder), card={"previous_stage": str(given)})
    with pytest.raises(sx.UserError, match="holds 7, which is none of the values 0, 1, 2"):
        other.predict(volume)
    given.unlink()
    other = sx.load_model(second_of(folder), card={"previous_stage": str(given.parent)})
    with pytest.raises(sx.UserError, match=r"holds no label image of .*; it would be volume\.nii\.gz"):
        other.predict(volume)


def test_the_first_stage_is_part_of_what_a_job_is_said_to_take_once(folder, image):
    model = sx.load_model(second_of(folder))
    asked = sx.Image(np.asarray(image.array).copy(), spacing=SPACING, units="mm")
    target = sx.Target("organ", region="image")
    plan = ExplanationPlan.make(model, asked, target, "vanilla-gradient")
    assert plan.windows_words.endswith(", behind a prediction of the first stage")
    model.predict(asked)
    assert "first stage" not in ExplanationPlan.make(model, asked, target, "vanilla-gradient").windows_words
    copied = sx.Image(np.asarray(asked.array).copy(), spacing=SPACING, units="mm")
    with model.in_use():
        assert model.has_kept(copied)  # as a dock asks, which makes an image of the layer every time
        assert not model.has_kept(sx.Image(copied.array + 1, spacing=SPACING, units="mm"))
    other = sx.load_model(model, card={"name": "renamed"})
    assert any("held fixed" in note for note in other.notes)
    np.testing.assert_array_equal(other.predict(asked), model.predict(asked))


def missing(folder: Path) -> dict:
    shutil.rmtree(first_of(folder))
    return {}


def of_other_labels(folder: Path) -> dict:
    (first_of(folder) / "dataset.json").write_text(
        json.dumps({**DATASET, "labels": {"background": 0, "organ": 1}})
    )
    return {}


def itself(folder: Path) -> dict:
    return {"previous_stage": str(second_of(folder))}


def nowhere(folder: Path) -> dict:
    return {"previous_stage": str(folder / "nothing")}


def resampled_otherwise(folder: Path) -> dict:
    facts = told()
    facts["configurations"][SECOND]["resampling_fn_seg"] = "mine"
    (second_of(folder) / "plans.json").write_text(json.dumps(facts))
    return {}


def told_otherwise(folder: Path) -> dict:
    facts = told()
    facts["configurations"][SECOND]["resampling_fn_seg_kwargs"] = {"is_seg": True, "order": 1, "order_zz": 4}
    (second_of(folder) / "plans.json").write_text(json.dumps(facts))
    return {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (missing, "there is no nnUNetTrainer__nnUNetPlans__3d_lowres with a trained fold beside it"),
        (of_other_labels, "has other labels or channels than"),
        (itself, "is a second stage itself"),
        (nowhere, "there is no such file or folder, which previous_stage in the card names"),
        (resampled_otherwise, "by 'mine' with"),
        (told_otherwise, "'order_zz': 4}, and images by 'resample_data_or_seg_to_shape', which is none of"),
    ],
)
def test_every_failure_is_one_sentence(change, words, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    card = change(tmp_path / "copy")
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(second_of(tmp_path / "copy"), card=card or None)
    assert words in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_model_that_is_no_second_stage_takes_no_first_one(folder):
    with pytest.raises(sx.UserError, match="is for the second stage of a cascade"):
        sx.load_model(first_of(folder), card={"previous_stage": str(first_of(folder))})


def test_regions_are_painted_as_nnunet_writes_them(image, tmp_path):
    dataset = {
        **DATASET,
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": 3},
        "regions_class_order": [1, 2, 3],
    }
    write_stage(tmp_path, FIRST, dataset)
    model = sx.load_model(write_stage(tmp_path, SECOND, dataset, inputs=4))
    masks = sx.load_model(first_of(tmp_path)).predict(image)
    painted = np.zeros(masks.shape[1:], int)
    for value, mask in enumerate(masks, start=1):
        painted[mask] = value
    with model.in_use():
        fixed = model.given(model.prepare(image)).fixed
    np.testing.assert_array_equal(fixed[0].numpy(), np.stack([painted == k for k in (1, 2, 3)]))


def test_labels_are_resampled_to_that_which_has_most_of_a_cell():
    line, one = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2]]), (1.0, 1.0)

    def resampled(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return LabelResampling().resample(labels, shape, one, one)

    np.testing.assert_array_equal(resampled(line, (1, 3)), [[0, 1, 2]])
    np.testing.assert_array_equal(resampled(line, (1, 27)), np.repeat(line, 3, 1))
    far = np.array([[0, 0, 0, 2, 2, 2]])  # between 0 and 2 there is no 1
    assert set(np.unique(resampled(far, (1, 13)))) == {0, 2}


FROZEN = json.loads((Path(__file__).parents[2] / "data" / "nnunet" / "label_images.json").read_text())


@pytest.mark.parametrize("name", FROZEN["found"])
def test_labels_are_resampled_as_nnunet_s_own_functions_do_it(name, tmp_path):
    """Frozen by scripts/make_label_images.py."""
    frozen, facts = FROZEN["found"][name], told()
    facts["configurations"][SECOND] |= {
        "resampling_fn_seg": frozen["function"],
        "resampling_fn_seg_kwargs": {"is_seg": True, **frozen["told"]},
    }
    (tmp_path / "plans.json").write_text(json.dumps(facts))
    way = read_plans(tmp_path / "plans.json", SECOND).label_resampling
    wanted, labels = np.array(frozen["labels"]), np.array(FROZEN["labels"], np.int32)
    found = way.resample(labels, wanted.shape, FROZEN["before"], FROZEN["after"])
    np.testing.assert_array_equal(found, wanted)
