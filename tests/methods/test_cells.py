"""Cells, and the methods that hide and show them: kernel SHAP, LIME, Sobol indices."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.masking import superpixels as cutting
from napari_segxai.engine.masking.superpixels import (
    block_means,
    cell_masks,
    enlarged,
    honeycomb,
    numbered,
    piece_step,
    pieces_of_labels,
    superpixels,
)
from napari_segxai.methods.perturbation.kernel_shap import coalitions, fit
from napari_segxai.methods.perturbation.lime import ridge_fit
from napari_segxai.metrics.functional.statistics.sobol import total_indices


def game(members: np.ndarray) -> np.ndarray:
    """A sum, a pair that only counts together, and a dummy."""
    z = members.astype(float)
    return 1 + 3 * z[:, 0] - 2 * z[:, 1] + 4 * z[:, 2] * z[:, 3] + 0 * z[:, 4]


def shapley(value, count: int) -> np.ndarray:
    """Shapley values by their definition."""
    out = np.zeros(count)
    for i in range(count):
        others = [k for k in range(count) if k != i]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for chosen in itertools.combinations(others, size):
                z = np.zeros((2, count), bool)
                z[:, list(chosen)] = True
                z[1, i] = True
                without, with_ = value(z)
                out[i] += weight * (with_ - without)
    return out


@pytest.mark.parametrize(
    ("grid", "count"), [((64, 80), 60), ((224, 224), 200), ((24, 30, 28), 50), ((1, 40, 40), 30)]
)
def test_honeycomb_cells_are_about_as_many_and_equally_large(grid, count):
    cells = honeycomb(grid, count)
    sizes = np.bincount(cells.ravel())
    assert cells.shape == grid
    assert sizes.min() > 0
    if min(grid) > 1:
        assert 0.8 * count < len(sizes) < 1.5 * count  # those at the border are cut
        assert np.median(sizes) == pytest.approx(np.prod(grid) / count, rel=0.35)


@pytest.mark.parametrize("step", [1, 3])
def test_pieces_of_labels_reach_across_no_border(step):
    labels = np.zeros((40, 40, 31), np.uint8)
    labels[10:30, 5:20] = 2
    labels[1, 1, 1] = 1  # smaller than a block
    image = np.sin(np.indices(labels.shape) / 5).sum(0).astype(np.float32)
    cells = pieces_of_labels(np.stack([block_means(image, step)]), labels, 60, step)
    assert cells.shape == labels.shape
    sizes = np.bincount(cells.ravel())
    assert sizes.min() > 0
    assert 30 < len(sizes) < 90
    for cell in range(len(sizes)):
        assert len(np.unique(labels[cells == cell])) == 1
    assert len(np.unique(cells[labels == 2])) >= 4
    assert len(np.unique(cells[labels == 1])) == 1


def test_cells_of_large_grids_are_made_of_blocks(monkeypatch):
    small = np.arange(6).reshape(2, 3)
    assert enlarged(small, 2, (3, 5)).tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    assert block_means(np.array([[1.0, 3.0, 5.0]], np.float32), 2).tolist() == [[2.0, 5.0]]
    monkeypatch.setattr(cutting, "LARGE", 500)
    assert cutting.coarse_step((20, 25)) == 1
    assert cutting.coarse_step((20, 26)) == 2
    assert cutting.coarse_step((20, 20, 20)) == 3
    model, image = planted_model(), planted_image()
    for shape in ("honeycomb", "superpixels", "labels"):
        found = sx.explain(
            model, image, "object", "kernel-shap", device="cpu", shape=shape, samples=64, cells=20
        )
        assert found.map[PATCH].mean() > 2 * np.abs(found.map).mean(), shape


def test_inner_hexagons_touch_six_others_and_inner_dodecahedra_twelve():
    for grid, count, faces in (((90, 90), 60, 6), ((48, 48, 48), 60, 12)):
        cells = honeycomb(grid, count)
        middle = cells[tuple(n // 2 for n in grid)]
        touching = []
        for axis in range(len(grid)):
            a, b = np.moveaxis(cells, axis, 0)[:-1], np.moveaxis(cells, axis, 0)[1:]
            for one, other in ((a, b), (b, a)):
                touching += other[(one == middle) & (other != middle)].tolist()
        names, faces_of = np.unique(touching, return_counts=True)
        assert (faces_of > 0.1 * faces_of.max()).sum() == faces
        assert len(names) >= faces


def test_superpixels_follow_the_image():
    image = np.zeros((1, 40, 40), np.float32)
    image[0, :, 23:] = 1
    cells = superpixels(image, 30)
    left, right = set(cells[:, :23].ravel()), set(cells[:, 23:].ravel())
    assert not left & right
    volume = superpixels(np.random.default_rng(0).random((2, 10, 16, 16)).astype(np.float32), 20)
    assert volume.shape == (10, 16, 16)


def test_the_order_of_three_channels_does_not_matter():
    """They may be sequences of a scanner: none of them is red."""
    channels = np.random.default_rng(0).random((3, 24, 24)).astype(np.float32)
    channels[:, :, 11:] += np.array([1, 2, 3], np.float32)[:, None, None]
    there, back = superpixels(channels, 8), superpixels(channels[::-1], 8)
    np.testing.assert_array_equal(there, back)
    labels = np.zeros((24, 24), np.uint8)
    np.testing.assert_array_equal(
        pieces_of_labels(channels, labels, 8), pieces_of_labels(channels[::-1], labels, 8)
    )


def test_large_superpixels_are_made_of_blocks():
    assert piece_step((256, 256), 60) == 1
    assert piece_step((256, 256), 20) == 2
    assert piece_step((96, 96, 96), 60) == 1
    assert piece_step((96, 96, 96), 20) == 2
    assert piece_step((512, 512), 2) == 18
    assert piece_step((6, 512, 512), 2) == 1  # a thin volume keeps its slices
    rng = np.random.default_rng(0)
    image = np.kron(rng.random((4, 5)), np.ones((40, 40))) + rng.normal(0, 0.1, (160, 200))
    question = SimpleNamespace(
        grid=image.shape, input=torch.from_numpy(image)[None, None], device=torch.device("cpu")
    )
    assert piece_step(image.shape, 20) == 2
    cells = cutting.cut(question, "superpixels", 20).numpy()
    assert cells.shape == image.shape
    blocks = cells.reshape(80, 2, 100, 2)
    assert (blocks == blocks[:, :1, :, :1]).all()
    counts = np.bincount(cells.ravel())
    assert counts.min() > 0
    sums, squares = (np.bincount(cells.ravel(), values.ravel()) for values in (image, image**2))
    within = (squares - sums**2 / counts).sum() / image.size
    assert within < 0.3 * image.var()  # noise alone is about an eighth of it


@pytest.mark.parametrize(("grid", "count"), [((50, 60), 40), ((20, 24, 22), 30), ((6, 32, 32), 80)])
def test_places_are_in_the_cell_of_the_nearest_point(grid, count):
    """Of all points of the lattice that have a cell; two can be equally near."""
    area = math.prod(grid) / count
    if len(grid) == 2:
        width = math.sqrt(2 * area / math.sqrt(3))
        sides, points = (width * math.sqrt(3), width), [(0, 0), (0.5, 0.5)]
    else:
        sides, points = ((4 * area) ** (1 / 3),) * 3, [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    steps = itertools.product(*(range(-1, n) for n in (10,) * len(grid)))
    lattice = np.array([(np.add(step, point) + 0.25) * sides for step in steps for point in points])
    places = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in grid], indexing="ij"), -1)
    cells = honeycomb(grid, count)
    middles = np.array([places[cells == cell].mean(0) for cell in range(cells.max() + 1)])
    owners = lattice[((middles[:, None] - lattice) ** 2).sum(-1).argmin(1)]
    assert len(np.unique(owners.round(6), axis=0)) == len(owners)
    apart = ((places[..., None, :] - owners) ** 2).sum(-1)
    own = np.take_along_axis(apart, cells[..., None], -1)[..., 0]
    np.testing.assert_allclose(own, apart.min(-1), atol=1e-9)


def test_numbers_without_gaps():
    assert numbered(np.array([[7, 2], [2, 9]])).tolist() == [[1, 0], [0, 2]]


def test_shown_cells():
    cells = torch.tensor([[0, 1], [1, 2]])
    masks = cell_masks(np.array([[1.0, 0.0, 0.5]]), cells)
    assert masks.tolist() == [[[[1.0, 0.0], [0.0, 0.5]]]]


def test_all_coalitions_give_the_shapley_values():
    members, weights = coalitions(5, 30, seed=0)
    assert len(members) == 30
    none, all_ = game(np.array([[False] * 5, [True] * 5]))
    shares, errors = fit(members, game(members), weights, none, all_)
    np.testing.assert_allclose(shares, [3, -2, 2, 2, 0], atol=1e-9)  # symmetry, dummy, efficiency
    np.testing.assert_allclose(shares, shapley(game, 5), atol=1e-9)
    assert not errors.any()


def test_drawn_coalitions_come_near_and_know_how_near():
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(12, 12))

    def value(members):
        z = members.astype(float)
        return z @ pairs[0] + np.einsum("ni,ij,nj->n", z, pairs, z)

    exact = pairs[0] + np.diag(pairs) + (pairs + pairs.T).sum(1) / 2 - np.diag(pairs)
    none, all_ = value(np.array([[False] * 12, [True] * 12]))
    ratios = []
    for seed in range(20):
        members, weights = coalitions(12, 400, seed)
        assert (members[::2] == ~members[1::2]).all()
        shares, errors = fit(members, value(members), weights, none, all_)
        assert shares.sum() == pytest.approx(all_ - none)
        ratios.append((shares - exact) / np.maximum(errors, 1e-12))
    # pairs of complements make games of second order exact: nothing is left of the error
    np.testing.assert_allclose(shares, exact, atol=1e-6)

    def cubic(members):
        z = members.astype(float)
        return value(members) + 5 * z[:, 0] * z[:, 1] * z[:, 2]

    ratios = []
    for seed in range(40):
        members, weights = coalitions(12, 400, seed)
        shares, errors = fit(members, cubic(members), weights, none, all_ + 5)
        ratios.append((shares - exact - np.repeat([5 / 3, 0], [3, 9])) / errors)
    assert 0.6 < np.std(ratios) < 1.6


def test_one_cell_gets_everything():
    members, weights = coalitions(1, 10, 0)
    shares, _ = fit(members, np.zeros(0), weights, 0.25, 1.0)
    assert shares.tolist() == [0.75]


def test_ridge_fit_without_penalty_is_the_linear_function():
    members = np.random.default_rng(0).random((200, 4)) < 0.5
    shares, _, fitted = ridge_fit(members, 2 + members @ [1.0, -2, 0, 3], 0.25, 0)
    np.testing.assert_allclose(shares, [1, -2, 0, 3], atol=1e-9)
    assert fitted == pytest.approx(1)
    shares, _, fitted = ridge_fit(members, np.full(200, 7.0), 0.25, 1)
    np.testing.assert_allclose(shares, 0, atol=1e-9)
    assert fitted == 1


def test_total_indices_of_a_sum_are_the_shares_of_its_variance():
    slopes = torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64)
    drawn = torch.quasirandom.SobolEngine(8, scramble=True, seed=0).draw(4096).double()
    a, b = drawn.split(4, 1)
    values = [a @ slopes, b @ slopes]
    for k in range(4):
        c = a.clone()
        c[:, k] = b[:, k]
        values.append(c @ slopes)
    indices, errors = total_indices(torch.stack(values, 1))
    np.testing.assert_allclose(indices, slopes.square() / slopes.square().sum(), atol=0.01)
    assert (errors < 0.02).all()
    assert not total_indices(torch.ones(8, 6))[0].any()


class Additive(nn.Module):
    """The logit of every pixel is a fixed sum over the image: the worth of a mask is additive."""

    def __init__(self, slopes: torch.Tensor):
        super().__init__()
        self.register_buffer("slopes", slopes)

    def forward(self, x):
        logit = (x * self.slopes).flatten(1).sum(1).view(-1, *(1,) * (x.ndim - 1)).expand_as(x)
        return torch.cat([torch.zeros_like(logit), logit], 1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_additive_network(ndim):
    side = 24 if ndim == 2 else 12
    torch.manual_seed(0)
    slopes = torch.randn((side,) * ndim)
    model = sx.load_model(Additive(slopes), card=card(ndim, grid={"size": [side] * ndim}))
    image = sx.Image(np.random.default_rng(0).uniform(size=(side,) * ndim).astype(np.float32))
    target = sx.Target("object", region="image")
    terms = (slopes.numpy() * image.array).astype(float)

    found = sx.explain(
        model, image, target, "kernel-shap", score="target", cells=12, samples=200, precision="float32"
    )
    cells = honeycomb((side,) * ndim, 12)
    want = np.bincount(cells.ravel(), terms.ravel())[cells]
    np.testing.assert_allclose(found.map, want, atol=1e-3)
    results = found.record.results
    assert results["worth_of_all"] - results["worth_of_none"] == pytest.approx(terms.sum(), abs=1e-3)

    found = sx.explain(
        model,
        image,
        target,
        "lime",
        score="target",
        shape="honeycomb",
        cells=12,
        ridge=0,
        baseline="zero",
        samples=60,
    )
    np.testing.assert_allclose(found.map, want, atol=2e-2 * np.abs(want).max())
    assert found.record.results["r_squared"] > 0.999

    found = sx.explain(
        model, image, target, "seg-sobol", score="target", cells=2, designs=256, precision="float32"
    )
    half = side // 2
    blocks = terms.reshape((2, half) * ndim).sum(tuple(range(1, 2 * ndim, 2)))
    shares = blocks**2 / (blocks**2).sum()
    np.testing.assert_allclose(found.map[(slice(None, None, half),) * ndim], shares, atol=0.08)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", ["kernel-shap", "lime", "seg-sobol"])
def test_the_planted_causes_are_found(method, ndim):
    params = {
        "kernel-shap": {"cells": 80, "samples": 400},
        "lime": {"samples": 400, "baseline": "zero"},
        "seg-sobol": {"cells": 6},
    }
    found = sx.explain(planted_model(ndim), planted_image(ndim), "object", method, **params[method])
    map = found.map if ndim == 2 else found.map.mean(0)
    rest = np.ones((32, 32), bool)
    for place in (PATCH, OBJECT):
        rest[tuple(slice(max(0, p.start - 6), p.stop + 6) for p in place)] = False
    assert map[PATCH].mean() > 5 * np.abs(map[rest]).mean()
    assert map[OBJECT].mean() > 2 * np.abs(map[rest]).mean()


@pytest.mark.parametrize("method", ["rise", "kernel-shap", "seg-sobol"])
def test_a_tolerance_ends_the_drawing_early(method):
    loose = sx.explain(planted_model(), planted_image(), "object", method, tolerance=0.5, **MANY[method])
    exact = sx.explain(planted_model(), planted_image(), "object", method, **MANY[method])
    assert loose.record.passes["forward"] < exact.record.passes["forward"]
    assert loose.record.results["error"] <= 0.5
    assert exact.record.results["error"] < loose.record.results["error"]


MANY = {
    "rise": {"masks": 1200},
    "kernel-shap": {"cells": 20, "samples": 1000},
    "seg-sobol": {"cells": 4, "designs": 64},
}


def test_what_does_not_fit_is_refused():
    held = "is more than the model grid 32 x 32 holds; choose"
    for method, params, words in (
        ("seg-sobol", {"cells": 33}, "finer than the model grid 32 x 32"),
        ("kernel-shap", {"samples": 0}, "2 or more"),
        ("lime", {"samples": 1}, "2 or more"),
        ("rise", {"cells": 33}, f"rise: cells 33 {held} 32 or less"),
        ("kernel-shap", {"cells": 1025}, f"kernel-shap: cells 1025 {held} 1024 or less"),
        ("lime", {"cells": 1025}, f"lime: cells 1025 {held}"),
        ("counterfactual", {"segments": 1025}, f"counterfactual: segments 1025 {held}"),
        ("grid-saliency", {"cells": 33}, f"grid-saliency: cells 33 {held}"),
        ("extremal-perturbation", {"cells": 33}, f"extremal-perturbation: cells 33 {held}"),
        ("misure", {"mask_size": 33}, f"misure: mask_size 33 {held}"),
        ("misure", {"kernel": 33}, f"misure: kernel 33 {held}"),
    ):
        with pytest.raises(sx.UserError, match=words):
            sx.explain(planted_model(), planted_image(), "object", method, **params)


MAY_BE_ZERO = {
    ("misure", "iterations"),
    ("guided-backprop", "dropout_passes"),
    ("u-noise", "steps"),
    ("object-edit", "most"),  # how far an edit goes, in percent
}
PASSES = ("masks", "samples", "steps", "iterations", "copies", "designs", "dropout_passes", "most", "count")


def test_zero_passes_are_refused_by_every_method():
    asked = 0
    for method in sx.list_methods():
        for parameter in method["parameters"] if "image" in method["scope"] else ():
            name = parameter["name"]
            if name not in PASSES or (method["name"], name) in MAY_BE_ZERO:
                continue
            asked += 1
            with pytest.raises(sx.UserError, match=f"{name}.* or more"):
                sx.explain(planted_model(), planted_image(), "object", method["name"], **{name: 0})
    assert asked >= 10
    with pytest.raises(sx.UserError, match="steps 0 needs weights that are trained already"):
        sx.explain(planted_model(), planted_image(), "object", "u-noise", steps=0)


def test_a_baseline_outside_the_image_is_refused_wherever_it_hides():
    for method, params in (
        ("rise", {"baseline": 99999}),
        ("stable-explanation", {"wraps": "occlusion", "parameters": "baseline=99999"}),
    ):
        with pytest.raises(sx.UserError, match="baseline 99999 is outside the intensities"):
            sx.explain(planted_model(), planted_image(), "object", method, **params)


def test_the_error_falls_with_the_samples_and_may_end_the_work():
    """Of methods that average noise: the same as the spread over seeds, and a tolerance stops them."""
    model, target = (
        sx.load_model(LinearHead(), card=card(grid={"size": [32, 32]})),
        sx.Target(1, region="image"),
    )
    ask = lambda **params: sx.explain(model, planted_image(), target, "smooth-grad", **params)
    few, many = ask(samples=16, signed=True), ask(samples=256, signed=True)
    assert many.record.results["error"] < few.record.results["error"]
    runs = np.stack([ask(samples=16, signed=True, seed=seed).map for seed in range(12)])
    spread = np.sqrt(runs.var(0, ddof=1).mean()) / np.ptp(many.map)
    assert few.record.results["error"] == pytest.approx(spread, rel=0.5)
    early = ask(samples=256, tolerance=2 * many.record.results["error"])
    assert early.record.results["samples"] < 256


def test_errors_of_lime_are_the_spread_over_seeds():
    def fitted(seed):
        random = np.random.default_rng(seed)
        members = random.random((300, 4)) < 0.5
        return ridge_fit(members, members @ [1.0, -2, 0, 3] + random.normal(0, 0.5, 300), 0.25, 0)

    runs = [fitted(seed) for seed in range(60)]
    told = np.mean([errors for _, errors, _ in runs], 0)
    found = np.std([shares for shares, _, _ in runs], 0)
    np.testing.assert_allclose(told, found, rtol=0.35)
