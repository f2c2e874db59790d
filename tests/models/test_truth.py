"""The truth is brought to the grid of the image, in words, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.core import orientation
from napari_segxai.io.layer_data import layers_from_image
from napari_segxai.io.layer_image import image_from_layer
from napari_segxai.models.ground_truth import truth_labels, truth_of


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    return sx.load_model(
        LinearHead(3, labels=3), card=card(3, labels=["a", "b", "c"], grid={"size": [8, 8, 8]})
    )


def affine(size: float, *origin: float) -> np.ndarray:
    out = np.diag([size, size, size, 1.0])
    out[:3, 3] = origin or 0
    return out


def nearest(values: np.ndarray, own: np.ndarray, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Look every pixel up, one by one."""
    n, out = values.ndim, np.zeros(shape, values.dtype)
    way = np.linalg.inv(own) @ theirs
    for at in np.ndindex(shape):
        there = np.rint((way @ np.array([*at, 1.0]))[:n]).astype(int)
        if (there >= 0).all() and (there < values.shape).all():
            out[at] = values[tuple(there)]
    return out


def test_another_grid_is_resampled_to_the_nearest_label_and_that_is_said(model):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (9, 6, 7)).astype(np.uint8)
    turned = np.array([[0, 3.1, 0.2, -1], [2.9, 0, 0.1, 0.3], [0.1, 0.2, 2.8, 0.7], [0, 0, 0, 1]])
    place = affine(1.3, 2, 1, 3)
    image = sx.Image(np.zeros((8, 9, 10), np.float32), affine=place, name="scan")
    truth = sx.Image(values, affine=turned, name="drawn")
    wanted = nearest(values, turned, place, image.spatial_shape)
    assert {0, 1, 2} <= set(np.unique(wanted))
    np.testing.assert_array_equal(truth_labels(truth, image, model)[0], wanted)
    mask, notes = truth_of(truth, image, model, 2)
    np.testing.assert_array_equal(mask, wanted == 2)
    assert "drawn lies on another grid than scan and was resampled" in notes[0]
    same = truth_of(sx.Image(wanted, affine=place), image, model, 2)
    np.testing.assert_array_equal(same[0], mask)
    assert same[1] == []


def test_coarse_labels_reach_half_a_pixel_around_their_centre(model):
    coarse = sx.Image(np.ones((4, 4, 4), np.uint8), affine=affine(2, 0.5, 0.5, 0.5))
    fine = sx.Image(np.zeros((8, 8, 8), np.float32), affine=affine(1))
    mask, notes = truth_of(coarse, fine, model, 1)
    assert mask.all()  # the same box of 8 mm
    assert len(notes) == 1


def test_a_truth_that_reaches_beyond_the_image_is_used_and_the_share_is_said(model):
    brain = np.zeros((30, 8, 8), np.uint8)
    brain[5:25] = 1
    image = sx.Image(np.zeros((8, 8, 8), np.float32), affine=affine(1, 20, 0, 0), name="crop")
    mask, notes = truth_of(sx.Image(brain, affine=affine(1), name="brain"), image, model, 1)
    np.testing.assert_array_equal(mask, brain[20:28] == 1)
    assert "25% of the truth brain lies in crop" in notes[1]  # 5 of 20 planes
    assert len(notes) == 2
    _, notes = truth_of(sx.Image(brain[:26], affine=affine(1), name="brain"), image, model, 1)
    assert "does not reach all of crop" in notes[2]
    away = sx.Image(np.zeros((8, 8, 8), np.float32), affine=affine(1, 25, 0, 0), name="crop")
    with pytest.raises(sx.UserError, match="nothing of the truth brain lies in crop"):
        truth_of(sx.Image(brain, affine=affine(1), name="brain"), away, model, 1)


def test_a_truth_between_the_pixels_of_the_image_is_said_to_be_lost(model):
    point = np.zeros((16, 16, 16), np.uint8)
    point[5, 5, 5] = 1
    image = sx.Image(np.zeros((4, 4, 4), np.float32), affine=affine(4, 1.4, 1.4, 1.4))
    mask, notes = truth_of(sx.Image(point, affine=affine(1, 0.2, 0.2, 0.2)), image, model, 1)
    assert mask.sum() == 1
    assert mask[1, 1, 1]
    assert len(notes) == 1
    point[5, 5, 5], point[7, 7, 7] = 0, 1
    mask, notes = truth_of(sx.Image(point, affine=affine(1, 0.2, 0.2, 0.2)), image, model, 1)
    assert not mask.any()
    assert any("too small to be seen" in note for note in notes)


