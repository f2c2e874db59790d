"""Truths, layers, files and the command line of labels that may overlap."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.labels import REGIONS, Steps, nested, regions
from helpers.networks import card
from safetensors.torch import save_file
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.core.prediction import painted
from napari_segxai.models.ground_truth import truth_labels, truth_of
from napari_segxai.models.zoo.unet import UNet

NAMES = REGIONS[1:]
LEVELS = (0.5, 1.5, 2.5)


def stack(ndim: int = 2) -> np.ndarray:
    return np.stack([nested(ndim).array > level for level in LEVELS])


def placed(array: np.ndarray, **axes) -> sx.Image:
    return sx.Image(array, affine=np.diag([2.0, 2, 3, 1]), name="truth", **axes)


# -- the truth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_truth_is_a_mask_for_every_label_however_it_is_stored(ndim):
    image, model, masks = nested(ndim), regions(ndim), stack(ndim)
    last = np.moveaxis(masks, 0, -1).astype(np.uint8)
    forms = [
        masks,
        masks.astype(np.uint8),
        sx.Image(last, channel_axis=ndim),
        dict(zip(NAMES, masks, strict=True)),
        dict(zip(NAMES, (sx.Image(mask * np.uint8(7)) for mask in masks), strict=True)),
    ]
    if ndim == 3:
        image = sx.Image(image.array, affine=np.diag([2.0, 2, 3, 1]), name="scan")
        forms += [placed(last, channel_axis=3), placed(last, time_axis=3)]  # as a file says it, or does not
    else:
        forms.append(sx.Image(masks.astype(np.uint8)))  # pages of a TIFF
    for form in forms:
        np.testing.assert_array_equal(truth_labels(form, image, model)[0], masks)
        for k, name in enumerate(NAMES):
            np.testing.assert_array_equal(truth_of(form, image, model, k + 1)[0], masks[k], name)
        np.testing.assert_array_equal(truth_of(form, image, model, 0)[0], ~masks.any(0))


def test_the_masks_of_a_truth_are_resampled_each():
    image = sx.Image(nested(3).array, affine=np.diag([1.0, 1, 1, 1]), name="scan")
    fine = np.repeat(np.moveaxis(stack(3), 0, -1), 2, 0).astype(np.uint8)
    place = np.diag([0.5, 1, 1, 1])
    place[0, 3] = -0.25
    found, notes = truth_labels(sx.Image(fine, affine=place, time_axis=3, name="fine"), image, regions(3))
    np.testing.assert_array_equal(found, stack(3))
    assert len(notes) == 1
    assert "resampled to the nearest label" in notes[0]


def test_a_painted_label_image_is_a_truth_where_the_card_says_the_order():
    image, masks = nested(), stack()
    one = painted(masks, (1, 2, 3))
    np.testing.assert_array_equal(one, image.array)
    ordered = regions(paint_order=NAMES)
    found, notes = truth_labels(one, image, ordered)
    np.testing.assert_array_equal(found, masks)
    assert notes == [
        "the truth is one label image, in which each label holds the next: whole, core, enhancing."
    ]
    np.testing.assert_array_equal(truth_of(one, image, ordered, 2)[0], masks[1])
    with pytest.raises(
        sx.UserError, match="one label image cannot say: give the truth as a mask for each of whole"
    ):
        truth_labels(one, image, regions())
    with pytest.raises(sx.UserError, match="paint_order in the card"):
        truth_of(one, image, regions(), 2)


def test_one_mask_is_where_the_label_is_that_is_asked_about():
    image, masks = nested(), stack()
    assert truth_of(masks[1], image, regions(), 2)[1] == []
    found, notes = truth_of(masks[1].astype(np.uint8) * 4, image, regions(), 2)
    np.testing.assert_array_equal(found, masks[1])
    assert notes == ["the truth holds one value, 4: it was taken to be where 'core' is."]
    with pytest.raises(sx.UserError, match="one label image cannot say"):
        truth_labels(masks[1], image, regions())


def test_what_a_truth_lacks_is_said():
    image, masks = nested(), stack()
    some = {"whole": masks[0], "core": masks[1]}
    assert truth_of(some, image, regions(), 2)[0].any()
    with pytest.raises(sx.UserError, match="gives whole, core, but not 'enhancing'"):
        truth_of(some, image, regions(), 3)
    with pytest.raises(sx.UserError, match="has no label 'cor'"):
        truth_of({"cor": masks[0]}, image, regions(), 1)
    with pytest.raises(sx.UserError, match="2 channels, but planted has 3 labels"):
        truth_of(sx.Image(masks[:2].astype(np.uint8), channel_axis=0), image, regions(), 1)
    with pytest.raises(sx.UserError, match="several values; give a mask"):
        truth_of({"core": image.array}, image, regions(), 2)
    exclusive = sx.load_model(Steps(), card=card(labels=NAMES))
    with pytest.raises(sx.UserError, match="'core' overlap, but the labels of planted exclude"):
        truth_labels({"core": masks[1], "enhancing": masks[2]}, image, exclusive)
    apart = {"core": masks[1] & ~masks[2], "enhancing": masks[2]}
    np.testing.assert_array_equal(
        truth_labels(apart, image, exclusive, [1])[0], apart["core"] * 1 + apart["enhancing"] * 2
    )


# -- layers and files ---------------------------------------------------------------------------------------


def test_layers_are_one_for_every_label_and_one_that_is_painted():
    found = sx.explain(regions(), nested(), "core", "vanilla-gradient")
    layers = [data for data in found.to_layers() if data[1]["metadata"]["segxai_role"] == "prediction"]
    assert [kwargs["name"] for _, kwargs, _ in layers] == [f"prediction · planted · {name}" for name in NAMES]
    for position, (values, kwargs, kind) in enumerate(layers, start=1):
        np.testing.assert_array_equal(values, position * stack()[position - 1])
        assert kind == "labels"
        assert kwargs["visible"]
        assert kwargs["features"]["label"] == REGIONS
    ordered = sx.explain(regions(paint_order=NAMES), nested(), "core", "vanilla-gradient")
    [(values, kwargs, _)] = [data for data in ordered.to_layers() if "painted" in data[1]["name"]]
    np.testing.assert_array_equal(values, nested().array)
    assert not kwargs["visible"]
    assert len(ordered.to_layers()) == len(found.to_layers()) + 1


def test_a_painting_order_is_kept(tmp_path):
    turned = sx.explain(regions(paint_order=NAMES[::-1]), nested(), "core", "vanilla-gradient")
    np.testing.assert_array_equal(turned.painted(), nested().array > 0.5)  # the whole covers what lies in it


@pytest.mark.parametrize("order", [None, NAMES])
def test_a_mask_of_every_label_is_saved(order, tmp_path):
    affine = np.diag([2.0, 2, 3, 1])
    image = sx.Image(nested(3).array, affine=affine, name="scan")
    model = regions(3) if order is None else regions(3, paint_order=order)
    found = sx.explain(model, image, "core", "vanilla-gradient")
    written = {path.name for path in found.save(tmp_path / "out")}
    for mask, name in zip(stack(3), NAMES, strict=True):
        file = nib.load(tmp_path / "out" / f"prediction_{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(file.dataobj), mask)
        np.testing.assert_array_equal(file.affine, affine)
    assert ("prediction.nii.gz" in written) == (order is not None)
    if order is not None:
        one = nib.load(tmp_path / "out" / "prediction.nii.gz")
        np.testing.assert_array_equal(np.asarray(one.dataobj), image.array)
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["model"]["overlapping"] is True
    assert record["model"]["paint_order"] == order
    assert record["model"]["thresholds"] == dict.fromkeys(NAMES, 0.5)


def test_a_comparison_draws_the_label_that_was_explained(tmp_path):
    found = sx.compare(regions(), nested(), "core", ["vanilla-gradient"], metrics=["saliency-ratio"])
    np.testing.assert_array_equal(found.shown(found.prediction), 2 * stack()[1])
    found.save(tmp_path / "out")
    assert (tmp_path / "out" / "comparison.png").exists()


def test_a_map_of_another_threshold_is_another_map():
    low = sx.explain(regions(threshold=0.3), nested(), "core", "vanilla-gradient")
    with pytest.raises(sx.UserError, match="drawn with thresholds other than those of planted"):
        sx.evaluate(regions(), low)
    with pytest.raises(sx.UserError, match="thresholds"):
        sx.check(low, regions(), checks=["restates-prediction"])


# -- the command line ---------------------------------------------------------------------------------------

CARD = """\
name: Regions
labels: [background, whole, core, enhancing]
spatial_dims: 3
activation: sigmoid
threshold: {core: 0.42}
architecture: "torch.nn:Conv3d"
arguments: {in_channels: 1, out_channels: 3, kernel_size: 1}
"""


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.yaml").write_text(CARD)
    save_file(Steps(ndim=3).conv.state_dict(), folder / "weights.safetensors")
    affine = np.diag([2.0, 2, 3, 1])
    nib.save(nib.Nifti1Image(nested(3).array, affine), tmp_path / "scan.nii.gz")
    masks = stack(3).astype(np.uint8)
    nib.save(nib.Nifti1Image(np.moveaxis(masks, 0, -1), affine), tmp_path / "all.nii.gz")
    for mask, name in zip(masks, NAMES, strict=True):
        nib.save(nib.Nifti1Image(mask, affine), tmp_path / f"{name}.nii.gz")
    return tmp_path


def command(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_command_line_says_what_python_says(files):
    scan, model = files / "scan.nii.gz", files / "model"
    command(
        "explain",
        scan,
        "--model",
        model,
        "--label",
        "core",
        "--method",
        "vanilla-gradient",
        "--out",
        files / "e",
    )
    same = sx.explain(str(model), sx.read_image(scan), "core", "vanilla-gradient")
    np.testing.assert_array_equal(np.asarray(nib.load(files / "e" / "saliency.nii.gz").dataobj), same.map)
    for name in NAMES:
        drawn = np.asarray(nib.load(files / "e" / f"prediction_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(drawn, same.drawn(name))
    each = [word for name in NAMES for word in ("--truth", f"{name}={files / name}.nii.gz")]
    rows = []
    for k, truth in enumerate([["--truth", files / "all.nii.gz"], each, ["--truth", files / "core.nii.gz"]]):
        asked = ["--label", "core", "--methods", "vanilla-gradient", "--metrics", "f1-mask,soft-recall-mask"]
        command("compare", scan, "--model", model, *asked, *truth, "--out", files / f"c{k}")
        rows.append((files / f"c{k}" / "values.csv").read_text())
    assert rows[0] == rows[1] == rows[2]
    assert "vanilla-gradient,vanilla-gradient,f1-mask,mask,1.0" in rows[0]


def test_a_mask_of_the_users_own_is_in_the_way_before_the_work(files):
    (files / "e").mkdir()
    (files / "e" / "prediction_core.nii.gz").write_bytes(b"mine")
    asked = [
        "explain",
        files / "scan.nii.gz",
        "--model",
        files / "model",
        "--label",
        "core",
        "--method",
        "rise",
    ]
    found = CliRunner().invoke(app, [str(word) for word in [*asked, "--out", files / "e"]])
    assert found.exit_code == 2
    assert "prediction_core.nii.gz" in found.stderr
    assert (files / "e" / "prediction_core.nii.gz").read_bytes() == b"mine"


def test_a_flow_on_the_command_line_takes_the_same_truths(files):
    torch.manual_seed(0)
    network = UNet(1, 3, (2, 4), spatial_dims=3)
    save_file(network.state_dict(), files / "model" / "weights.safetensors")
    own = CARD.replace("torch.nn:Conv3d", "napari_segxai.models.zoo.unet:UNet").replace(
        "kernel_size: 1", "features: [2, 4]"
    )
    (files / "model" / "model.yaml").write_text(
        own.replace("{in_", "{spatial_dims: 3, in_") + "grid: {multiple: 2}\n"
    )
    scan, model = files / "scan.nii.gz", files / "model"
    each = [word for name in NAMES for word in ("--truth", f"{name}={files / name}.nii.gz")]
    flow = ["flow", scan, "--model", model, "--json", *each, "--out", files / "f"]
    rows = json.loads(command(*flow))
    same = sx.information_flow(str(model), sx.read_image(scan), truth=sx.read_image(files / "all.nii.gz"))
    assert {row["label"] for row in rows} == set(NAMES)
    assert [row["dice_truth"] for row in rows] == pytest.approx([row["dice_truth"] for row in same.rows])
    assert max(row["dice_truth"] for row in rows) > 0


def test_the_command_line_says_what_is_wrong_with_a_truth(files):
    asked = ["compare", files / "scan.nii.gz", "--model", files / "model", "--label", "core"]
    asked += ["--methods", "vanilla-gradient", "--out", files / "c"]
    file = files / "core.nii.gz"
    for truth, words in [
        ([f"cor={file}"], "no label 'cor'"),
        ([f"whole={file}"], "gives whole, but not 'core'"),
        ([file, file], "once for every label"),
        ([f"core={file}", f"core={file}"], "once for every label"),
    ]:
        given = [word for one in truth for word in ("--truth", one)]
        found = CliRunner().invoke(app, [str(word) for word in [*asked, *given]])
        assert found.exit_code == 2
        assert words in " ".join(found.stderr.split())
