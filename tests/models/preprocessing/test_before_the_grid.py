"""What happens to an image before it lies on the grid: cropped, stepped and resampled as the card says, its axes as stored."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.files.nifti import affine_of, save
from helpers.networks import LinearHead, card
from skimage.transform import resize as spline
from torch import nn

import napari_segxai as sx
from napari_segxai.core import orientation
from napari_segxai.core.image import Lazy
from napari_segxai.io.layer_data import layer_from_image
from napari_segxai.io.layer_image import image_from_layer
from napari_segxai.models.card import make_card
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.preprocessing.resample import coarse_axis

SHAPE = (9, 11, 13)
INNER = (slice(2, 7), slice(1, 10), slice(3, 12))


def bordered(seed: int = 0) -> np.ndarray:
    """Numbers with zeros around them; a 0 among them is no border."""
    out = np.zeros(SHAPE, np.float32)
    out[INNER] = np.random.default_rng(seed).uniform(1, 100, out[INNER].shape)
    out[4, 4, 4] = 0
    return out


class Bright(nn.Module):
    """Draws the object where the input is above 0, and in all that holds nothing."""

    def forward(self, x):
        return torch.cat([-x - 0.25, x + 0.25], 1)[:, :2]


def test_a_crop_leaves_the_box_and_nothing_is_predicted_around_it():
    fields = card(3, orientation="RAS", grid={"crop": "nonzero", "multiple": 4})
    model, shift = sx.load_model(Bright(), card=fields), np.array([-20.0, 3, 5])
    for codes in ("RAS", "PIR", "SLA"):
        turn = orientation.reorientation("RAS", codes)
        affine = orientation.apply_to_affine(
            np.diag([1.0, 1, 1, 1]) + np.pad(shift[:, None], ((0, 1), (3, 0))), SHAPE, turn
        )
        image = sx.Image(orientation.apply(bordered(), turn), affine=affine)
        prepared = model.prepare(image)
        place = prepared.placement
        assert place.resampled_shape == place.seen_shape == (5, 9, 9)
        np.testing.assert_array_equal(prepared.tensor[0, 0, :5, :9, :9], bordered()[INNER])
        predicted = orientation.apply(model.predict(image), orientation.invert(turn))
        assert predicted[INNER].all()  # where Bright draws, 0 included
        predicted[INNER] = 0
        assert not predicted.any()  # and Bright would draw there, too
        mask = image.array != 0
        back = place.to_image(place.from_grid(place.mask_to_grid(mask).float(), linear=False)) > 0.5
        np.testing.assert_array_equal(back, mask)
        native = place.native_affine((1, 1, 1), affine)
        np.testing.assert_allclose(native @ [0, 0, 0, 1], [*np.add(shift, [5.5, 6.5, 8.5]), 1])


def test_an_image_of_zeros_is_taken_whole():
    model = sx.load_model(LinearHead(3), card=card(3, grid={"crop": "nonzero"}))
    assert model.prepare(sx.Image(np.zeros(SHAPE))).tensor.shape[2:] == SHAPE


def test_a_cropped_explanation_is_zero_around_the_box():
    model = sx.load_model(LinearHead(3), card=card(3, grid={"crop": "nonzero"}))
    found = sx.explain(model, sx.Image(bordered()), sx.Target("object", region="image"), "input-x-gradient")
    assert np.abs(found.map[INNER]).max() > 0
    around = np.ones(SHAPE, bool)
    around[INNER] = False
    assert not found.map[around].any()


def test_steps_before_resampling_measure_the_image_itself():
    grid = {"spacing": [2, 2, 2], "crop": "nonzero", "interpolation": "cubic"}
    image = sx.Image(bordered(), spacing=(1, 2, 3), units="mm")
    steps = [{"standardize": "image"}]
    model = sx.load_model(
        LinearHead(3), card=card(3, grid=grid, intensity=steps, intensity_on="image", orientation="kji")
    )
    own = bordered()[INNER]
    own = ((own - own.mean()) / own.std()).astype(float)
    tensor = model.prepare(image).tensor[0, 0]
    assert tensor.shape == (2, 9, 14)  # half to even: 2.5 and 13.5
    by_hand = spline(own, tensor.shape, order=3, mode="edge", anti_aliasing=False)
    np.testing.assert_array_equal(tensor, by_hand.astype(np.float32))


def test_a_coarse_axis_is_resampled_apart_and_to_the_nearest_slice():
    grid = {"spacing": [4, 1, 1], "interpolation": "cubic", "coarse_axis": "nearest"}
    image = sx.Image(bordered(), spacing=(10, 2, 1.5), units="mm")
    fields = card(3, grid=grid, orientation="kji")
    model = sx.load_model(LinearHead(3), card=fields)
    prepared = model.prepare(image)
    tensor = prepared.tensor[0, 0].numpy()
    assert tensor.shape == (22, 22, 20)
    nearest = np.floor((np.arange(22) + 0.5) * 9 / 22).astype(int)
    planes = np.stack(
        [
            spline(each.astype(float), (22, 20), order=3, mode="edge", anti_aliasing=False)
            for each in bordered()
        ]
    )
    np.testing.assert_array_equal(tensor, planes[nearest].astype(np.float32))
    # And back: planes linearly, the coarse axis to the nearest.
    values = torch.from_numpy(np.broadcast_to(np.arange(22.0)[:, None, None], tensor.shape).copy())
    back = prepared.placement.from_grid(values, linear=True)
    np.testing.assert_array_equal(back[:, 3, 5], np.floor((np.arange(9) + 0.5) * 22 / 9))
    together = sx.load_model(LinearHead(3), card={**fields, "grid": {**grid, "coarse_axis": "together"}})
    assert not np.allclose(together.prepare(image).tensor[0, 0], tensor, atol=1)


def test_which_axis_is_coarse():
    assert coarse_axis((5, 1, 1), (1, 1, 1)) == 0
    assert coarse_axis((1, 1, 1), (1, 1, 3.1)) == 2
    assert coarse_axis((1, 1, 1), (1, 1, 3)) is None
    assert coarse_axis((5, 5, 1), (1, 1, 5)) is None  # two as coarse, and the first decides
    assert coarse_axis((5, 5 * (1 + 1e-7), 1), (1, 1, 1)) is None  # the same but for rounding


def test_an_oblique_affine_does_not_move_lengths_over_a_threshold(tmp_path):
    """The columns of this affine are 1.25, 1 and 3 mm long, and a little more than 3 for want of digits."""
    affine = np.diag([1.25, 1, 3, 1.0])
    angle = np.deg2rad(7)
    affine[:2, :2] = [[np.cos(angle) * 1.25, -np.sin(angle)], [np.sin(angle) * 1.25, np.cos(angle)]]
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = tmp_path / "case.nii.gz"
    stored = nib.Nifti1Image(np.ones((5, 6, 7), np.int16), turn @ affine)
    stored.header.set_zooms((1.25, 1, 3))
    nib.save(stored, path)
    image = sx.read_image(path)
    fields = card(3, orientation="kji", grid={"spacing": [1, 1, 1], "coarse_axis": "nearest"})
    assert image.spacing != (1.25, 1, 3)
    assert place(make_card(fields), image).apart == (None, None)
    data, meta = layer_from_image(image)
    assert place(make_card(fields), image_from_layer(data, meta)).apart == (None, None)


@pytest.mark.parametrize("letters", ["kji", "ikj", "jik"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_axes_as_stored_are_those_of_the_file_and_of_its_layer(letters, codes, tmp_path):
    array = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    path = save(tmp_path / "case.nii.gz", array, affine_of(codes))
    model = sx.load_model(LinearHead(3), card=card(3, orientation=letters))
    image = sx.read_image(path)
    expected = array.transpose(["ijk".index(letter) for letter in letters])
    prepared = model.prepare(image)
    np.testing.assert_array_equal(prepared.tensor[0, 0], expected)
    assert any(f"in the order in which they are stored ({letters})" in note for note in prepared.notes)
    data, meta = layer_from_image(image)
    shown = image_from_layer(data, meta)
    np.testing.assert_array_equal(model.prepare(shown).tensor[0, 0], expected)
    turned = {**meta, "rotate": np.eye(3)[[1, 0, 2]]}  # the layer was turned since, its file was not
    np.testing.assert_array_equal(model.prepare(image_from_layer(data, turned)).tensor[0, 0], expected)
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 3] = True
    place = prepared.placement
    back = place.to_image(place.from_grid(place.mask_to_grid(mask).float(), linear=False)) > 0.5
    np.testing.assert_array_equal(back, mask)


def test_an_array_lies_as_numpy_stores_it():
    array = bordered()
    for letters, order in (("kji", (0, 1, 2)), ("ikj", (2, 0, 1)), ("jki", (1, 0, 2))):
        model = sx.load_model(LinearHead(3), card=card(3, orientation=letters))
        np.testing.assert_array_equal(model.prepare(sx.Image(array)).tensor[0, 0], array.transpose(order))


def test_a_2d_model_gets_slices_of_a_volume_that_is_treated_as_one():
    grid = {"spacing": [2, 1], "crop": "nonzero", "interpolation": "cubic"}
    image = sx.Image(bordered(), spacing=(1, 1, 1), units="mm")
    fields = card(
        2, grid=grid, intensity=[{"standardize": "image"}], intensity_on="volume", orientation="kji"
    )
    model = sx.load_model(LinearHead(), card=fields)
    own = bordered()[INNER]
    own = ((own - own.mean()) / own.std()).astype(float)
    whole = spline(own, (5, 4, 9), order=3, mode="edge", anti_aliasing=False).astype(np.float32)
    for index in range(2, 7):
        np.testing.assert_array_equal(model.prepare(image, index).tensor[0, 0], whole[index - 2])
    one = model.prepare(image, 3)
    np.testing.assert_allclose(
        one.network_value(50.0), [[[[(50 - bordered()[INNER].mean()) / bordered()[INNER].std()]]]], 1e-5
    )
    outside = model.prepare(image, 0)
    assert not outside.placement.inside().any()
    assert any("nothing is predicted there" in note for note in outside.notes)
    all_drawn = sx.load_model(Bright(), card=fields).predict(image)
    assert not all_drawn[[0, 1, 7, 8]].any()
    assert all_drawn.any()
    other = replace(image, array=bordered(1))
    assert not np.array_equal(model.prepare(other, 3).tensor, model.prepare(image, 3).tensor)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"grid": {"coarse_axis": "nearest"}}, "coarse_axis is for grids with a spacing"),
        ({"intensity_on": "volume", "spatial_dims": 3}, "intensity_on: volume is for 2D models"),
        ({"grid": {"crop": "box"}}, "grid.crop is 'box'; choose 'nonzero'"),
        ({"orientation": "kjj"}, "not an axis code"),
        ({"intensity": [{"channels": ["intensity"]}]}, "exactly one key"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, said):
    with pytest.raises(sx.UserError, match=said):
        make_card(card(**{"spatial_dims": 2, **fields}))


def test_checks_do_not_read_the_image():
    def never():
        raise AssertionError("read")

    image = sx.Image(Lazy(never, SHAPE, np.float32))
    model = sx.load_model(LinearHead(3), card=card(3, grid={"crop": "nonzero"}))
    model.prepare_check(image)
    with pytest.raises(AssertionError):
        place(model.card, image)