def test_boolean_values_are_this_label_whatever_its_number(model):
    values = np.zeros((8, 8, 8), bool)
    values[2:5] = True
    image = sx.Image(np.zeros((8, 8, 8), np.float32), affine=affine(1))
    for label in range(3):
        np.testing.assert_array_equal(truth_of(values, image, model, label)[0], values)
        elsewhere = sx.Image(values, affine=affine(1, 1, 0, 0))
        np.testing.assert_array_equal(truth_of(elsewhere, image, model, label)[0], np.roll(values, 1, 0))
    np.testing.assert_array_equal(truth_of(values.astype(int), image, model, 2)[0], np.zeros_like(values))


def test_a_black_and_white_mask_of_the_one_label_there_is(model):
    """Masks of microscopy are pictures of 0 and 255; with more labels than one nobody can tell which is meant."""
    cells = sx.load_model(planted_model().module, card=card())
    image = planted_image()
    values = np.zeros(image.spatial_shape, np.uint8)
    values[3:9] = 255
    for found, notes in (truth_of(values, image, cells, 1), truth_labels(values, image, cells)):
        np.testing.assert_array_equal(found, values == 255)
        assert notes == [
            f"the truth is a mask of 0 and 255: 255 was taken to be where {cells.labels[1]!r} is."
        ]
    values[0] = 1
    with pytest.raises(sx.UserError, match="holds label 255"):
        truth_labels(values, image, cells)
    volume = sx.Image(np.zeros((8, 8, 8), np.float32))
    with pytest.raises(sx.UserError, match="holds label 255"):
        truth_labels(np.full((8, 8, 8), 255, np.uint8), volume, model)


def test_a_boolean_truth_of_the_background_in_a_comparison():
    image = planted_image()
    background = np.ones((32, 32), bool)
    background[PATCH] = background[OBJECT] = False
    found = sx.evaluate(
        planted_model(), {"rest": background.astype(float)}, image, "background", truth=background,
        metrics=["f1-mask"], components="all",
    )  # fmt: skip
    assert found.value("rest", "f1-mask") == 1
    assert found.warnings == []


def layer(values: np.ndarray, name: str, **transform) -> sx.Image:
    return image_from_layer(values, {"name": name, **transform})


@pytest.mark.parametrize("dims", [2, 3])
def test_layers_without_an_affine_meet_in_the_world_of_the_viewer(dims):
    model = planted_model(dims)
    shape, half = (12,) * dims, (24,) * dims
    values = np.zeros(half, np.uint8)
    values[(slice(8, 20),) * dims] = 1
    image = layer(np.zeros(shape, np.float32), "photo", scale=(2.0,) * dims, translate=(5.0,) * dims)
    truth = layer(values, "drawn", scale=(1.0,) * dims, translate=(4.4,) * dims)
    mask, notes = truth_of(truth, image, model, 1)
    wanted = np.zeros(shape, bool)
    for at in np.ndindex(shape):
        there = np.rint(np.array(at) * 2 + 5 - 4.4).astype(int)
        wanted[at] = bool(values[tuple(there)]) if (there < 24).all() else False
    np.testing.assert_array_equal(mask, wanted)
    assert "resampled" in notes[0]
    moved = layer(np.ones(shape, np.uint8), "drawn", scale=(2.0,) * dims, translate=(500.0,) * dims)
    with pytest.raises(sx.UserError, match="nothing of the truth drawn lies in photo"):
        truth_of(moved, image, model, 1)  # the same shape, at another place
    nowhere = layer(np.ones(shape, np.uint8), "array")
    mask, notes = truth_of(nowhere, image, model, 1)
    assert mask.all()
    assert "array was taken to lie on the grid of photo" in notes[0]
    with pytest.raises(sx.UserError, match="has shape"):
        truth_of(layer(np.ones((3, 3), np.uint8), "flat"), layer(np.zeros((4, 4, 4)), "deep"), model, 1)


@pytest.mark.parametrize("unit", ["nm", "um", "mm"])
def test_a_truth_some_pixels_away_is_another_grid_in_any_unit(unit):
    values = np.zeros((12, 12), np.uint8)
    values[4:8, 4:8] = 1
    place = {"scale": (0.5, 0.5), "units": (unit, unit)}
    image = layer(np.zeros((12, 12), np.float32), "photo", **place)
    mask, notes = truth_of(layer(values, "drawn", translate=(1.0, 0.0), **place), image, planted_model(2), 1)
    np.testing.assert_array_equal(mask, np.roll(values, 2, 0) > 0)
    assert "resampled" in notes[0]


