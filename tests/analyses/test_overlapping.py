"""Labels that may overlap: several sigmoid outputs, each drawn where its own probability is above its own threshold.

The oracle: every question about one of several labels has the answer of a network with that one output alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.labels import REGIONS, THRESHOLDS, Reasons, Steps, both, nested, regions, scene
from helpers.networks import PATCH, card
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.registry import all_methods
from napari_segxai.metrics.functional.mass import mass_per_label
from napari_segxai.metrics.registry import all_metrics

# -- what is drawn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_nested_regions_are_drawn_each_as_a_whole(ndim):
    model, image = regions(ndim), nested(ndim)
    assert model.overlapping
    found = model.predict(image)
    np.testing.assert_array_equal(found, [image.array > level for level in (0.5, 1.5, 2.5)])
    assert found.dtype == bool
    for k, name in enumerate(REGIONS[1:]):
        gradient = sx.explain(model, image, name, "vanilla-gradient").map
        np.testing.assert_array_equal(gradient != 0, found[k])
    background = sx.explain(model, image, "background", "vanilla-gradient")
    np.testing.assert_array_equal(background.map != 0, ~found.any(0))
    np.testing.assert_array_equal(background.drawn("background"), ~found.any(0))


def test_labels_that_do_not_touch_and_one_that_is_nowhere():
    image = nested()
    network = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([9.0, -9.0, 0.0]).view(3, 1, 1, 1))
        network.bias.copy_(torch.tensor([-22.5, 4.5, -1.0]))  # above 2.5, below 0.5, nowhere
    fields = card(labels=["background", "high", "low", "none"], activation="sigmoid")
    model = sx.load_model(network, card=fields)
    np.testing.assert_array_equal(
        model.predict(image), [image.array > 2.5, image.array < 0.5, image.array > 9]
    )
    empty = sx.explain(model, image, "none", "vanilla-gradient")
    assert "predicts no pixel as 'none'" in empty.record.warnings[0]


def test_a_sigmoid_background_of_the_networks_own_is_no_label():
    network = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([-4.0, 8.0, 8.0]).view(3, 1, 1, 1))
        network.bias.copy_(torch.tensor([20.0, -4.0, -20.0]))  # it is the surest everywhere
    model = sx.load_model(network, card=card(labels=["background", "a", "b"], activation="sigmoid"))
    image = nested()
    np.testing.assert_array_equal(model.predict(image), [image.array > 0.5, image.array > 2.5])
    background = sx.explain(model, image, "background", "vanilla-gradient")
    np.testing.assert_array_equal(background.map != 0, image.array < 0.5)
    with pytest.raises(sx.UserError, match=r"a sigmoid output for each of a, b, c.*add `background`"):
        sx.load_model(network, card=card(labels=["a", "b", "c"], activation="sigmoid"))


def as_many_outputs(low: float, **changes) -> sx.SegmentationModel:
    """Three outputs: the first is high where nothing is (low < 0), or only inside of everything, as a core is."""
    network = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([-8.0 if low < 0 else 8.0, 8.0, 8.0]).view(3, 1, 1, 1))
        network.bias.copy_(torch.tensor([4.0 if low < 0 else -20.0, -4.0, -20.0]))
    labels = ["background", "whole", "core"]
    return sx.load_model(nn.Sequential(network), card=card(labels=labels, activation="sigmoid", **changes))


@pytest.mark.parametrize("method", ["vanilla-gradient", "rise", "misure", "seg-hires-grad-cam"])
def test_as_many_sigmoid_outputs_as_labels_are_said(method):
    params = {"rise": {"masks": 8}, "misure": {"iterations": 2}}.get(method, {})
    said = "is taken for the background"
    for low, doubted in ((-1, False), (1, True)):
        warnings = sx.explain(as_many_outputs(low), nested(), "core", method, **params).record.warnings
        assert any(said in one for one in warnings)
        assert any("a label seems to be missing" in one for one in warnings) == doubted
        confirmed = sx.explain(
            as_many_outputs(low, background_output=True), nested(), "core", method, **params
        )
        assert not any(said in one or "missing" in one for one in confirmed.record.warnings)


def test_a_card_says_whether_the_background_has_an_output():
    with pytest.raises(
        sx.UserError, match=r"3 sigmoid outputs and none .* 2 label\(s\) beside it \(whole, core\): name"
    ):
        as_many_outputs(-1, background_output=False)
    fields = card(labels=["background", "a", "b", "c"], activation="sigmoid")
    network = nn.Conv2d(1, 3, 1)
    assert not sx.load_model(network, card=fields).notes
    assert not sx.load_model(network, card=fields | {"background_output": False}).notes
    with pytest.raises(sx.UserError, match="none for the background: leave out `background_output`"):
        sx.load_model(network, card=fields | {"background_output": True})
    with pytest.raises(sx.UserError, match="background_output is for sigmoid networks"):
        sx.load_model(network, card=card(background_output=True))


PROBABILITIES = np.array([[0.38, 0.40, 0.44, 0.48], [0.52, 0.56, 0.60, 0.72]], np.float32)


@pytest.mark.parametrize("values", ["logits", "probabilities"])
@pytest.mark.parametrize(
    ("threshold", "each"),
    [(0.42, (0.42, 0.42)), ([0.42, 0.58], (0.42, 0.58)), ({"b": 0.7}, (0.5, 0.7)), (None, (0.5, 0.5))],
)
def test_every_label_has_its_threshold(values, threshold, each):
    class Twice(nn.Module):
        def forward(self, x):
            return torch.cat([x, x], 1)

    fields = card(labels=["background", "a", "b"], activation="sigmoid", values=values)
    model = sx.load_model(Twice(), card=fields | ({} if threshold is None else {"threshold": threshold}))
    array = PROBABILITIES if values == "probabilities" else np.log(PROBABILITIES / (1 - PROBABILITIES))
    wanted = np.array([t < PROBABILITIES for t in each])
    np.testing.assert_array_equal(model.predict(array_image(array)), wanted)
    found = sx.explain(model, array_image(array), "b", "vanilla-gradient")
    np.testing.assert_array_equal(found.map != 0, wanted[1])
    assert found.record.model["thresholds"] == {"a": each[0], "b": each[1]}
    assert found.record.model["overlapping"] is True


def array_image(array: np.ndarray) -> sx.Image:
    return sx.Image(array, name="numbers")


@pytest.mark.parametrize("threshold", [0.42, [0.42]])
def test_one_output_has_a_threshold_as_well_and_stays_a_label_image(threshold):
    image = array_image(np.log(PROBABILITIES / (1 - PROBABILITIES)))
    model = sx.load_model(nn.Identity(), card=card(activation="sigmoid", threshold=threshold))
    assert not model.overlapping
    np.testing.assert_array_equal(model.predict(image), (PROBABILITIES > 0.42).astype(np.uint8))
    logits = model.logits(torch.from_numpy(image.array)[None, None])
    for label, drawn in enumerate([PROBABILITIES <= 0.42, PROBABILITIES > 0.42]):
        found = sx.explain(model, image, label, "vanilla-gradient")
        np.testing.assert_array_equal(found.map != 0, drawn)
        np.testing.assert_array_equal(model.labeling.margin(logits, label)[0] > 0, drawn)
    np.testing.assert_allclose(model.probability(logits, 1)[0], PROBABILITIES, rtol=1e-5)  # as it is


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"threshold": 0.4}, "threshold is for sigmoid networks"),
        ({"activation": "sigmoid", "threshold": 1.2}, "a probability between 0 and 1"),
        ({"activation": "sigmoid", "threshold": True}, "a probability between 0 and 1"),
        ({"activation": "sigmoid", "threshold": "half"}, "a probability between 0 and 1"),
        ({"activation": "sigmoid", "threshold": [0.4, 0.5]}, "2 numbers for 3 label.*whole, core, enhancing"),
        ({"activation": "sigmoid", "threshold": {"cor": 0.4}}, "the label 'cor'; .*core"),
        ({"activation": "sigmoid", "paint_order": ["whole", "core"]}, "each of these labels once: whole"),
        ({"paint_order": ["whole", "core", "enhancing"]}, "paint_order is for labels that may overlap"),
    ],
)
def test_what_a_card_says_wrongly_is_answered(fields, words):
    with pytest.raises(sx.UserError, match=words):
        sx.load_model(Steps(), card=card(labels=REGIONS, **fields))


def test_slices_of_a_volume_and_resampled_grids():
    volume = np.stack([nested().array * k for k in (0, 1, 0.5)]).astype(np.float32)
    image = sx.Image(volume, name="stack")
    found = regions().predict(image)
    np.testing.assert_array_equal(found, [volume > level for level in (0.5, 1.5, 2.5)])
    alone = regions().predict(image, slice=1)
    assert alone[:, 1].any()
    assert not alone[:, [0, 2]].any()
    every = sx.explain(regions(), image, "core", "vanilla-gradient")
    np.testing.assert_array_equal(every.prediction, found)
    coarse = regions(grid={"size": [12, 14]})
    one = sx.explain(coarse, nested(), "core", "vanilla-gradient")
    np.testing.assert_array_equal(one.prediction, coarse.predict(nested()))
    assert (one.prediction[0] >= one.prediction[1]).all()  # nested still
    assert one.prediction[1].any()


# -- the same as the network with one output alone -----------------------------------------------------


def alone(label: str) -> sx.SegmentationModel:
    k = ("whole", "core").index(label)
    fields = card(labels=["background", label], activation="sigmoid", threshold=THRESHOLDS[label])
    return sx.load_model(Reasons(k), card=fields)


SMALL = {
    "grid-saliency": {"mode": "object", "iterations": 3},
    "u-noise": {"steps": 3, "depth": 1, "channels": 2},
    "rise": {"masks": 40, "score": "dice"},
    "misure": {"iterations": 5, "kernel": 3},
    "lime": {"samples": 50},
    "kernel-shap": {"samples": 60},
    "seg-sobol": {"designs": 2, "cells": 4},
    # Its cells begin with equal values, which rounding ranks: after some steps two networks have different masks.
    "extremal-perturbation": {"iterations": 2},
    "adversarial-attack": {"attack": "segmentation", "steps": 4},
    "stable-explanation": {"copies": 3},
    "occlusion": {"patch": 8, "score": "dice"},
    "counterfactual": {"segments": 40},
    "guided-integrated-gradients": {"steps": 8},
    "integrated-gradients": {"steps": 8},
    "smooth-grad": {"samples": 4},
}


@pytest.mark.parametrize("method", [method.name for method in all_methods("image")])
def test_every_method_asks_about_one_label_alone(method):
    params = SMALL.get(method, {})
    found = sx.explain(both(), scene(), "core", method, **params)
    same = sx.explain(alone("core"), scene(), "core", method, **params)
    assert found.record.results.get("status") != "empty"
    np.testing.assert_array_equal(found.drawn("core"), same.prediction == 1)
    np.testing.assert_array_equal(found.drawn("core"), scene().array > 1.5)
    assert (
        found.map.any() or method == "adversarial-attack"
    )  # a network so simple changes none of its reasons
    scale = np.abs(same.map).max()
    np.testing.assert_allclose(found.map, same.map, rtol=1e-3, atol=1e-4 * scale)
    for name, mask in same.masks.items():
        assert (found.masks[name] == mask).mean() > 0.995, name


def test_the_patch_is_a_reason_for_the_whole_and_none_for_the_core():
    maps = {name: sx.explain(both(), scene(), name, "occlusion", patch=4).map for name in THRESHOLDS}
    inside = {name: np.abs(map[PATCH]).max() / np.abs(map).max() for name, map in maps.items()}
    assert inside["whole"] > 0.5
    assert inside["core"] < 0.05


@pytest.mark.parametrize("goal", ["vanish", "appear"])
def test_a_counterfactual_changes_one_label_and_may_keep_the_other(goal):
    region = None if goal == "vanish" else sx.Box((4, 4), (9, 9))
    found = sx.explain(
        both(),
        scene(),
        sx.Target("core", region=region),
        "counterfactual",
        goal=goal,
        search="gradient",
        iterations=60,
    )
    assert found.record.results["status"] == "reached"
    edited = sx.Image(found.maps["edited_image"])
    before, after = both().predict(scene())[1], both().predict(edited)[1]
    np.testing.assert_array_equal(found.masks["prediction_after"], after)
    assert (after.sum() < 0.2 * before.sum()) if goal == "vanish" else after[4:10, 4:10].mean() > 0.3


def test_metrics_say_of_one_label_what_they_say_of_it_alone():
    image = scene()
    truth = np.stack([image.array > 1.05, image.array > 1.2])
    cause = np.where(image.array > 1.5, 2.0, 0) + np.where(image.array > 1, 0.5, 0)
    asked = {"metrics": [m.name for m in all_metrics() if "noise model" not in m.needs], "steps": 6}
    found = sx.evaluate(both(), {"a": cause}, image, "core", truth=truth, **asked)
    same = sx.evaluate(alone("core"), {"a": cause}, image, "core", truth=truth[1], **asked)
    assert len(found.rows) == len(same.rows)
    for row, other in zip(found.rows, same.rows, strict=True):
        assert row["value"] == (
            None if other["value"] is None else pytest.approx(other["value"], abs=1e-4)
        ), row
    np.testing.assert_array_equal(found.prediction, both().predict(image))
    np.testing.assert_array_equal(found.shown(found.prediction), 2 * (image.array > 1.5))


def test_checks_judge_one_label_as_they_judge_it_alone():
    names = [check["name"] for check in sx.list_checks() if check["name"] != "randomized-network"]
    verdicts = []
    for model in (both(), alone("core")):
        found = sx.explain(model, scene(), "core", "seg-hires-grad-cam")
        verdicts.append(sx.check(found, model, checks=names))
    for one, other in zip(*verdicts, strict=True):
        assert one.passed == other.passed
        assert one.number == (None if other.number is None else pytest.approx(other.number, abs=1e-3)), one


def test_a_flow_and_the_channels_say_of_one_label_what_they_say_of_it_alone():
    image, model = scene(), both()
    truth = {"whole": image.array > 1.05, "core": image.array > 1.2}
    flow = sx.information_flow(model, image, truth=truth, causal=True)
    assert flow.labels == ("whole", "core")
    for name in flow.labels:
        same = sx.information_flow(alone(name), image, truth=truth[name], causal=True)
        assert [layer.name for layer in same.layers] == [layer.name for layer in flow.layers]
        for layer in flow.layers[:-1]:  # filling the head of one and of both with means is not the same
            one, other = (f.tiles[name, layer.name].as_row() for f in (flow, same))
            assert numbers_of(one) == pytest.approx(numbers_of(other), rel=1e-3, abs=1e-4, nan_ok=True)
        [row] = sx.channel_importance(model, image, name).rows
        [wanted] = sx.channel_importance(alone(name), image, name).rows
        assert numbers_of(row) == pytest.approx(numbers_of(wanted), abs=1e-5)


def numbers_of(row: dict) -> dict:
    return {name: value for name, value in row.items() if isinstance(value, float)}


def test_evidence_on_several_labels_counts_for_each():
    image = nested()
    found = sx.explain(regions(), image, "core", "vanilla-gradient")
    shares = found.mass_per_label()
    assert shares["whole"] == shares["core"] == 1  # the core lies within
    inner = (image.array > 2.5).sum() / (image.array > 1.5).sum()
    assert shares == pytest.approx({"background": 0, "whole": 1, "core": 1, "enhancing": inner})
    rows = mass_per_label(np.ones(image.array.shape), found.prediction, REGIONS, overlapping=True)
    assert all(row["density"] == pytest.approx(1) for row in rows.values())
    assert rows["background"]["share"] == pytest.approx((image.array < 0.5).mean())
