"""Crops of images where a map is strongest, and which rows a picture shows."""

from __future__ import annotations

import numpy as np
import pytest

import napari_segxai as sx
from napari_segxai.analyses.concepts.crops import crop_of, place_of, strongest
from napari_segxai.analyses.concepts.result import SurveyMap
from napari_segxai.core.gallery import shows

FLIPPED = np.diag([-1.0, 2.0, 3.0, 1.0])
"""Of a volume whose axes grow to the left, the front and the top: 1, 2 and 3 mm."""


def crop(image: sx.Image, map: np.ndarray, **asked):
    return crop_of(SurveyMap("a", "unit 1", lambda: map, lambda: image), **asked)


def test_a_crop_is_the_square_around_the_part_that_holds_the_highest_value():
    map = np.zeros((40, 60))
    map[10:14, 50:56] = 2  # the largest extent is 6, a crop of 10 by the least share of the shorter side
    map[12, 52] = 3
    map[30:32, 5:7] = 2.9  # strong, but elsewhere
    assert strongest(map) == (slice(7, 17), slice(48, 58))
    image = sx.Image(np.arange(2400.0).reshape(40, 60))
    found = crop(image, map)
    np.testing.assert_array_equal(found.values, map[7:17, 48:58])
    assert found.scale == (0, 3)
    assert crop(image, map, whole=True).values.shape == (40, 60)
    assert crop(image, -map).scale == (-3, 3)
    empty = found.picture(with_map=False)
    assert (empty[..., 0] == empty[..., 2]).all()  # gray
    assert (found.picture() != empty).any()
    nowhere = crop(image, np.zeros((40, 60)))
    assert nowhere.values.shape == (40, 60)


def test_a_volume_is_cut_where_napari_shows_it_and_a_2d_model_was_asked():
    map = np.zeros((8, 10, 12), np.float32)
    map[3, 4, 9] = 1
    map[3, 4, 2] = 0.9
    map[4, 4, 9] = 0.9
    map[3, 5, 9] = 0.9
    image = sx.Image(np.random.default_rng(0).normal(size=map.shape), affine=FLIPPED)
    shown = np.asarray(sx.Image(map, affine=FLIPPED).array)
    found = crop(image, map, whole=True)
    # napari shows slices from the top down: of 12, the 9th from below is the 2nd from above
    assert found.place == (0, 2)
    assert place_of(image, (3, 4, 9)) == (0, 2)
    assert found.spacing == (2, 1)
    assert found.values.shape == (10, 8)
    assert found.values.max() == shown.max()
    sagittal = np.zeros_like(map)
    sagittal[5] = np.random.default_rng(1).uniform(1, 2, (10, 12))
    across = crop(image, sagittal, whole=True)
    assert across.place[0] == 2
    assert (across.values > 0).all()
    assert across.spacing == (3, 2)
    assert place_of(sx.Image(np.zeros((4, 4))), (1, 1)) is None


@pytest.mark.parametrize(
    ("of", "row", "expected"),
    [
        ({}, {"case": "a"}, True),
        ({}, {"case": "b"}, False),
        ({}, {"concept": "x"}, True),  # a table that is not about cases
        ({"unit": 3}, {"unit": 3, "case": "b"}, True),
        ({"unit": 3}, {"unit": 4}, False),
        ({"unit": 3, "concept": "x"}, {"unit": 3}, True),
        ({"unit": 3}, {"label": "x"}, False),
    ],
)
def test_a_picture_shows_the_rows_that_have_its_values(of, row, expected):
    assert shows(of, "a", row) is expected
