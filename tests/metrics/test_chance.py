"""What random maps of the same area reach, beside every Dice explained, PPS and pointing number; and ties."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, conv, planted_image, planted_model
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.scores import dice
from napari_segxai.metrics.functional.chance import DRAWS, MARK, highest, random_field, with_values
from napari_segxai.metrics.functional.localization import pointing_game
from napari_segxai.metrics.functional.ties import above, tied
from napari_segxai.models.labeling import is_label

TRIANGLE = resource("sample_data/images/triangle_1.png")
NAMES = ("dice-explained", "pps", "pps-binarized", "pointing-game-mask", "energy-pointing-game-mask")


def cause(ndim: int = 2) -> np.ndarray:
    out = np.zeros(planted_image(ndim).spatial_shape)
    out[(..., *PATCH)] = out[(..., *OBJECT)] = 1
    return out


def test_random_maps_are_coarse_seeded_and_keep_exactly_as_many_pixels():
    field = random_field((35, 70), 0, 3)
    assert field.shape == (35, 70)
    assert torch.equal(field, random_field((35, 70), 0, 3))
    assert not torch.equal(field, random_field((35, 70), 0, 4))
    assert not torch.equal(field, random_field((35, 70), 1, 3))
    assert field.diff(dim=1).abs().max() < 0.2  # enlarged: cells of ten pixels
    assert random_field((3, 20, 20), 0, 0).shape == (3, 20, 20)  # fewer pixels than cells
    flat = torch.zeros(30, 40)
    flat[:5] = 1  # many ties: 200 ones, and the rest
    for count in (0, 1, 150, 200, 203, 1200):
        chosen = highest(flat, count, 0)
        assert int(chosen.sum()) == count
        assert int(chosen[:5].sum()) == min(count, 200)
    assert not torch.equal(highest(flat, 203, 0), highest(flat, 203, 1))
    values = torch.arange(35 * 70).flip(0).double()
    map = with_values(field, values, 0)
    assert torch.equal(map.flatten().sort(descending=True).values, values)
    assert field.flatten()[map.argmax()] == field.max()
    assert field.flatten()[map.argmin()] == field.min()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_level_is_what_random_maps_really_reach(ndim):
    model, image, map = planted_model(ndim), planted_image(ndim), cause(ndim)
    found = sx.evaluate(model, {"map": map}, image, "object", metrics=["dice-explained"], controls=0, seed=4)
    x = torch.from_numpy(image.array)[None, None]
    wanted, count = is_label(model.logits(x), 1)[0], int((map > 0).sum())
    scores = []
    for k in range(DRAWS):
        mask = highest(random_field(map.shape, 4, k), count, 4 + k)
        scores.append(float(dice(is_label(model.logits(x * mask), 1), wanted)))
    assert found.chance("map", "dice-explained") == pytest.approx(
        (np.mean(scores), np.percentile(scores, 95)), abs=1e-6
    )
    assert found.passes.forward == 2 + DRAWS


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_cause_is_better_than_chance_and_a_random_map_is_marked(ndim):
    image = planted_image(ndim)
    random = random_field(image.spatial_shape, 99, 0).numpy()
    cut = np.where(random >= np.quantile(random, 0.9), random, 0)
    maps = {"cause": cause(ndim), "random": cut, "even": cut * 0 + 1, "empty": cut * 0}
    found = sx.evaluate(
        planted_model(ndim), maps, image, "object", metrics=NAMES, truth=cause(ndim) > 0, controls=0
    )
    for name in NAMES:
        assert found.chance("empty", name) is None
        mean, high = found.chance("cause", name)
        assert mean <= high
        if name == "pointing-game-mask":  # any of its 100 highest pixels: random ones hit as well
            assert (high, found.value("cause", name)) == (1, 1)
            continue
        assert high < found.value("cause", name)
        assert not found.is_chance("cause", name)
    assert found.is_chance("random", "dice-explained")
    assert found.is_chance("random", "pointing-game-mask") or found.value("random", "pointing-game-mask") == 0
    # what keeps everything keeps as much as any other map that does
    assert found.is_chance("even", "dice-explained")
    assert found.chance("even", "dice-explained") == (1, 1)
    assert found.chance("even", "pointing-game-mask") is None  # it points nowhere


def test_the_level_can_be_left_out_and_its_cost_is_known_beforehand():
    from napari_segxai.analyses.compare.plan import ComparisonPlan
    from napari_segxai.analyses.compare.run import comparison_steps
    from napari_segxai.core.progress import finish

    asked = {"maps": {"a": cause(), "b": 2 * cause()}, "metrics": ["dice-explained", "dice-over-threshold"]}
    plan = ComparisonPlan.make(planted_model(), planted_image(), "object", controls=0, **asked)
    found = finish(comparison_steps(plan))
    assert found.passes.forward == 2 + 2 * (1 + 12) + DRAWS - 1  # one area for both maps at all thresholds
    assert plan.measuring.forward == 1 + 2 * (1 + 12) + 2 * 13 * DRAWS
    none = finish(sx.compare_steps(planted_model(), planted_image(), "object", controls=0, chance=0, **asked))
    assert none.passes.forward == 1 + 2 * (1 + 12)
    assert none.chance("a", "dice-explained") is None
    assert [row["value"] for row in none.rows] == [row["value"] for row in found.rows]
    assert not any(" chance" in key for row in none.table for key in row)


def test_a_padded_grid_has_random_maps_within_the_image():
    card_ = card(grid={"multiple": 32})
    image = sx.Image(planted_image().array[:, :27])
    map = cause()[:, :27]
    model = sx.load_model(planted_model().module, card=card_)
    found = sx.evaluate(
        model, {"map": map, "all": map * 0 + 1}, image, "object", metrics=["dice-explained", "pps"]
    )
    assert found.chance("all", "dice-explained") == (1, 1)
    assert found.chance("map", "pps")[1] < found.value("map", "pps")


def test_the_level_stands_in_tables_files_and_on_the_command_line(tmp_path):
    metrics = ["dice-explained", "dice-over-threshold", "saliency-ratio"]
    maps = {"cause": cause(), "nothing": random_field((32, 32), 5, 5).numpy()}
    found = sx.evaluate(planted_model(), maps, planted_image(), "object", metrics=metrics)
    row = found.table[1]
    assert list(row)[3:7] == [
        "dice-explained", "dice-explained chance", "dice-explained chance 95%", "dice-explained above chance",
    ]  # fmt: skip
    assert not any(key.startswith("saliency-ratio ") for key in row)
    found.save(tmp_path / "c")
    with (tmp_path / "c" / "values.csv").open() as file:
        values = {(r["map"], r["metric"]): r for r in csv.DictReader(file)}
    own = values["cause", "dice-explained"]
    assert (float(own["chance"]), float(own["chance_high"])) == found.chance("cause", "dice-explained")
    assert own["above_chance"] == "True"
    assert values["cause", "saliency-ratio"]["chance"] == ""
    with (tmp_path / "c" / "curves.csv").open() as file:
        points = [r for r in csv.DictReader(file) if r["map"] == "cause"]
    assert len(points) == 12
    assert all(float(r["chance"]) <= float(r["chance_high"]) for r in points)

    base = ["compare", str(TRIANGLE), "--model", "triangle", "--label", "triangle", "--metrics", "pps"]
    done = CliRunner().invoke(
        app, [*base, "--methods", "seg-grad-cam,layer-cam", "--out", str(tmp_path / "d")]
    )
    assert done.exit_code == 0, done.stderr
    assert f"{MARK} pps, random maps of the same area (mean / 95 %): seg-grad-cam " in done.stdout


def test_maps_without_a_level_are_saved_beside_those_that_have_one(tmp_path):
    metrics = ["dice-explained", "saliency-ratio", "energy-pointing-game-mask"]
    maps = {"empty": 0 * cause(), "cause": cause()}
    found = sx.evaluate(planted_model(), maps, planted_image(), "object", metrics=metrics, truth=cause() > 0)
    found.save(tmp_path)
    with (tmp_path / "table.csv").open() as file:
        empty, full = csv.DictReader(file)
    levels = ["dice-explained chance", "dice-explained chance 95%", "dice-explained above chance"]
    assert list(empty)[3:8] == ["dice-explained", *levels, "saliency-ratio"]
    assert [empty[name] for name in levels] == ["", "", ""]
    assert (float(full[levels[0]]), float(full[levels[1]])) == found.chance("cause", "dice-explained")
    assert full[levels[2]] == "True"


def test_what_differs_by_rounding_is_a_tie():
    assert tied(0.5, 0.5 + 1e-6)
    assert not tied(0.5, 0.501)
    assert not tied(0.0, 1e-9)
    assert not above(0.5 + 1e-6, 0.5)
    assert above(0.501, 0.5)
    np.testing.assert_array_equal(above(np.array([0.5, 0.6, 0.5 + 1e-7]), 0.5), [False, True, False])


class Deep(nn.Module):
    """Rounds otherwise in a batch than alone, as real networks do."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.head = conv(2)(1, 2, 1)

    def forward(self, x):
        self.count += 1
        return self.head(x) * (1 + 1e-6 * (self.count % 2))


