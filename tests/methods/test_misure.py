"""MiSuRe: both stages, and the facts that follow from its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, PatchSwitch, card, patch_of, planted_image, planted_model
from skimage.morphology import dilation, disk
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.masking.morphology import ball, dilate
from napari_segxai.engine.primitives.regularizers import SizeAndVariation
from napari_segxai.gui.viewer.legend import legend


class Neighborhood(nn.Module):
    """Draws a bright pixel only if enough of the square around it is not black: needs context of known size."""

    def __init__(self, radius: int = 6, need: float = 0.8):
        super().__init__()
        self.radius, self.need = radius, need

    def forward(self, x):
        width = 2 * self.radius + 1
        lit = torch.sigmoid(60 * (x - 0.05))
        around = nn.functional.avg_pool2d(lit, width, stride=1, padding=self.radius, count_include_pad=False)
        logit = 30 * torch.minimum(x - 0.7, around - self.need)
        return torch.cat([-logit, logit], 1)


@pytest.fixture
def context():
    array = np.full((48, 48), 0.3, np.float32)
    array[20:28, 20:28] = 1
    return sx.load_model(Neighborhood(), card=card()), sx.Image(array)


def by_hand(model, image, width, tau):
    """Stage 1 written out one dilation at a time, with scikit-image's dilation."""
    x = torch.from_numpy(image.array)[None, None]
    predict = lambda t: model.module(t).argmax(1)[0].numpy() == 1
    reference = predict(x)
    mask, dice = reference.copy(), []
    while True:
        found = predict(x * torch.from_numpy(mask))
        dice.append(2 * (found & reference).sum() / (found.sum() + reference.sum()))
        if dice[-1] > tau or mask.all():
            return mask, dice
        mask = dilation(mask, disk(width // 2)).astype(bool)


@pytest.mark.parametrize("tau", [0.5, 0.9])
@pytest.mark.parametrize("width", [3, 7])
def test_stage_one_equals_the_algorithm_written_out(context, tau, width):
    model, image = context
    ex = sx.explain(model, image, "object", "misure", tau=tau, kernel=width, iterations=0)
    mask, dice = by_hand(model, image, width, tau)
    np.testing.assert_array_equal(ex.masks["sufficient_region"], mask)
    np.testing.assert_allclose(ex.curves["dilation"]["dice"], dice, rtol=1e-6)
    results = ex.record.results
    assert results["status"] == "reached"
    assert results["n_dilations"] == len(dice) - 1 > 0
    assert results["ratio_sufficient"] == pytest.approx(mask.sum() / results["object_cells"])


def test_stages_tell_when_a_pixel_came_in(context):
    model, image = context
    ex = sx.explain(model, image, "object", "misure", kernel=3, iterations=0)
    np.testing.assert_array_equal(ex.stages == 1, ex.prediction == 1)
    np.testing.assert_array_equal(ex.stages > 0, ex.masks["sufficient_region"])
    for row in ex.stage_table:
        assert row["cells"] == (np.isin(ex.stages, range(1, row["stage"] + 1))).sum()
    assert [row["dilations"] for row in ex.stage_table] == list(range(len(ex.stage_table)))


def test_an_object_that_stands_alone_needs_no_dilation():
    class Bright(nn.Module):
        def forward(self, x):
            return torch.cat([0.5 - x, x - 0.5], 1) * 10

    array = np.zeros((20, 20), np.float32)
    array[5:9, 5:9] = 1
    ex = sx.explain(sx.load_model(Bright(), card=card()), sx.Image(array), "object", "misure", iterations=0)
    assert ex.record.results["n_dilations"] == 0
    assert ex.record.results["dice_explained"] == 1


def test_full_and_capped_are_told_apart(context):
    model, image = context
    ex = sx.explain(model, image, "object", "misure", tau=1.0, kernel=3, iterations=0)
    assert ex.record.results["status"] == "full"
    assert ex.record.results["dice_explained"] == 1  # the full mask leaves the image as it is
    assert ex.masks["sufficient_region"].all()
    ex = sx.explain(model, image, "object", "misure", kernel=3, max_dilations=2, iterations=0)
    assert ex.record.results["status"] == "capped"
    assert ex.record.results["n_dilations"] == 2
    assert "sufficient" in ex.record.warnings[0]


def test_a_region_below_tau_is_not_called_sufficient(context):
    model, image = context

    def named(ex):
        names = [layer[1]["name"].split(" · ")[0] for layer in ex.to_layers(prediction=False)]
        return [name for name in names if "region" in name]

    ex = sx.explain(model, image, "object", "misure", kernel=3, lr=0.3, lam=100, iterations=30)
    assert ex.record.results["dice_explained"] < 0.9 < ex.record.results["dice_sufficient"]
    assert ex.record.results["status"] == "pruned below tau"
    assert named(ex) == ["sufficient region", "minimal region, below tau"]
    assert "minimal region, below tau" in legend(ex)
    ex = sx.explain(model, image, "object", "misure", kernel=3, max_dilations=2, iterations=0)
    assert named(ex)[0] == "sufficient region, below tau"
    ex = sx.explain(model, image, "object", "misure", kernel=3, iterations=5)
    assert ex.record.results["status"] == "reached"
    assert named(ex) == ["sufficient region", "minimal region"]


@pytest.mark.parametrize("lam", [0.001, 0.01, 0.1])
def test_a_learning_rate_of_a_thousandth_never_prunes(context, lam):
    model, image = context
    ex = sx.explain(model, image, "object", "misure", kernel=3, lr=1e-3, lam=lam)
    sufficient = ex.masks["sufficient_region"]
    np.testing.assert_array_equal(ex.masks["minimally_sufficient_region"], sufficient)
    assert ex.record.results["ratio_mask"] == ex.record.results["ratio_sufficient"]
    assert ex.map[sufficient].min() > 0.85


def test_pruning_keeps_within_the_sufficient_region_and_only_shrinks():
    model, image = planted_model(), planted_image()
    target = sx.Target("object", region=sx.Component((20, 10)))
    kept = []
    for iterations in (5, 10, 20, 40, 80):
        ex = sx.explain(model, image, target, "misure", kernel=5, iterations=iterations, lam=0.5)
        kept.append(ex.masks["minimally_sufficient_region"])
        assert not (kept[-1] & ~ex.masks["sufficient_region"]).any()
    for earlier, later in itertools.pairwise(kept):
        assert not (later & ~earlier).any()
    assert kept[-1].sum() < kept[0].sum()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_planted_reason_is_found(ndim):
    """Asked about the object alone, MiSuRe has to dilate until it meets the patch, and to keep it."""
    model, image = planted_model(ndim), planted_image(ndim)
    at = (20, 10) if ndim == 2 else (3, 20, 10)
    target = sx.Target("object", region=sx.Component(at))
    ex = sx.explain(model, image, target, "misure", kernel=3, lam=0.5, mask_size=32)
    results = ex.record.results
    assert results["n_dilations"] > 3
    assert results["dice_explained"] > 0.9
    kept, sufficient = ex.masks["minimally_sufficient_region"], ex.masks["sufficient_region"]
    where = (..., *PATCH)
    assert kept[where].mean() > 0.3
    reasons = np.zeros(kept.shape, bool)
    reasons[patch_of(ndim)] = reasons[(..., *OBJECT)] = True
    # Of what is no reason, pruning removes far more than of what is.
    assert kept[~reasons].sum() / sufficient[~reasons].sum() < 0.5 * kept[where].mean()


def test_one_logit_and_two_labels_agree():
    class TwoLogits(nn.Module):
        def forward(self, x):
            return torch.cat([torch.zeros_like(x), 20 * (x - 0.5)], 1)

    class OneLogit(nn.Module):
        def forward(self, x):
            return 20 * (x - 0.5)

    image = sx.Image(np.random.default_rng(0).uniform(0, 1, (24, 24)).astype(np.float32))
    two = sx.load_model(TwoLogits(), card=card())
    one = sx.load_model(OneLogit(), card=card(activation="sigmoid"))
    np.testing.assert_array_equal(one.predict(image), two.predict(image))
    results = [sx.explain(m, image, "object", "misure", iterations=30).record.results for m in (one, two)]
    assert results[0]["n_dilations"] == results[1]["n_dilations"]
    assert results[0]["dice_explained"] == pytest.approx(results[1]["dice_explained"], abs=0.02)


def test_other_objects_of_the_label_do_not_count_for_a_component():
    model, image = planted_model(), planted_image()
    target = sx.Target("object", region=sx.Component((6, 22)))  # the patch itself: it needs nothing else
    ex = sx.explain(model, image, target, "misure", kernel=3, iterations=0)
    assert ex.record.results["n_dilations"] == 0
    assert ex.record.results["dice_explained"] == 1


def test_ratio_on_the_image_leaves_out_pixels_equal_to_the_baseline():
    class Bright(nn.Module):
        def forward(self, x):
            spread = nn.functional.max_pool2d(x, 5, stride=1, padding=2)
            return torch.cat([0.5 - spread, spread - 0.5], 1) * 10

    array = np.zeros((24, 24), np.float32)
    array[10:12, 10:12] = 1
    model = sx.load_model(Bright(), card=card())
    ex = sx.explain(model, sx.Image(array), "object", "misure", iterations=5, lr=1e-3)
    assert ex.record.results["ratio_mask"] == 1
    assert ex.record.results["ratio_image"] == pytest.approx(4 / 36)


def test_the_same_seed_repeats_bit_for_bit():
    model, image = planted_model(), planted_image()
    one, two = (sx.explain(model, image, "object", "misure", kernel=3, iterations=30) for _ in range(2))
    np.testing.assert_array_equal(one.map, two.map)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("radius", [1, 3])
def test_dilation_equals_scikit_image(ndim, radius):
    mask = torch.zeros((15,) * ndim, dtype=torch.bool)
    mask[(7,) * ndim] = mask[(1,) * ndim] = True
    footprint = ball(radius, ndim)
    if ndim == 2:
        np.testing.assert_array_equal(footprint, disk(radius))
    expected = dilation(mask.numpy().astype(np.uint8), footprint.numpy().astype(np.uint8))
    np.testing.assert_array_equal(dilate(mask, footprint), expected > 0)


def test_total_variation_of_a_known_mask():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1
    assert float(SizeAndVariation(mask, 0, 1, 2)()[0]) == pytest.approx(4 / 12)
    assert float(SizeAndVariation(3 * mask, 0, 1, 3)()[0]) == pytest.approx(27 * 4 / 12)


def test_depth_one_in_3d_equals_2d():
    flat, volume = planted_model(2), sx.load_model(PatchSwitch((slice(0, 1), *PATCH), 3), card=card(3))
    image = planted_image()
    params = {"kernel": 3, "iterations": 20, "mask_size": 32, "lam": 0.3}
    two = sx.explain(flat, image, sx.Target("object", region=sx.Component((20, 10))), "misure", **params)
    three = sx.explain(
        volume,
        sx.Image(image.array[None]),
        sx.Target("object", region=sx.Component((0, 20, 10))),
        "misure",
        **params,
    )
    assert three.record.results["n_dilations"] == two.record.results["n_dilations"] > 3
    np.testing.assert_array_equal(three.stages[0], two.stages)
    np.testing.assert_allclose(three.map[0], two.map, atol=1e-3)


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("region", [None, (20, 10)])
def test_the_dice_term_equals_equation_1_written_out(labels, region):
    """sum_i alpha_i softDice_i over background and label, with other objects of the label left out."""
    from napari_segxai.core.progress import Passes
    from napari_segxai.engine.question import Question
    from napari_segxai.engine.scores import soft_dice
    from napari_segxai.methods.perturbation.sufficient_region import PredictedObject

    class Three(PatchSwitch):
        def forward(self, x):
            out = super().forward(x)
            return out if labels == 2 else torch.cat([out, out[:, 1:] * 0.3 - 1], 1)

    names = ["background", "object", "other"][:labels]
    model = sx.load_model(Three(patch_of(2)), card=card(labels=names, grid={"size": [32, 32]}))
    image = planted_image()
    target = sx.Target("object", region=None if region is None else sx.Component(region))
    with model.in_use("cpu"):
        prepared = model.prepare(image)
        question = Question(
            model, image, prepared, target, device=torch.device("cpu"), seed=0, planned=Passes()
        )
        seen = PredictedObject(question)
        logits = model.logits(prepared.tensor * 0.9)
        within = ~(question.predicted & ~seen.pixels)
        now, before = logits.softmax(1), question.logits.softmax(1)
        expected = 2 * soft_dice(now[:, 1] * within, before[:, 1] * within)
        expected = expected + soft_dice(now[:, 0] * within, before[:, 0] * within)
        assert float(seen.soft_dice(logits, torch.tensor([2.0, 1.0]))) == pytest.approx(
            float(expected), rel=1e-5
        )


@pytest.mark.parametrize(("small", "grid"), [((5, 7), (11, 14)), ((3, 4, 5), (6, 8, 11))])
def test_enlarging_equals_interpolation(small, grid):
    from napari_segxai.engine.masking.enlargement import LinearEnlargement

    mask = torch.rand(1, 1, *small)
    mode = "bilinear" if len(grid) == 2 else "trilinear"
    expected = nn.functional.interpolate(mask, grid, mode=mode, align_corners=False)
    enlarge = LinearEnlargement(mask.shape[2:], grid, mask.device)
    np.testing.assert_allclose(enlarge(mask), expected, atol=1e-6)


def test_rounding_of_an_even_ground_is_not_visible():
    """A black ground with the rounding of a resampling in it does not count as shown."""
    array = planted_image().array.copy()
    ground = array < 0.1
    array[ground] = 0
    image, noisy = sx.Image(array), array.copy()
    noisy[ground] = 1e-8 * np.random.default_rng(0).random(int(ground.sum()))
    settings = {"iterations": 2, "tau": 0.5, "kernel": 9}
    region = np.zeros((32, 32), bool)
    region[OBJECT] = True  # without the patch that it needs, which dilation has to reach
    target = sx.Target("object", region=region)
    plain = sx.explain(planted_model(), image, target, "misure", **settings)
    rounded = sx.explain(planted_model(), sx.Image(noisy), target, "misure", **settings)
    assert ground.any()
    assert rounded.record.results["ratio_image"] == plain.record.results["ratio_image"]
    assert plain.record.results["ratio_image"] < plain.record.results["ratio_mask"]
