"""What is kept when only the map's region is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.metrics import Bright, asked, cause, truth, values_of
from helpers.networks import card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.core.progress import finish
from napari_segxai.metrics.functional import sufficiency
from napari_segxai.metrics.perturbed_copies import Reader, crop, look
from napari_segxai.metrics.table import evaluate_steps, object_on_image


def test_keeping_everything_changes_nothing():
    with asked() as question:
        rows = finish(evaluate_steps({"all": np.full((32, 32), 0.1)}, question, truth=truth()))
    got = values_of(rows, "all")
    for name in ("dice-explained", "pps", "pps-binarized", "ips", "ips-binarized", "average-increase"):
        assert got[name] == pytest.approx(1, abs=1e-6), name
    for name in ("average-drop", "average-drop-original", "average-drop-box", "average-drop-mask"):
        assert got[name] == pytest.approx(0, abs=1e-6), name
    assert got["perturbation-ratio"] == got["saliency-ratio"] == 1024 / (100 + 36)
    # all of the image: log 1 - log p
    with asked() as question:
        p = float(Reader(question).whole.probability[0])
    for name in ("saliency-metric-box", "saliency-metric-box-pasted", "saliency-metric-mask"):
        assert got[name] == pytest.approx(-math.log(p), abs=1e-5), name
    assert got["recall-mask"] == 1
    assert got["precision-mask"] == pytest.approx(100 / 1024)
    assert got["pointing-game-mask"] is None  # a map of one value points nowhere
    assert got["insertion-dice"] is None  # and has no order


def test_without_the_cause_the_object_is_gone():
    only_object = truth().astype(float)
    by = {}
    with asked() as question:
        for threshold in (0.1, 0.9):
            maps = {"cause": cause(), "object": only_object}
            rows = finish(evaluate_steps(maps, question, binarize=threshold))
            by |= {(row["map"], threshold, row["metric"]): row["value"] for row in rows}
    assert by["cause", 0.1, "dice-explained"] == 1
    assert by["object", 0.1, "dice-explained"] == 0
    assert by["cause", 0.9, "dice-explained"] < 1  # the patch alone
    assert by["cause", 0.1, "perturbation-ratio"] == 1
    assert by["object", 0.1, "perturbation-ratio"] == pytest.approx(100 / 136)


def test_on_the_image_only_pixels_that_show_something_count():
    array = planted_image().array.copy()
    array[28:, :] = array.min()  # as dark as what hides
    image, map = sx.Image(array, name="planted"), cause()
    map[28:, :] = 1
    with asked(image=image) as question:
        got = values_of(finish(evaluate_steps({"map": map}, question)), "map")
    assert got["perturbation-ratio-image"] == pytest.approx(1)
    assert got["perturbation-ratio"] == pytest.approx((136 + 128) / 136)


@pytest.mark.parametrize("size", [(64, 64), (37, 41), (24, 30)])
def test_an_even_ground_shows_nothing_after_resampling(size):
    """Resampled values of one even ground are equal up to rounding only."""
    array = np.full((50, 45), 0.3, np.float32)
    array[10:20, 10:30] = 1
    model = sx.load_model(Bright(), card=card(grid={"size": list(size)}))
    with asked(model, sx.Image(array, name="even")) as question:
        found = finish(
            evaluate_steps({"all": np.ones((50, 45))}, question, metrics=["perturbation-ratio-image"])
        )
        drawn = object_on_image(question).sum()
    shown = found[0]["value"] * drawn
    assert 200 <= shown <= 14 * 24  # the object, and at most two pixels around it


def test_drops_and_the_saliency_metric_by_hand():
    assert sufficiency.average_drop(0.8, 0.6) == pytest.approx(0.25)
    assert sufficiency.average_drop(0.8, 1.0) == pytest.approx(
        0.25
    )  # Aabid and Sicre take the absolute value
    assert sufficiency.average_drop(0.8, 1.0, original=True) == 0
    assert sufficiency.average_drop(0.0, 0.5) is None
    assert [sufficiency.average_increase(0.5, p) for p in (0.4, 0.5, 0.6)] == [0, 1, 1]
    assert [sufficiency.average_increase(0.5, p, original=True) for p in (0.4, 0.5, 0.6)] == [0, 0, 1]
    # what differs by rounding alone is a tie, either way
    for p in (0.5 - 1e-6, 0.5, 0.5 + 1e-6):
        assert sufficiency.average_increase(0.5, p) == 1
        assert sufficiency.average_increase(0.5, p, original=True) == 0
        assert sufficiency.average_drop(0.5, p) == sufficiency.average_drop(0.5, p, original=True) == 0
    assert sufficiency.saliency_metric(0.5, 0.5) == pytest.approx(0)
    assert sufficiency.saliency_metric(0.001, 1.0) == pytest.approx(math.log(0.05))
    assert math.isfinite(sufficiency.saliency_metric(1.0, 0.0))


def test_pps_by_hand():
    map = np.random.default_rng(6).random((32, 32)).astype(np.float32)
    image, network = planted_image().array, planted_model().module
    soft = (map - map.min()) / (map.max() - map.min())
    with torch.no_grad():
        low = image.min()
        copies = torch.from_numpy(np.stack([image, low + soft * (image - low)])[:, None])
        before, after = network(copies).softmax(1)[:, 1]
    with asked() as question:
        got = values_of(
            finish(evaluate_steps({"map": map}, question, metrics=["pps", "ips", "average-drop"])), "map"
        )
    assert got["pps"] == pytest.approx(float(torch.minimum(before, after).sum() / before.sum()), rel=1e-4)
    assert got["ips"] == pytest.approx(soft.mean(), rel=1e-5)
    inside = before > 0.5
    p, o = float(before[inside].mean()), float(after[inside].mean())
    assert got["average-drop"] == pytest.approx(abs(p - o) / p, rel=1e-4)


def test_a_crop_is_put_back_in_its_place():
    """A network that looks at every pixel by itself sees in a crop what it saw before."""
    array = np.zeros((32, 32), np.float32)
    array[8:24, 8:24] = 1
    model = sx.load_model(Bright(), card=card())
    with asked(model, sx.Image(array)) as question:
        reader = Reader(question)
        seen = finish(
            look(reader, [crop(0, question, ((8, 8), (15, 23))), crop(1, question, ((0, 0), (31, 31)))])
        )
        assert seen[0].dice[0] == pytest.approx(
            2 * 128 / (128 + 256), abs=1e-6
        )  # the upper half of the object
        assert seen[0].probability[0] == pytest.approx(reader.whole.probability[0] / 2, rel=1e-4)
        assert seen[1].dice[0] == 1
