"""Simple points and warping: closed forms, and another way of counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import gaussian

from napari_segxai.core.errors import UserError
from napari_segxai.metrics.evaluation import Evaluation, Options
from napari_segxai.metrics.functional.simple_points import codes, is_simple, offsets, topological_numbers
from napari_segxai.metrics.functional.thresholding import boxed
from napari_segxai.metrics.functional.topology import (
    KINDS,
    RESIDUAL_LABELS,
    count_errors,
    objects_and_holes,
    residual_picture,
    warping_error,
)
from napari_segxai.metrics.registry import all_metrics, find_metric


def block(shape, *boxes):
    out = np.zeros(shape, bool)
    for box in boxes:
        out[tuple(slice(a, b) for a, b in box)] = True
    return out


def neighborhood(code: int, ndim: int) -> np.ndarray:
    out = np.zeros((3,) * ndim, bool)
    for bit, place in enumerate(offsets(ndim)):
        out[tuple(o + 1 for o in place)] = bool(code >> bit & 1)
    return out


def touching(patch: np.ndarray, connectivity: int, domain: int) -> int:
    """Components of a 3x3(x3) patch that touch its centre, counted by labelling."""
    ndim = patch.ndim
    distance = np.abs(np.indices(patch.shape) - 1).sum(0)
    patch = patch & (distance <= domain) & (distance > 0)
    labels, _ = ndimage.label(patch, ndimage.generate_binary_structure(ndim, connectivity))
    return len(set(labels[distance <= connectivity].tolist()) - {0})


def test_topological_numbers_equal_labelling_in_2d():
    for code in range(256):
        patch = neighborhood(code, 2)
        assert topological_numbers(code, 2) == (touching(patch, 1, 2), touching(~patch, 2, 2))


def test_topological_numbers_equal_labelling_in_3d():
    rng = np.random.default_rng(0)
    drawn = np.concatenate(
        [rng.integers(0, 2**26, 300), rng.integers(0, 2**26, 100) & rng.integers(0, 2**26, 100)]
    )
    for code in [0, 2**26 - 1, *drawn.tolist()]:
        patch = neighborhood(code, 3)
        assert topological_numbers(code, 3) == (touching(patch, 3, 3), touching(~patch, 1, 2))


@pytest.mark.parametrize("shape", [(12, 13), (5, 6, 7)])
def test_flipping_a_simple_point_keeps_objects_and_holes(shape):
    rng = np.random.default_rng(1)
    mask = rng.random(shape) < 0.5
    before, seen = objects_and_holes(mask), set()
    padded = np.pad(mask, 1)
    for place in np.ndindex(shape):
        flat = np.ravel_multi_index([i + 1 for i in place], padded.shape)
        simple = is_simple(int(codes(padded, np.array([flat]))[0]), len(shape))
        mask[place] ^= True
        same = objects_and_holes(mask) == before
        mask[place] ^= True
        seen.add(simple)
        assert same if simple else (len(shape) == 3 or not same)  # in 2D: simple exactly if nothing changes
    assert seen == {True, False}


# -- closed forms --------------------------------------------------------------------------------------

SQUARE = ((10, 25), (10, 25))
HOLE = ((14, 18), (14, 19))  # 20 pixels
OTHER = ((30, 35), (30, 36))  # 30 pixels


def check(proposal, truth, pixels: int, **counts: int) -> None:
    found = warping_error(proposal, truth)
    assert found.pixels == pixels
    assert found.error == pytest.approx(pixels / truth.size)
    assert (found.residual > 0).sum() == pixels
    assert {k: n for k, n in found.counts.items() if n} == {k.replace("_", " "): n for k, n in counts.items()}
    assert objects_and_holes(found.warped) == objects_and_holes(truth)  # warping tears nothing


def test_equal_and_moved_and_bent_outlines_cost_nothing():
    truth = block((40, 40), SQUARE)
    check(truth, truth, 0)
    check(np.roll(truth, (3, -2), (0, 1)), truth, 0)
    yy, xx = np.mgrid[:40, :40]
    check((yy - 17) ** 2 + (xx - 17) ** 2 < 90, truth, 0)
    ring = truth & ~block((40, 40), HOLE)
    check(np.roll(ring, 1, 1), ring, 0)


def test_what_is_only_in_the_proposal_costs_its_area():
    truth = block((40, 40), SQUARE)
    check(block((40, 40), SQUARE, OTHER), truth, 30, object_added=1)
    check(truth & ~block((40, 40), HOLE), truth, 20, hole_added=1)


def test_what_is_only_in_the_truth_shrinks_to_one_pixel():
    proposal = block((40, 40), SQUARE)
    check(proposal, block((40, 40), SQUARE, OTHER), 1, object_deleted=1)
    check(proposal, proposal & ~block((40, 40), HOLE), 1, hole_deleted=1)


def test_a_gap_cannot_open_and_a_bridge_cannot_close():
    whole = block((40, 40), SQUARE)
    cut = whole & ~block((40, 40), ((0, 40), (16, 19)))
    split = warping_error(cut, whole)
    assert split.pixels >= 1
    assert {k: n for k, n in split.counts.items() if n} == {"split": 1}
    merge = warping_error(whole, cut)
    assert merge.pixels >= 15  # a wall one pixel thick stays, all along the gap
    assert {k: n for k, n in merge.counts.items() if n} == {"merge": 1}


def test_an_opened_or_closed_ring_is_about_its_hole():
    ring = block((40, 40), SQUARE) & ~block((40, 40), ((14, 20), (14, 20)))
    gap = ring & ~block((40, 40), ((10, 14), (16, 18)))
    assert {k for k, n in warping_error(gap, ring).counts.items() if n} == {"hole deleted"}
    assert {k for k, n in warping_error(ring, gap).counts.items() if n} == {"hole added"}


def test_the_seeds_direction_warps_the_proposal_and_names_the_same_mistakes():
    truth = block((40, 40), SQUARE)
    more = block((40, 40), SQUARE, OTHER)
    added = warping_error(more, truth, direction="proposal")
    assert added.pixels == 1  # the surplus object shrinks to a point
    assert added.counts["object added"] == 1
    missing = warping_error(truth, more, direction="proposal")
    assert missing.pixels == 30
    assert missing.counts["object deleted"] == 1
    with pytest.raises(UserError, match="truth or proposal"):
        warping_error(more, truth, direction="both")


def test_nothing_at_all_is_defined():
    empty, square = np.zeros((40, 40), bool), block((40, 40), SQUARE)
    check(empty, empty, 0)
    check(square, empty, 225, object_added=1)
    check(empty, square, 1, object_deleted=1)


# -- 3D ------------------------------------------------------------------------------------------------


def test_closed_forms_in_3d():
    ball = block((14, 14, 14), ((2, 9), (2, 9), (2, 9)))
    check(np.roll(ball, 2, 1), ball, 0)
    other = block((14, 14, 14), ((2, 9), (2, 9), (2, 9)), ((11, 13), (11, 13), (11, 13)))
    check(other, ball, 8, object_added=1)
    check(ball, other, 1, object_deleted=1)
    hollow = ball & ~block((14, 14, 14), ((4, 6), (4, 6), (4, 6)))
    check(hollow, ball, 8, hole_added=1)
    check(ball, hollow, 1, hole_deleted=1)
    halves = ball & ~block((14, 14, 14), ((5, 6), (0, 14), (0, 14)))
    assert {k for k, n in warping_error(halves, ball).counts.items() if n} == {"split"}
    assert {k for k, n in warping_error(ball, halves).counts.items() if n} == {"merge"}


def test_a_tunnel_in_3d():
    slab = block((9, 12, 12), ((3, 6), (2, 10), (2, 10)))
    pierced = slab & ~block((9, 12, 12), ((0, 9), (5, 7), (5, 7)))
    assert objects_and_holes(slab) == (1, 0, 0)
    assert objects_and_holes(pierced) == (1, 1, 0)
    assert {k for k, n in warping_error(pierced, slab).counts.items() if n} == {"hole added"}
    assert {k for k, n in warping_error(slab, pierced).counts.items() if n} == {"hole deleted"}


def test_a_volume_of_one_slice_is_that_slice():
    rng = np.random.default_rng(2)
    proposal, truth = ndimage.gaussian_filter(rng.standard_normal((2, 40, 40)), (0, 2, 2)) > 0
    flat = warping_error(proposal, truth)
    for axis in range(3):
        slab = warping_error(np.expand_dims(proposal, axis), np.expand_dims(truth, axis))
        assert (slab.pixels, slab.error, slab.counts) == (flat.pixels, flat.error, flat.counts)
        assert slab.residual.ndim == 3
        assert count_errors(np.expand_dims(proposal, axis), np.expand_dims(truth, axis)) == count_errors(
            proposal, truth
        )


# -- more ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 40), (12, 14, 16)])
def test_warping_keeps_the_topology_and_leaves_no_simple_point(shape):
    rng = np.random.default_rng(3)
    soft, other = (ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(2))
    truth = other > 0
    for proposal, theta in ((soft > 0, 0.5), (soft, 0.0)):
        found = warping_error(proposal, truth, theta=theta)
        assert objects_and_holes(found.warped) == objects_and_holes(truth)
        goal = soft > 0
        np.testing.assert_array_equal(found.residual > 0, found.warped != goal)
        padded = np.pad(found.warped, 1)
        left = np.flatnonzero(np.pad(found.warped != goal, 1))
        assert len(left) > 0
        assert not any(is_simple(int(code), len(shape)) for code in codes(padded, left))
        assert sum(found.counts.values()) > 0


def test_sure_pixels_are_flipped_first():
    """Two ways round a ring that has to stay open: the wall stays where the proposal is least sure."""
    truth = np.zeros((3, 9), bool)
    truth[1, 0] = truth[1, 8] = True
    proposal = np.full((3, 9), 0.1)
    proposal[1] = [1, 0.9, 0.8, 0.51, 0.8, 0.9, 0.9, 0.9, 1]
    found = warping_error(proposal, truth)
    np.testing.assert_array_equal(np.argwhere(found.residual), [[1, 3]])
    assert found.counts["merge"] == 1


def test_pixels_outside_the_geometric_mask_neither_move_nor_count():
    truth = block((40, 40), SQUARE)
    moved = np.roll(truth, 1, 0)
    within = block((40, 40), ((0, 20), (0, 40)))
    found = warping_error(moved, truth, within=within)
    assert found.pixels == 0
    np.testing.assert_array_equal(found.warped[20:], truth[20:])
    more = block((40, 40), SQUARE, OTHER)
    assert warping_error(more, truth, within=within).error == 0
    assert warping_error(block((40, 40), SQUARE, ((0, 2), (0, 2))), truth, within=within).error == 4 / 800


def test_objects_and_holes_by_hand():
    assert objects_and_holes(block((40, 40), SQUARE, OTHER)) == (2, 0, 0)
    assert objects_and_holes(block((40, 40), SQUARE, OTHER) & ~block((40, 40), HOLE)) == (2, 1, 0)
    assert objects_and_holes(np.eye(3, dtype=bool)) == (3, 0, 0)  # in 2D corners do not join
    assert objects_and_holes(np.zeros((5, 5))) == (0, 0, 0)
    assert objects_and_holes(np.ones((5, 5))) == (1, 0, 0)
    hollow = block((9, 9, 9), ((1, 8), (1, 8), (1, 8))) & ~block((9, 9, 9), ((3, 5), (3, 5), (3, 5)))
    assert objects_and_holes(hollow) == (1, 0, 1)
    assert count_errors(hollow, np.ones((9, 9, 9))) == (0, 1)
    assert count_errors(block((40, 40), SQUARE, OTHER), block((40, 40), SQUARE)) == (1, 0)
    with pytest.raises(UserError, match="two or three"):
        objects_and_holes(np.ones((2, 2, 2, 2)))


def test_the_residual_picture_by_hand():
    whole, hole, other = block((40, 40), SQUARE), block((40, 40), HOLE), block((40, 40), OTHER)
    cut = whole & ~block((40, 40), ((0, 40), (16, 19)))
    number = {name: k for k, name in RESIDUAL_LABELS.items()}
    assert number == {"none": 0} | {kind: k + 1 for k, kind in enumerate(KINDS)}

    def shows(proposal, truth, kind, where) -> None:
        """One kind of error alone; `where` is a mask if it is shown in full, or how many pixels its trace has."""
        picture = residual_picture(proposal, truth, direction="truth")
        assert (picture.dtype, picture.shape) == (np.uint8, proposal.shape)
        assert set(np.unique(picture).tolist()) == {0, number[kind]}
        if isinstance(where, int):
            assert (picture > 0).sum() == where
            assert not (picture > 0)[~truth if "object" in kind or kind == "split" else truth].any()
        else:
            np.testing.assert_array_equal(picture > 0, where)
        # the other direction shows the opposite mistake of the masks exchanged
        opposite = {"added": "deleted", "deleted": "added", "merge": "split", "split": "merge"}
        mirrored = residual_picture(truth, proposal, direction="proposal")
        *what, word = kind.split()
        other_kind = number[" ".join([*what, opposite[word]])]
        np.testing.assert_array_equal(mirrored, np.where(picture > 0, other_kind, 0))

    shows(whole | other, whole, "object added", other)
    shows(whole & ~hole, whole, "hole added", hole)
    shows(whole, whole | other, "object deleted", 1)
    shows(whole, whole & ~hole, "hole deleted", 1)
    shows(cut, whole, "split", 3)  # a thread, as long as the gap is wide
    wall = residual_picture(whole, cut)
    assert set(np.unique(wall)) == {0, number["merge"]}
    assert (wall > 0).any(1).sum() == 15  # a wall in the gap, all along it
    assert not ((wall > 0) & cut).any()


def test_the_residual_picture_of_several_errors_and_of_plain_numbers():
    whole, hole, other = block((40, 40), SQUARE), block((40, 40), HOLE), block((40, 40), OTHER)
    picture = residual_picture(255 * ((whole & ~hole) | other).astype(np.uint8), whole.astype(int))
    np.testing.assert_array_equal(picture, 3 * hole + 5 * other)
    assert not residual_picture(np.roll(whole, 2, 0), whole).any()  # an outline is free to move
    with pytest.raises(UserError, match="one grid"):
        residual_picture(whole, whole[1:])


def test_the_residual_picture_in_3d():
    ball, other = ((2, 9), (2, 9), (2, 9)), ((11, 13), (11, 13), (11, 13))
    truth = block((14, 14, 14), ball)
    cavity = block((14, 14, 14), ((4, 6), (4, 6), (4, 6)))
    found = (truth | block((14, 14, 14), other)) & ~cavity
    np.testing.assert_array_equal(residual_picture(found, truth), 3 * cavity + 5 * block((14, 14, 14), other))


def test_counts_of_masks_and_of_their_boxes():
    """Two objects, close enough that their boxes are one; a ring, whose box has no hole; a fourth, missing."""
    truth = block((40, 40), ((2, 12), (2, 5)), ((2, 5), (2, 12)), ((8, 11), (8, 11)))
    truth |= block((40, 40), ((20, 30), (20, 30))) & ~block((40, 40), ((23, 27), (23, 27)))
    truth |= block((40, 40), ((35, 38), (2, 6)))
    map = block((40, 40), ((2, 12), (2, 5)), ((2, 5), (2, 12)), ((8, 11), (8, 11)), ((20, 30), (20, 30)))
    e = Evaluation("map", map.astype(float), truth, truth, (1.0, 1.0), Options(components="all"))
    counts = [m for m in all_metrics() if m.name.startswith(("topology-", "object-count-", "hole-count-"))]
    got = {m.name: m.measure(e) for m in counts if "warping" not in m.name}
    assert got == {
        "topology-merges-mask": 0,
        "topology-splits-mask": 0,
        "topology-holes-mask": 1,  # the ring is filled
        "topology-objects-mask": 1,
        "object-count-error-mask": 1,
        "hole-count-error-mask": 1,
        "topology-merges-box": 0,
        "topology-splits-box": 0,
        "topology-holes-box": 0,
        "topology-objects-box": 1,
        "object-count-error-box": 1,
        "hole-count-error-box": 0,
    }
    joined = map | block((40, 40), ((5, 22), (10, 12)), ((20, 22), (10, 20)))
    e = Evaluation("map", joined.astype(float), truth, truth, (1.0, 1.0), Options(components="all"))
    boxes = warping_error(boxed(joined, "all"), boxed(truth, "all"))
    assert find_metric("topology-merges-box").measure(e) == boxes.counts["merge"] == 1
    assert find_metric("topology-merges-mask").measure(e) >= 1


def test_the_kinds_have_numbers():
    truth = block((40, 40), SQUARE)
    found = warping_error(block((40, 40), SQUARE, OTHER), truth)
    assert set(np.unique(found.residual)) == {0, KINDS.index("object added") + 1}


@pytest.mark.parametrize("direction", ["truth", "proposal"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_that_touch_can_become_one_another(ndim, direction):
    """They grow together before they part; in one order of flipping alone up to half of such pairs are torn."""
    rng = np.random.default_rng(ndim)
    shape = (14,) * 2 if ndim == 2 else (9,) * 3
    for _ in range(25):
        middle, pair = shape[0] // 2, []
        for low, high in (
            (int(rng.integers(0, middle - 1)), middle),
            (middle, int(rng.integers(middle + 1, shape[0]))),
        ):
            rest = tuple(
                slice(int(rng.integers(0, n // 2)), int(rng.integers(n // 2 + 1, n))) for n in shape[1:]
            )
            box = np.zeros(shape, bool)
            box[(slice(low, high), *rest)] = True
            pair.append(box)
        assert warping_error(*pair, direction=direction).pixels == 0


def test_the_least_of_several_orders_counts():
    from napari_segxai.metrics.functional.topology import _warp

    better = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        field = gaussian(rng.random((32, 32)), 2)
        truth = field > np.median(field)
        other = gaussian(field + 0.3 * gaussian(rng.random((32, 32)), 2), 1)
        found = other > np.median(other)
        one = (_warp(truth, found, np.ones_like(truth), None) != found).sum()
        least = warping_error(found, truth).pixels
        assert least <= one
        better += least < one
    assert better