def test_files_give_the_same_as_their_layers(model, tmp_path):
    import nibabel as nib

    rng = np.random.default_rng(1)
    scan, drawn = rng.random((9, 8, 7)).astype(np.float32), rng.integers(0, 3, (8, 7, 9)).astype(np.uint8)
    turned = np.array([[0, 0, 2, -1], [-2, 0, 0, 14], [0, 2, 0, 0], [0, 0, 0, 1.0]])  # P, S, R
    nib.save(nib.Nifti1Image(scan, affine(1.7, 1, 2, 0)), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(drawn, turned), tmp_path / "drawn.nii.gz")
    files = [sx.read_image(tmp_path / f"{name}.nii.gz") for name in ("scan", "drawn")]
    shown = [image_from_layer(*layers_from_image(file)[0][:2]) for file in files]
    assert shown[0].spatial_shape != files[0].spatial_shape
    mask, notes = truth_of(files[1], files[0], model, 2)
    np.testing.assert_array_equal(mask, nearest(drawn, turned, affine(1.7, 1, 2, 0), scan.shape) == 2)
    again, words = truth_of(shown[1], shown[0], model, 2)
    np.testing.assert_array_equal(again, orientation.apply(mask, files[0].to_display))
    assert mask.any()
    assert len(words) == len(notes)


def test_a_truth_that_does_not_know_where_it_lies_has_to_be_on_the_grid(model):
    image = sx.Image(np.zeros((8, 8, 8), np.float32), affine=affine(2), name="scan")
    with pytest.raises(sx.UserError, match="only one of them, or none, knows where it lies"):
        truth_labels(sx.Image(np.zeros((16, 16, 16), np.uint8)), image, model)
    _, notes = truth_of(sx.Image(np.zeros((8, 8, 8), np.uint8), name="t"), image, model, 1)
    assert "t was taken to lie on the grid of scan" in notes[0]
    assert truth_of(np.zeros((8, 8, 8), np.uint8), image, model, 1)[1] == []


def test_what_was_done_to_the_truth_is_kept_with_the_comparison():
    image = sx.Image(planted_image(3).array, affine=affine(1), name="scan")
    truth = np.zeros((12, 64, 64), np.uint8)
    truth[:, 32:52, 12:32] = 1
    fine = sx.Image(truth, affine=affine(0.5, -0.25, -0.25, -0.25), name="fine")
    asked = {"metrics": ["f1-mask"], "controls": 0}
    cause = np.zeros((6, 32, 32))
    cause[(slice(None), *OBJECT)] = 1
    found = sx.evaluate(planted_model(3), {"a": cause}, image, "object", truth=fine, **asked)
    assert found.value("a", "f1-mask") == 1
    assert found.warnings == [
        "the truth fine lies on another grid than scan and was resampled to the nearest label."
    ]
    linear = sx.load_model(LinearHead(3), card=card(3))
    flow = sx.information_flow(linear, image, ["object"], truth=fine)
    same = sx.information_flow(linear, image, ["object"], truth=truth[::2, ::2, ::2])
    assert flow.warnings[0] == found.warnings[0]
    assert flow.curve("object", "dice_truth") == same.curve("object", "dice_truth")
    assert max(flow.curve("object", "dice_truth")) > 0
    assert found.warnings[0] not in same.warnings


def test_a_label_image_is_read_by_the_regions_of_the_card():
    """Regions need not lie in each other, so that an order of painting cannot tell them."""
    fields = card(2, labels=["background", "tumour", "wet", "dry"], activation="sigmoid")
    regions = {"tumour": [1, 2, 4], "wet": [2], "dry": [1, 4]}
    model = sx.load_model(LinearHead(2, labels=3), card={**fields, "regions": regions})
    values = np.array([[0, 1, 2, 4]], np.uint8)
    found, notes = truth_labels(values, sx.Image(np.zeros((1, 4))), model)
    np.testing.assert_array_equal(found[:, 0], [[0, 1, 1, 1], [0, 0, 1, 0], [0, 1, 0, 1]])
    assert any("tumour 1, 2, 4; wet 2; dry 1, 4" in note for note in notes)
    with pytest.raises(sx.UserError, match="the value 3, which is in none of the regions"):
        truth_labels(np.array([[0, 1, 2, 3]], np.uint8), sx.Image(np.zeros((1, 4))), model)
    with pytest.raises(sx.UserError, match="regions names each of these labels once"):
        sx.load_model(LinearHead(2, labels=3), card={**fields, "regions": {"tumour": [1]}})
