"""What is drawn in Labels and Shapes layers lands where it is seen, or it is said that it lies elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import displayed_image
from napari_segxai.gui.viewer.drawn_regions import region_mask
from napari_segxai.io.joining import match_channels
from napari_segxai.models.card import ModelCard


def scene(image, drawn, steps=()):
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.add_layer(drawn)
    for axis, step in enumerate(steps):
        viewer.dims.set_current_step(axis, step)
    return viewer


def mask(image, drawn, steps=(), channels=1):
    viewer = scene(image, drawn, steps)
    card = ModelCard(
        name="net", labels=("a", "b"), spatial_dims=2, channels=tuple(f"c{k}" for k in range(channels))
    )
    return region_mask(drawn, image, displayed_image(image, viewer, card).image, viewer)


def painted(shape, *where):
    out = np.zeros(shape, np.uint8)
    out[where] = 1
    return out


SQUARE = (slice(2, 5), slice(3, 6))


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_shape_in_any_plane_of_a_volume(plane):
    corners = np.insert([[2, 3], [2, 6], [5, 6], [5, 3]], plane, 4, axis=1).astype(float)
    image = Image(np.zeros((9, 9, 9)), scale=(2, 1, 0.5))
    drawn = Shapes([corners], scale=(2, 1, 0.5))
    found = mask(image, drawn)
    wanted = np.zeros((9, 9, 9), bool)
    np.moveaxis(wanted, plane, 0)[4] = mask(Image(np.zeros((9, 9))), Shapes([np.delete(corners, plane, 1)]))
    np.testing.assert_array_equal(found, wanted)
    outside = corners.copy()
    outside[:, plane] = 20
    with pytest.raises(UserError, match="lies in"):
        mask(image, Shapes([outside], scale=(2, 1, 0.5)))


def test_a_tilted_shape_fills_the_pixels_that_its_plane_goes_through():
    corners = np.array([[2.0, 1, 1], [2, 1, 7], [8, 7, 7], [8, 7, 1]])  # z = y + 1
    found = mask(Image(np.zeros((12, 9, 9))), Shapes([corners]))
    at = np.argwhere(found)
    assert len(at)
    np.testing.assert_array_equal(at[:, 0], at[:, 1] + 1)


def test_a_flat_shape_reaches_through_a_volume():
    found = mask(Image(np.zeros((4, 9, 9))), Shapes([[[2, 3], [2, 6], [5, 6], [5, 3]]]), (2,))
    assert found[0].any()
    assert (found == found[0]).all()


def test_a_shape_at_another_time_point_is_not_seen():
    image = Image(np.zeros((5, 9, 9)), axis_labels=("t", "y", "x"), name="film")
    corners = np.array([[3.0, 2, 3], [3, 2, 6], [3, 5, 6], [3, 5, 3]])
    assert mask(image, Shapes([corners]), (3,)).any()
    with pytest.raises(UserError, match="lies in film as it is shown"):
        mask(image, Shapes([corners]), (1,))


@pytest.mark.parametrize("turn", [0, 30])
def test_labels_are_read_by_place(turn):
    image = Image(np.zeros((16, 16)), scale=(2, 2), rotate=turn)
    found = mask(image, Labels(painted((32, 32), slice(8, 12), slice(8, 12)), scale=(1, 1), rotate=turn))
    at = np.argwhere(found)
    assert (at.min(0) == 4).all()
    assert (at.max(0) == 5).all()
    with pytest.raises(UserError, match="compared by their place"):
        mask(image, Labels(painted((16, 16), *SQUARE), translate=(500, 0)))
    with pytest.raises(UserError, match="is empty"):
        mask(image, Labels(np.zeros((16, 16), np.uint8)))


def test_labels_with_time_channels_and_levels():
    film = Image(np.zeros((5, 8, 8)), axis_labels=("t", "y", "x"))
    drawn = painted((5, 8, 8), 3, *SQUARE)
    assert mask(film, Labels(drawn), (3,)).sum() == 9
    with pytest.raises(UserError, match="as it is shown"):
        mask(film, Labels(drawn), (1,))
    colors = Image(np.zeros((2, 8, 8)), axis_labels=("c", "y", "x"))
    for channel in (0, 1):  # drawn while one of the channels was shown
        assert mask(colors, Labels(painted((2, 8, 8), channel, *SQUARE)), (1,), channels=2).sum() == 9
    levels = [np.zeros((8, 8)), np.zeros((4, 4))]
    pyramid = Image(levels, multiscale=True, scale=(3, 3))
    assert mask(pyramid, Labels(painted((8, 8), *SQUARE), scale=(3, 3))).sum() == 9
    assert (
        mask(
            Image(np.zeros((8, 8, 3), np.uint8), rgb=True), Labels(painted((8, 8), *SQUARE)), channels=3
        ).sum()
        == 9
    )
    assert (
        mask(
            Image(np.zeros((8, 8, 2)), axis_labels=("y", "x", "c")),
            Labels(painted((8, 8, 2), *SQUARE, 1)),
            channels=2,
        ).sum()
        == 9
    )


@pytest.mark.parametrize(
    ("names", "layers", "wanted"),
    [
        (("T1", "T1ce", "FLAIR"), ("p1_flair", "p1_t1ce", "p1_t1"), {"T1": 2, "T1ce": 1, "FLAIR": 0}),
        (("red", "green"), ("cells", "cells [1]", "else"), {"red": 0, "green": 1}),
        (("red", "green"), ("one", "two"), {}),
    ],
)
def test_channels_are_matched_by_name(names, layers, wanted):
    assert match_channels(names, layers, layers[0]) == wanted


def test_images_are_joined_only_where_they_lie_on_each_other():
    one = sx.Image(np.ones((4, 5, 6), np.int16), affine=np.eye(4), name="t1")
    two = sx.Image(np.full((4, 5, 6), 0.5), affine=np.eye(4), name="t2")
    both = sx.join_channels([one, two])
    assert (both.channels, both.name, both.dtype) == (2, "t1 + t2", np.float64)
    np.testing.assert_array_equal(both.array, [one.array, two.array])
    with pytest.raises(UserError, match="different places"):
        sx.join_channels([one, sx.Image(two.array, affine=np.diag([1.0, 1, 2, 1]))])
    with pytest.raises(UserError, match="on one grid"):
        sx.join_channels([one, sx.Image(two.array[1:], affine=np.eye(4))])


def test_negative_labels_are_labels():
    values = painted((6, 7), slice(1, 3), slice(2, 4))
    image = Image(np.zeros((6, 7)))
    np.testing.assert_array_equal(mask(image, Labels(-values.astype(int))), values > 0)
