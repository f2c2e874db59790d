"""Tables of metrics: every metric has a value or a reason, on every grid and image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.metrics import Bright, asked, cause, curve, truth, values_of, ways
from helpers.networks import card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import finish
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.metrics.evaluation import Evaluation, Options
from napari_segxai.metrics.functional.localization import f_score
from napari_segxai.metrics.functional.thresholding import boxed, region
from napari_segxai.metrics.perturbed_copies import Reader
from napari_segxai.metrics.registry import all_metrics, find_metric
from napari_segxai.metrics.table import _evaluations, choose, evaluate_steps, planned_passes


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_metric_has_a_value_for_an_ordinary_map(ndim):
    noise = {"noise_model": lambda x: x}
    metrics = choose(None, truth=True, noise_model=True)
    assert metrics == list(all_metrics())
    with asked(planted_model(ndim), planted_image(ndim)) as question:
        rows = finish(
            evaluate_steps({"cause": cause(ndim)}, question, truth=truth(ndim), controls=1, **noise)
        )
    # both canvases are the same and are seen once; so are random maps of equal area, of which this map has two
    assert question.passes.forward == planned_passes(metrics, 1, 1, chance=0).forward + (1 + 2) * 20
    assert question.passes.forward < planned_passes(metrics, 1, 1).forward
    own = [row for row in rows if row["map"] == "cause"]
    assert [row["metric"] for row in own] == [m.name for m in metrics]
    for row in own:
        assert isinstance(row["value"], float), row
        assert math.isfinite(row["value"])
        assert row["reason"] == ""
        curved = ("insertion", "deletion", "dice-over-threshold")
        assert (row["curve"] is not None) == row["metric"].startswith(curved)
    control = values_of(rows, "random order")
    assert set(control) == {m.name for m in metrics if m.family == "faithfulness"}
    got = values_of(rows, "cause")
    for score in ("dice", "iou", "probability"):
        assert got[f"insertion-{score}"] > control[f"insertion-{score}"]
        assert got[f"deletion-{score}"] < control[f"deletion-{score}"]
        assert got[f"aopc-removing-{score}"] > control[f"aopc-removing-{score}"]
        assert got[f"aopc-removing-least-{score}"] < control[f"aopc-removing-least-{score}"]
        assert got[f"aopc-adding-{score}"] > control[f"aopc-adding-{score}"]
    assert got["boundary-share"] + got["interior-share"] + got["context-share"] == pytest.approx(1)
    assert got["energy-pointing-game-mask"] == pytest.approx(80 / 116)


def test_empty_maps_and_truths_are_undefined_with_a_reason():
    with asked() as question:
        rows = finish(
            evaluate_steps({"zero": np.zeros((32, 32)), "against": -cause()}, question, truth=truth())
        )
        misses = {
            "localization-error": 1,
            "recall": 0,
            "f1": 0,
            "box-accuracy": 0,
            "mask-accuracy": 0,
            "max": 0,
        }
        for row in rows:
            stated = [v for name, v in misses.items() if row["metric"].startswith(name)]
            if row["map"] == "against" and row["family"] == "faithfulness":
                continue  # negative values still have an order
            assert row["value"] == (stated[0] if stated else None), row
            assert row["reason"] == ("" if stated else row["reason"])
            assert stated or row["reason"]
        assert {row["reason"] for row in rows} == {
            "",
            "the map is 0 everywhere.",
            "the map has no positive value.",
        }
        rows = finish(evaluate_steps({"cause": cause()}, question, truth=np.zeros((32, 32), bool)))
        for row in rows:
            if "truth" in find_metric(row["metric"]).needs:
                assert (row["value"], row["reason"]) == (None, "the truth is empty."), row


def test_a_label_that_is_not_predicted():
    dark = sx.Image(np.zeros((32, 32), np.float32), name="dark")
    with asked(image=dark) as question:
        rows = finish(evaluate_steps({"cause": cause()}, question, truth=truth(), controls=1))
        assert question.passes.forward == 1
        with pytest.raises(EmptyRegion):
            finish(ways(question, {"cause": cause()}))
    for row in rows:
        needs = find_metric(row["metric"]).needs
        if "network" in needs:
            assert row["value"] is None
            assert "predicts no pixel as 'object'" in row["reason"]
        elif "truth" in needs:
            assert row["value"] is not None
        elif row["metric"].startswith(("perturbation", "saliency")) or row["family"] == "shares":
            assert row["reason"] == "the label is not predicted."


def test_what_is_asked_for_by_name_says_what_it_lacks():
    with asked() as question:
        rows = finish(evaluate_steps({"cause": cause()}, question, metrics=["f1-box", "ana", "ips"]))
        assert [(row["value"] is None, row["reason"]) for row in rows] == [
            (True, "no truth was given."),
            (True, "no noise model was given."),
            (False, ""),
        ]
        for wrong, match in (
            ({"metrics": ["insertion"]}, "insertion-iou"),
            ({"metrics": "ips"}, r"\['ips'\]"),
            ({"steps": 1}, "2 or more"),
            ({"treshold": "mean"}, "threshold"),
            ({"truth": np.ones((3, 3))}, "the truth has shape"),
        ):
            with pytest.raises(UserError, match=match):
                finish(evaluate_steps({"cause": cause()}, question, **wrong))
        with pytest.raises(UserError, match="'small' has shape"):
            finish(evaluate_steps({"small": np.ones((3, 3))}, question))


def test_one_object_of_several():
    """The object, as the region asked about, without the patch, which is drawn too."""
    target = sx.Target("object", region=truth())
    with asked(target=target) as question:
        got = values_of(finish(evaluate_steps({"cause": cause()}, question)), "cause")
        assert int(Reader(question).object.sum()) == 100
    assert got["perturbation-ratio"] == pytest.approx(1.36)
    assert got["dice-explained"] == 1  # the patch that comes back does not count against it


def test_another_object_of_the_label_does_not_count():
    array = np.zeros((32, 32), np.float32)
    array[4:12, 4:12] = array[20:28, 20:28] = 1
    first = np.zeros((32, 32), bool)
    first[4:12, 4:12] = True
    model, names = sx.load_model(Bright(), card=card()), ["pps", "dice-explained", "average-drop"]
    got = []
    for region_ in (first, None):
        with asked(model, sx.Image(array), sx.Target("object", region=region_)) as question:
            got.append(values_of(finish(evaluate_steps({"a": first}, question, metrics=names)), "a"))
    for (name, alone), both in zip(got[0].items(), (0.5, 2 / 3, 0.5), strict=True):
        assert alone == pytest.approx(0 if name == "average-drop" else 1, abs=1e-6)
        assert got[1][name] == pytest.approx(both, abs=0.01)


def test_equal_values_stay_equal_on_another_grid():
    """Else rounding would decide the order within a plateau."""
    map = np.zeros((61, 59))
    map[10:40, 10:40] = 0.1
    with asked(sx.load_model(Bright(), card=card(grid={"size": [32, 32]})), sx.Image(map + 0.5)) as question:
        (one,) = _evaluations({"a": map}, question, None, None, None, Options())
        inner = one.map_to_model(one.map)[7:19, 8:19]
        assert inner.unique().numel() == 1
        assert float(inner[0, 0]) == pytest.approx(0.1, rel=1e-4)


def test_results_do_not_depend_on_how_the_image_is_stored():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    model = sx.load_model(
        planted_model(3).module, card=card(3, grid={"size": [6, 32, 32]}, orientation="RAS")
    )
    names = [
        "dice-explained",
        "pps",
        "boundary-share",
        "localization-error-box",
        "saliency-metric-box",
        "ips",
    ]
    array = planted_image(3).array
    map = cause(3) + np.random.default_rng(8).uniform(0, 0.1, array.shape).astype(np.float32)
    turn = lambda a: np.ascontiguousarray(np.moveaxis(a, 0, 2)[::-1])
    turned = np.zeros((4, 4))  # the axes of the turned array are the second (reversed), third and first
    turned[1, 0], turned[2, 1], turned[0, 2], turned[3, 3] = -affine[1, 1], affine[2, 2], affine[0, 0], 1
    turned[1, 3] = affine[1, 1] * (array.shape[1] - 1)
    got = []
    for image, m, t in (
        (sx.Image(array, affine=affine), map, truth(3)),
        (sx.Image(turn(array), affine=turned), turn(map), turn(truth(3))),
    ):
        with asked(model, image) as question:
            got.append(values_of(finish(evaluate_steps({"map": m}, question, truth=t, metrics=names)), "map"))
    for name in names:
        assert got[0][name] == pytest.approx(got[1][name], rel=1e-5), name


@pytest.mark.parametrize("grid", [{"size": [32, 32]}, {"multiple": 16}])
def test_other_grids_than_that_of_the_image(grid):
    """Resampled, and padded: the prediction is that of `predict`, and keeping everything changes nothing."""
    image = sx.Image(np.ascontiguousarray(planted_image(side=32).array[:29, :27].repeat(2, 0)), name="tall")
    model = sx.load_model(Bright(), card=card(grid=grid))
    with asked(model, image) as question:
        assert question.grid != image.spatial_shape
        (one,) = _evaluations({"a": np.ones(image.spatial_shape)}, question, None, None, None, Options())
        np.testing.assert_array_equal(one.prediction, model.predict(image, device="cpu") == 1)
        assert one.prediction.any()
        assert tuple(one.map_to_model(one.map).shape) == question.grid
        rows = finish(evaluate_steps({"all": np.ones(image.spatial_shape)}, question))
        got = values_of(rows, "all")
        for name in ("pps", "dice-explained", "ips"):
            assert got[name] == pytest.approx(1, abs=1e-6)
        low, high = (
            finish(ways(question, {"a": sign * one.prediction.astype(float)}))["a"] for sign in (-1, 1)
        )
        assert curve(high, "deletion").area < curve(low, "deletion").area


def test_a_dear_canvas_is_made_once(monkeypatch):
    made = []
    with asked() as question:
        hide = question.hide
        monkeypatch.setattr(question, "hide", lambda kind: made.append(kind) or hide(kind))
        options = {"insertion_canvas": "blur", "deletion_canvas": "noise", "baseline": "blur"}
        maps = {name: np.random.default_rng(k).random((32, 32)) for k, name in enumerate("abc")}
        finish(evaluate_steps(maps, question, **options))
    assert sorted(made) == ["blur", "noise"]


def test_a_2d_model_on_a_volume_is_evaluated_on_its_slice():
    volume = np.stack([planted_image().array * 0, planted_image().array, planted_image().array * 0])
    maps, truths = np.zeros((2, 3, 32, 32))
    maps[1], truths[1] = cause(), truth()
    maps[0] = 7  # of another slice
    names = [
        "dice-explained",
        "energy-pointing-game-mask",
        "insertion-dice",
        "perturbation-ratio",
        "average-drop-box",
    ]
    with asked(image=sx.Image(volume), slice=1) as question:
        whole = values_of(finish(evaluate_steps({"map": maps}, question, truth=truths, metrics=names)), "map")
    with asked() as question:
        flat = values_of(
            finish(evaluate_steps({"map": cause()}, question, truth=truth(), metrics=names)), "map"
        )
    assert whole == pytest.approx(flat, rel=1e-5)


def test_metrics_without_a_network_need_no_question():
    map, prediction = cause(), truth()
    alone = Evaluation("cause", map, prediction, truth(), (1.0, 1.0), Options())
    with asked(target=sx.Target("object", region=truth())) as question:
        names = [m.name for m in all_metrics() if "network" not in m.needs]
        rows = finish(evaluate_steps({"cause": map}, question, truth=truth(), metrics=names))
    for row in rows:
        assert find_metric(row["metric"]).measure(alone) == pytest.approx(row["value"]), row["metric"]


def test_options_reach_the_metrics():
    map = cause() * 0.5
    map[20, 30], map[21, 31] = 1, 0.3  # the peak, far from the object; they touch at a corner
    options = {"threshold": "maximum", "level": 0.35, "components": "all", "ties": "share", "tau": 0.35}
    names = [
        "f1-mask",
        "f1-box",
        "localization-error-mask",
        "box-accuracy",
        "pointing-game-mask",
        "dice-explained",
    ]

    def ask(**changes):
        with asked() as question:
            rows = finish(evaluate_steps({"map": map}, question, truth=truth(), metrics=names, **changes))
        return values_of(rows, "map")

    got = ask(**options)
    found = region(map, "maximum", 0.35, "all")
    assert got["f1-mask"] == pytest.approx(f_score(found, truth()))
    assert got["f1-box"] == pytest.approx(f_score(boxed(found, "all"), truth()))
    assert got["f1-mask"] < ask(**{**options, "components": "largest"})["f1-mask"] == 1
    assert got["box-accuracy"] == 1
    assert ask(**{**options, "sigma": 0.9})["box-accuracy"] == 0
    assert got["pointing-game-mask"] == 0
    assert ask(tolerance=15.2)["pointing-game-mask"] == 1  # 15 columns from the object
    assert ask(tolerance=14.9)["pointing-game-mask"] == 0
    assert ask(binarize=0.6)["dice-explained"] < got["dice-explained"] == 1
    assert ask(baseline="mean")["dice-explained"] == pytest.approx(
        1
    )  # the object and the patch are all it needs


def test_the_registry():
    for metric in all_metrics():
        described = metric.as_json()
        assert described["name"] == metric.name
        assert metric.summary
        assert metric.source
        assert metric.better in ("higher", "lower", None)
        assert set(metric.needs) <= {"truth", "network", "noise model"}
        assert metric.form in ("box", "mask", "")
        assert not metric.series or "network" in metric.needs
        if metric.name.endswith(("-box", "-mask")):
            assert metric.name.endswith(metric.form)
    assert find_metric("pps").title.startswith("Prediction")
    with pytest.raises(UserError, match="'pps'"):
        find_metric("ppss")
    forms = {m.name.replace("-box", "-*").replace("box-", "*-") for m in all_metrics() if m.form == "box"}
    masks = {m.name.replace("-mask", "-*").replace("mask-", "*-") for m in all_metrics() if m.form == "mask"}
    assert forms - {"saliency-metric-*-pasted"} <= masks  # every box metric has its mask form