def test_a_map_that_hides_nothing_is_no_drop():
    torch.manual_seed(0)
    model = sx.load_model(Deep(), card=card())
    image = planted_image()
    everything = np.ones(image.spatial_shape)
    label = model.labels[int((model.predict(image) == 1).any())]
    names = [f"average-{what}{form}" for what in ("increase", "drop") for form in ("", "-original")]
    for _ in range(2):
        found = sx.evaluate(model, {"all": everything}, image, label, metrics=names, controls=0)
        assert [found.value("all", name) for name in names] == [1, 0, 0, 0]


def test_what_is_even_up_to_rounding_points_nowhere_and_keeps_everything():
    names = ["dice-explained", "pointing-game-mask", "energy-pointing-game-mask", "insertion-dice"]
    rounded = 1 + 1e-7 * np.random.default_rng(0).random((32, 32))
    found = sx.evaluate(
        planted_model(), {"map": rounded}, planted_image(), "object", metrics=names, truth=cause() > 0, controls=0
    )  # fmt: skip
    assert [found.value("map", name) for name in names[:2]] == [1, None]
    assert found.value("map", "insertion-dice") is None
    share = (cause() > 0).mean()
    assert found.value("map", "energy-pointing-game-mask") == pytest.approx(share)
    assert found.chance("map", "energy-pointing-game-mask") == pytest.approx((share, share))
    assert found.is_chance("map", "energy-pointing-game-mask")
    two = np.zeros((4, 4))
    two[0, 0], two[3, 3] = 0.3, np.nextafter(0.3, 1)  # as high but for rounding
    inside = two * 0
    inside[0, 0] = 1
    assert [pointing_game(two, inside, ties=ties) for ties in ("any", "all", "share")] == [1, 0, 0.5]


