"""The model grid as a frame on the resampled image: cropped there, padded, mirrored; and all the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card

import napari_segxai as sx
from napari_segxai.core import orientation

SHAPE = (6, 7, 9)


def oblique() -> np.ndarray:
    affine = np.diag([1.5, 2, 3, 1.0])
    affine[:3, :3] = [[1.47, -0.4, 0], [0.31, 1.95, -0.5], [0, 0.31, 2.96]]
    affine[:3, 3] = (-20, 31, 7)
    return affine


def phantom() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def stored(codes: str, array: np.ndarray | None = None) -> sx.Image:
    """A volume as a file would hold it with these axis codes."""
    array = phantom() if array is None else array
    turn = orientation.reorientation("RAS", codes)
    return sx.Image(
        orientation.apply(array, turn), affine=orientation.apply_to_affine(oblique(), array.shape, turn)
    )


def to_world(affine: np.ndarray, index) -> np.ndarray:
    return affine[:3, :3] @ index + affine[:3, 3]


FRAMES = {
    "padded": {"pad": {"multiple": [8, 4, 5]}},
    "padded at the end": {"pad": {"size": [10, 3, 12], "at": "end"}, "spacing": [2, 2, 2]},
    "a border": {"pad": {"border": [[1, 0], [2, 3], [0, 1]]}, "multiple": 4},
    "cropped": {"crop": "positive", "crop_on": "grid"},
    "cropped and padded": {"crop": "nonzero", "crop_on": "network", "pad": {"multiple": [4, 4, 4]}},
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("codes", ["RAS", "PSL"])
def test_places_on_a_framed_grid_are_those_of_the_image(name, codes):
    """A map that is brought to the grid and back, a mask, a box, a pixel and an affine tell of the same places."""
    array = np.zeros(SHAPE, np.float32)
    array[2:5, 1:6, 3:8] = np.random.default_rng(0).uniform(1, 2, (3, 5, 5))
    model = sx.load_model(LinearHead(3), card=card(3, orientation="RAS", grid=FRAMES[name]))
    image = stored(codes, array)
    prepared = model.prepare(image)
    placed = prepared.placement
    assert tuple(prepared.tensor.shape[2:]) == placed.shape
    if "spacing" in FRAMES[name]:
        return
    values = torch.zeros(placed.shape)
    values[placed.inner] = torch.from_numpy(array)[placed.kept]
    assert torch.equal(values, prepared.tensor[0, 0].where(placed.inside(), torch.zeros(())))
    turned = array.copy()
    np.testing.assert_array_equal(placed.from_grid(values, linear=True), turned)
    own = placed.to_image(turned)
    np.testing.assert_array_equal(own, image.array)
    mask = placed.mask_to_grid(image.array > 1.5)
    np.testing.assert_array_equal(mask.numpy(), (values > 1.5).numpy())
    top = np.unravel_index(image.array.argmax(), SHAPE if codes == "RAS" else image.array.shape)
    cell = np.unravel_index(values.numpy().argmax(), values.shape)
    assert placed.image_index([k + 0.5 for k in cell]) == tuple(map(int, top))
    assert placed.box_on_grid(top, [k + 1 for k in top]) == tuple(slice(int(k), int(k) + 1) for k in cell)
    turned_affine = placed.native_affine(placed.shape, image.affine)
    native = orientation.apply(values.numpy(), orientation.invert(placed.turn))
    found = np.unravel_index(native.argmax(), native.shape)
    np.testing.assert_allclose(to_world(turned_affine, found), to_world(image.affine, top), atol=1e-9)


def test_nothing_is_drawn_around_what_is_cropped_on_the_grid():
    array = np.zeros(SHAPE, np.float32)
    array[2:5, 1:6, 3:8] = 1
    image = stored("RAS", array)
    model = sx.load_model(
        LinearHead(3), card=card(3, orientation="RAS", grid={"crop": "positive", "crop_on": "grid"})
    )
    assert model.prepare(image).tensor.shape[2:] == (3, 5, 5)
    with torch.no_grad():
        model.module.head.weight.zero_()
        model.module.head.bias.copy_(torch.tensor([0.0, 1.0]))  # the object everywhere
    np.testing.assert_array_equal(model.predict(image), array)


def test_a_small_image_is_mirrored_as_often_as_needed():
    pad = {"size": [20, 40, 9], "mode": "reflect", "at": "end"}
    fields = card(3, orientation="RAS", grid={"pad": pad})
    tensor = sx.load_model(LinearHead(3), card=fields).prepare(stored("RAS")).tensor
    wanted = np.pad(phantom(), [(0, 14), (0, 33), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(tensor[0, 0].numpy(), wanted)


def test_a_network_is_tried_on_a_size_that_suits_it_also_with_an_odd_border():
    grid = {"pad": {"border": [[1, 2], [0, 0], [0, 1]]}}
    model = sx.load_model(LinearHead(3), card=card(3, grid=grid))
    assert model.example_grid == (32, 32, 32)
    sized = sx.load_model(LinearHead(3), card=card(3, grid=grid | {"size": [8, 8, 8]}))
    assert sized.example_grid == (11, 8, 9)
