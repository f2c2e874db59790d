"""Threshold to box, and agreement of maps with regions: hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_segxai.core.arrays import as_array, unit
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional import localization, thresholding
from napari_segxai.metrics.functional import mass as shares


def rectangle(shape, *slices):
    out = np.zeros(shape, bool)
    out[slices] = True
    return out


# -- threshold, components, box ------------------------------------------------------------------------


def test_thresholds_by_hand():
    map = np.array([0.0, 1, 2, 3, 4])  # mean 2, sum 10
    keep = lambda *args: np.flatnonzero(thresholding.threshold(map, *args)).tolist()
    assert keep("mean") == [2, 3, 4]  # at or above
    assert keep("maximum", 0.75) == [3, 4]
    assert keep("maximum") == [1, 2, 3, 4]  # 0.2 x 4
    assert keep("mass", 0.4) == [4]
    assert keep("mass", 0.41) == [3, 4]
    assert keep("mass", 1.0) == [1, 2, 3, 4]  # zeros hold no mass
    assert keep("fixed") == [2, 3, 4]  # 0.5 of [0, 1]
    assert keep("fixed", 0.0) == [1, 2, 3, 4]
    with pytest.raises(UserError, match="maximum"):
        thresholding.threshold(map, "median")


def test_equal_values_are_above_a_threshold_of_mass_together():
    assert thresholding.threshold([1.0, 1, 1, 0], "mass", 0.5).tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", ["mean", "maximum", "mass", "fixed"])
def test_maps_without_positive_values_keep_nothing_and_constant_ones_all(kind):
    assert not thresholding.threshold(np.zeros((4, 5)), kind).any()
    assert not thresholding.threshold(np.full((4, 5), -1.0), kind).any()
    assert thresholding.threshold(
        np.full((7, 11), 0.1), kind
    ).all()  # 0.1 is not a float: its mean must not exceed it


def test_negative_values_count_as_zero():
    map = np.array([-100.0, 0, 1, 3])
    np.testing.assert_array_equal(thresholding.threshold(map), thresholding.threshold(map.clip(min=0)))


def test_components_touch_at_corners_and_the_first_of_equal_ones_is_taken():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = True  # one, by the corner
    mask[4, 3:5] = True
    assert thresholding.components(mask).sum() == 2
    assert thresholding.components(mask)[0, 0]
    assert thresholding.components(mask, "all").sum() == 4
    mask[4, 5] = True
    np.testing.assert_array_equal(np.argwhere(thresholding.components(mask)), [[4, 3], [4, 4], [4, 5]])
    assert not thresholding.components(np.zeros((3, 3), bool)).any()
    with pytest.raises(UserError, match="largest or all"):
        thresholding.components(mask, "biggest")


def test_boxes_are_inclusive():
    """Published code takes right - left as the width, and fails for what is one row high or wider than tall."""
    mask = rectangle((20, 30), slice(3, 6), slice(4, 25))
    assert thresholding.tight_box(mask) == ((3, 4), (5, 24))
    np.testing.assert_array_equal(
        thresholding.boxed(mask), mask
    )  # a rectangle is its own box, to the last pixel
    row = rectangle((20, 30), 7, slice(10, 29))
    np.testing.assert_array_equal(thresholding.boxed(row), row)
    assert thresholding.tight_box(rectangle((4, 4), 2, 3)) == ((2, 3), (2, 3))
    assert thresholding.tight_box(np.zeros((4, 4))) is None
    assert not thresholding.boxed(np.zeros((4, 4))).any()
    assert thresholding.tight_box(rectangle((4, 5, 6), slice(1, 3), 2, slice(0, 6))) == ((1, 2, 0), (2, 2, 5))


def test_every_component_can_have_its_own_box():
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1, 1] = mask[7, 7] = True
    assert thresholding.boxed(mask).all()
    np.testing.assert_array_equal(
        np.argwhere(thresholding.boxed(mask, "all")), [[0, 0], [0, 1], [1, 0], [1, 1], [7, 7]]
    )


# -- regions -------------------------------------------------------------------------------------------


def test_two_regions_by_hand():
    a = rectangle((10, 10), slice(0, 4), slice(0, 5))  # 20
    b = rectangle((10, 10), slice(2, 6), slice(0, 5))  # 20, 10 of them in both
    assert localization.iou(a, b) == pytest.approx(10 / 30)
    assert localization.localization_error(a, b) == pytest.approx(20 / 30)
    assert localization.precision(a, b) == pytest.approx(0.5)
    assert localization.recall(a, b) == pytest.approx(0.5)
    assert localization.f_score(a, b) == pytest.approx(0.5)
    small = rectangle((10, 10), slice(0, 1), slice(0, 5))
    assert localization.precision(small, a) == 1
    assert localization.recall(small, a) == 0.25
    assert localization.f_score(small, a, beta=2) == pytest.approx(5 * 0.25 / (4 + 0.25))


def test_iou_is_not_the_recall_that_published_code_computes():
    """The code of Aabid and Sicre chains comparisons: `g == 1 ^ p == 1` asks for g == 1 and p == 0."""
    rng = np.random.default_rng(0)
    truth, found = rng.random((2, 10, 10)) < 0.5
    pairs = list(zip(truth.ravel().astype(int).tolist(), found.ravel().astype(int).tolist(), strict=True))
    both = sum(g == 1 and p == 1 for g, p in pairs)
    published = both / (both + sum(g == 1 ^ p == 1 for g, p in pairs))
    assert published == pytest.approx(localization.recall(found, truth))
    right = both / sum(g == 1 or p == 1 for g, p in pairs)
    assert localization.iou(found, truth) == pytest.approx(right)
    assert right < published - 0.1
    # so a map that covers everything would be perfect
    small, everything = rectangle((10, 10), slice(2, 4), slice(2, 4)), np.ones((10, 10), bool)
    assert localization.recall(everything, small) == 1
    assert localization.localization_error(everything, small) == pytest.approx(0.96)


def test_f1_follows_from_iou():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random((2, 6, 7)) < rng.random((2, 1, 1))
        if b.any():
            overlap = localization.iou(a, b)
            assert localization.f_score(a, b) == pytest.approx(2 * overlap / (1 + overlap))
            p, r = localization.precision(a, b), localization.recall(a, b)
            if p:
                assert localization.f_score(a, b) == pytest.approx(2 * p * r / (p + r))


def test_empty_regions_are_a_miss_or_undefined_never_a_hit():
    none, some = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert localization.iou(none, none) is None
    assert localization.iou(none, some) == 0
    assert localization.localization_error(none, some) == 1
    assert localization.recall(none, some) == localization.f_score(none, some) == 0
    assert localization.precision(none, some) is None
    for metric in (
        localization.localization_error,
        localization.precision,
        localization.recall,
        localization.f_score,
    ):
        assert metric(some, none) is None
        assert metric(none, none) is None


# -- maps ----------------------------------------------------------------------------------------------


def test_energy_and_soft_scores_by_hand():
    map = np.array([[4.0, 2, 0], [-5, 0, 2]])
    region = np.array([[1, 0, 0], [1, 0, 1]])
    assert localization.energy_inside(map, region) == pytest.approx(6 / 8)  # -5 does not count
    assert localization.soft_recall(map, region) == pytest.approx((1 + 0 + 0.5) / 3)
    assert localization.soft_f_score(map, region) == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert localization.mean_absolute_error(map, region) == pytest.approx((0 + 0.5 + 0 + 1 + 0 + 0.5) / 6)


def test_the_box_holds_at_least_the_energy_of_the_mask():
    rng = np.random.default_rng(1)
    for ndim in (2, 3):
        for _ in range(10):
            map, mask = rng.standard_normal((9,) * ndim), rng.random((9,) * ndim) < 0.02
            if mask.any():
                box = localization.energy_inside(map, thresholding.boxed(mask))
                assert box >= localization.energy_inside(map, mask)


def test_pointing_game_ties_and_tolerance():
    map = np.zeros((5, 9))
    map[2, 2] = map[2, 6] = 1
    left = rectangle((5, 9), slice(0, 5), slice(0, 3))
    assert localization.pointing_game(map, left) == 1
    assert localization.pointing_game(map, left, ties="all") == 0
    assert localization.pointing_game(map, left, ties="share") == 0.5
    map[2, 2] = 0  # the peak is 4 columns from column 2
    assert localization.pointing_game(map, left) == 0
    assert localization.pointing_game(map, left, tolerance=3.9) == 0
    assert localization.pointing_game(map, left, tolerance=4) == 1
    assert localization.pointing_game(map, left, tolerance=7.9, spacing=(1, 2)) == 0
    assert localization.pointing_game(map, left, tolerance=8, spacing=(1, 2)) == 1
    with pytest.raises(UserError, match="share"):
        localization.pointing_game(map, left, ties="most")


def test_maps_that_point_nowhere_do_not_hit():
    region = np.ones((3, 3), bool)
    for map in (np.zeros((3, 3)), np.ones((3, 3)), -np.eye(3)):
        assert localization.pointing_game(map, region) is None
    for map in (np.zeros((3, 3)), -np.ones((3, 3))):
        assert localization.energy_inside(map, region) is None
        assert localization.soft_recall(map, region) is None
        assert localization.soft_f_score(map, region) is None
        assert localization.mean_absolute_error(map, region) is None
        assert localization.box_accuracy(map, region) == 0
    for metric in (
        localization.energy_inside,
        localization.soft_recall,
        localization.pointing_game,
        localization.mean_absolute_error,
        localization.box_accuracy,
    ):
        assert metric(np.eye(3), np.zeros((3, 3))) is None


def test_box_accuracy_over_tau():
    map = np.zeros((20, 20))
    map[5:15, 5:15] = 0.3
    map[7:13, 7:13] = 1
    truth = rectangle((20, 20), slice(7, 13), slice(7, 13))  # 36 of 100
    taus, values = localization.ious_over_tau(map, truth, taus=[0.1, 0.3, 0.31, 0.9])
    assert taus.tolist() == [0.1, 0.3, 0.31, 0.9]
    np.testing.assert_allclose(values, [0.36, 0.36, 1, 1])
    assert localization.box_accuracy(map, truth, tau=0.2) == 0
    assert localization.box_accuracy(map, truth, tau=0.2, sigma=0.36) == 1
    assert localization.box_accuracy(map, truth, tau=0.5) == 1
    assert localization.box_accuracy(map, truth, tau=None) == 1
    ring = truth.copy()
    ring[8:12, 8:12] = False  # the box is the same, the mask is not
    assert localization.box_accuracy(map, ring, tau=0.5, sigma=0.9) == 1
    assert localization.box_accuracy(map, ring, tau=0.5, sigma=0.9, form="mask") == 0


def test_torch_and_numpy_give_the_same_in_any_dimension():
    rng = np.random.default_rng(2)
    for shape in ((12,), (8, 9), (4, 5, 6)):
        map, mask = rng.standard_normal(shape).astype(np.float32), rng.random(shape) < 0.3
        for metric in (
            localization.energy_inside,
            localization.soft_f_score,
            localization.pointing_game,
            localization.mean_absolute_error,
        ):
            value = metric(torch.tensor(map, requires_grad=True), torch.from_numpy(mask))
            assert value == pytest.approx(metric(map, mask))
            assert isinstance(value, float)


def test_a_volume_of_one_slice_is_that_slice():
    rng = np.random.default_rng(3)
    map, mask = rng.standard_normal((9, 8)), rng.random((9, 8)) < 0.3
    for metric in (
        localization.energy_inside,
        localization.pointing_game,
        localization.mean_absolute_error,
        localization.box_accuracy,
    ):
        assert metric(map[None], mask[None]) == metric(map, mask)
    np.testing.assert_array_equal(thresholding.region(map[None])[0], thresholding.region(map))


def test_wrong_arrays_are_refused():
    with pytest.raises(UserError, match=r"\(3, 3\), \(4, 4\)"):
        localization.energy_inside(np.ones((3, 3)), np.ones((4, 4)))
    with pytest.raises(UserError, match="finite"):
        localization.energy_inside(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(UserError, match="at least one"):
        unit(np.zeros((0, 3)))


def test_scaling_to_unit():
    np.testing.assert_allclose(unit([-3.0, 0, 1, 2]), [0, 0, 0.5, 1])
    np.testing.assert_allclose(unit([2.0, 3, 4]), [0, 0.5, 1])  # a floor goes
    np.testing.assert_array_equal(unit([5.0, 5]), [1, 1])
    np.testing.assert_array_equal(unit([-5.0, -5]), [0, 0])
    assert as_array(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float64


# -- shares --------------------------------------------------------------------------------------------


def test_zones_are_measured_in_mm():
    region = rectangle((12, 12), slice(3, 9), slice(3, 9))
    assert (
        shares.zones(region, 1) == 0
    ).sum() == 20 + 24  # the outermost ring, and its four neighbours outside
    # columns of 2 mm: across columns the next centre is 2 mm away, across rows 1 mm
    zone = shares.zones(region, 1, (1, 2))
    assert (zone == 0).sum() == 4 * 6  # top and bottom row, inside and outside
    assert (zone[3, 3:9] == 0).all()
    assert (zone[4:8, 3] == 1).all()
    assert (shares.zones(np.ones((4, 4), bool), 1) == 1).all()  # ends with the image: no outline


def test_shares_add_up_and_go_where_the_mass_is():
    region = rectangle((12, 12), slice(3, 9), slice(3, 9))
    map = np.zeros((12, 12))
    map[3, 3], map[5, 5], map[0, 0], map[11, 11] = 1, 2, 5, -7
    assert shares.zone_shares(map, region, 1) == {"boundary": 1 / 8, "interior": 2 / 8, "context": 5 / 8}
    assert shares.zone_shares(map, region, 3)["interior"] == 0
    assert shares.zone_shares(np.zeros((12, 12)), region, 1) is None
    assert shares.zone_shares(map, np.zeros((12, 12)), 1) is None
    with pytest.raises(UserError, match="more than 0"):
        shares.zone_shares(map, region, 0)


def test_mass_per_label():
    labels = np.array([[0, 0, 0], [1, 1, 3]])
    map = np.array([[1.0, 0, -9], [2, 2, 5]])
    names = ["ground", "liver", "spleen", "kidney"]
    mass = shares.mass_per_label(torch.from_numpy(map), labels, names)
    assert {k: v["share"] for k, v in mass.items()} == {
        "ground": 0.1,
        "liver": 0.4,
        "spleen": 0,
        "kidney": 0.5,
    }
    assert mass["kidney"]["density"] == pytest.approx(0.5 * 6)
    assert mass["spleen"]["density"] is None
    assert set(shares.mass_per_label(map, labels)) == {"0", "1", "3"}
    assert shares.mass_per_label(-map.clip(min=0), labels) is None
    with pytest.raises(UserError, match="label 3 has no name"):
        shares.mass_per_label(map, labels, names[:3])