def test_the_order_of_a_map_is_that_of_its_values_however_small_or_large_they_are():
    names = ["insertion-dice", "deletion-dice", "aopc-adding-iou"]
    map = cause() * np.random.default_rng(0).random((32, 32))
    maps = {"map": map, "small": map * 2.0**-300, "large": map * 2.0**300}
    found = sx.evaluate(planted_model(), maps, planted_image(), "object", metrics=names, controls=0)
    for name in names:
        assert found.value("small", name) == found.value("large", name) == found.value("map", name)


class Divides(nn.Module):
    """Scales its input by its own deviation, which an even image has not."""

    def forward(self, x):
        x = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)
        return torch.cat([torch.zeros_like(x), 10 * x - 5], 1)


def test_values_that_are_not_finite_are_refused_before_the_work_or_told():
    from napari_segxai.analyses.compare.plan import ComparisonPlan

    for bad in (np.nan, np.inf):
        maps = {"mine": np.where(cause() > 0, bad, 0)}
        with pytest.raises(sx.UserError, match="'mine' holds values that are not finite numbers"):
            ComparisonPlan.make(planted_model(), planted_image(), "object", ["rise"], maps=maps)
    model, decoy = sx.load_model(Divides(), card=card()), np.zeros((32, 32))
    decoy[-1, -1] = 1
    array = np.zeros((32, 32), np.float32)
    array[OBJECT] = 1
    names = ["dice-explained", "pps-binarized", "average-increase-mask", "deletion-probability"]
    found = sx.evaluate(model, {"decoy": decoy}, sx.Image(array), "object", metrics=names, controls=0)
    for name in names[1:]:  # of a black image the network answers with no numbers
        assert found.value("decoy", name) is None
        assert "not finite" in found.reason("decoy", name)
        assert found.chance("decoy", name) is None
    assert found.value("decoy", "dice-explained") == 0
