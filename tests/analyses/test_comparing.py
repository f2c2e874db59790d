"""Comparing methods, evaluating maps, sweeps, the inspector."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from safetensors import safe_open

import napari_segxai as sx
from napari_segxai.analyses.compare.evaluate import evaluate_maps_steps
from napari_segxai.analyses.compare.inspection import inspect_steps
from napari_segxai.analyses.compare.plan import ComparisonPlan, read_method
from napari_segxai.analyses.compare.result import drawn
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.core.progress import finish
from napari_segxai.figures.compare import picture
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import python_of_sweep
from napari_segxai.methods.noise_network.net import NoiseNet

METHODS = ["seg-grad-cam:layer=mix", "rise:masks=40", ("rise", {"masks": 20})]


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    out = np.zeros((32, 32), np.uint8)
    out[PATCH] = out[OBJECT] = 1
    return out


@pytest.fixture(scope="module")
def comparison(truth) -> sx.Comparison:
    return sx.compare(planted_model(), planted_image(), "object", METHODS, truth=truth, seed=2)


def test_a_table_of_methods_and_metrics(comparison):
    assert comparison.names == ["seg-grad-cam", "rise masks=40", "rise masks=20", "random order"]
    table = comparison.table
    assert [row["method"] for row in table] == ["seg-grad-cam", "rise", "rise", ""]
    heads, *lines = str(table).splitlines()
    assert heads.split()[:3] == ["map", "method", "seconds"]
    assert [line.split("  ")[0] for line in lines] == comparison.names
    assert len({len(line) for line in lines}) == 1
    assert json.loads(json.dumps(table)) == table
    assert repr(comparison) == f"Comparison({', '.join(comparison.names)} of 'object' in 'planted')"
    names = [metric.name for metric in comparison.metrics]
    assert {"dice-explained", "insertion-dice", "pointing-game-mask"} <= set(names)
    for row in table[:3]:
        assert set(names) <= set(row)
        assert row["seconds"] > 0
    alone = sx.explain(planted_model(), planted_image(), "object", "rise", masks=40, seed=2)
    np.testing.assert_array_equal(comparison.maps["rise masks=40"], alone.map)
    np.testing.assert_array_equal(comparison.prediction, alone.prediction)
    curve = comparison.curve("rise masks=20", "insertion-dice")
    assert curve["share"][0] == 0
    assert curve["share"][-1] == 1
    best = comparison.best("insertion-dice")
    values = {name: comparison.value(name, "insertion-dice") for name in comparison.maps}
    assert values[best] == max(values.values())
    assert comparison.best("context-share") is None


def test_maps_that_are_there_get_the_same_numbers(comparison, truth):
    again = sx.evaluate(planted_model(), comparison.explanations, truth=truth, seed=2)
    assert [row["value"] for row in again.rows] == [row["value"] for row in comparison.rows]
    plain = sx.evaluate(
        planted_model(),
        comparison.maps,
        planted_image(),
        "object",
        truth=truth,
        seed=2,
        metrics="dice-explained,pps",
    )
    assert [m.name for m in plain.metrics] == ["dice-explained", "pps"]
    assert plain.value("rise masks=40", "pps") == comparison.value("rise masks=40", "pps")
    one = sx.evaluate(planted_model(), next(iter(comparison.explanations.values())), metrics=["ips"])
    assert one.names == ["seg-grad-cam"]


def test_methods_and_maps_that_are_there_go_together_and_the_cost_is_known():
    cause = np.zeros((32, 32))
    cause[PATCH] = cause[OBJECT] = 1
    asked = {"metrics": ["dice-explained", "insertion-dice", "dice-over-threshold"], "binarize": 0.2}
    asked["chance"] = 0
    model, image, methods = planted_model(), planted_image(), ["rise:masks=30"]
    plan = ComparisonPlan.make(model, image, "object", methods, maps={"rise": cause}, **asked)
    found = finish(comparison_steps(plan))
    assert found.names == ["rise", "rise'", "random order"]  # the map keeps its name
    np.testing.assert_array_equal(found.maps["rise"], cause)
    assert found.value("rise", "dice-explained") == 1
    run = found.explanations["rise'"].record.passes["forward"]
    # the canvases of insertion come on top of it: the network as it is, and nothing at all
    assert plan.measuring.forward == found.passes.forward == 2 + 2 * (1 + 27 + 12) + 27
    assert plan.passes.forward == run + plan.measuring.forward
    curve = found.curve("rise'", "dice-over-threshold")
    at = dict(zip(curve["share"], curve["score"], strict=True))
    assert at[0.2] == found.value("rise'", "dice-explained")
    assert (
        found.value("rise", "dice-over-threshold") == 1
    )  # the map is 0 or 1: every threshold keeps the same


def test_the_true_cause_is_better_than_its_opposite():
    cause = np.zeros((32, 32))
    cause[PATCH] = cause[OBJECT] = 1
    found = sx.evaluate(planted_model(), {"cause": cause, "rest": 1 - cause}, planted_image(), "object")
    for metric in ("dice-explained", "insertion-dice", "deletion-dice", "pps"):
        assert found.best(metric) == "cause"
    assert found.value("cause", "dice-explained") == 1
    assert found.value("random order", "insertion-dice") < found.value("cause", "insertion-dice")


def test_what_cannot_be_compared_is_refused(comparison, truth):
    model, image = planted_model(), planted_image()
    other = sx.Image(image.array[::-1].copy(), name="flipped")
    cases = [
        (lambda: sx.evaluate(model, comparison.explanations, other), "another image than flipped"),
        (lambda: sx.evaluate(model, {"a": np.zeros((3, 3))}, image, "object"), "has shape"),
        (lambda: sx.evaluate(model, {"a": np.zeros((32, 32))}, image), "give the target"),
        (lambda: sx.evaluate(model, {"a": np.zeros((32, 32))}), "give the image"),
        (lambda: sx.evaluate(model, {}), "at least one map"),
        (lambda: sx.evaluate(model, [np.zeros((32, 32))], image, "object"), "by name"),
        (lambda: sx.compare(model, image, "object", []), "at least one method"),
        (lambda: sx.compare(model, image, "object", ["rise:masks"]), "write its parameters"),
        (lambda: sx.compare(model, image, "object", ["ris"]), "rise"),
        (lambda: sx.compare(model, image, "object", METHODS[:1], metrics=["dice"]), "no metric 'dice'"),
        (lambda: sx.compare(model, image, "object", METHODS[:1], truth=truth[:5]), "the truth has shape"),
        (
            lambda: sx.compare(model, image, "object", METHODS[:1], truth=truth * 7),
            "holds label 7.*0 background",
        ),
        (lambda: sx.compare(model, image, "object", METHODS[:1], truth=truth - 0.5), "not label values"),
        (lambda: sx.compare(model, image, "object", METHODS[:1], bogus=1), "no parameter 'bogus'"),
    ]
    for ask, words in cases:
        with pytest.raises(sx.UserError, match=words):
            ask()
    spot = sx.explain(model, image, sx.Target("object", region=(7, 22)), "rise", masks=4)
    told = sx.evaluate(model, spot, metrics=["ips"])  # its record tells the target
    assert (
        told.rows
        == sx.evaluate(model, spot, target=sx.Target("object", region=(7, 22)), metrics=["ips"]).rows
    )
    drawn = sx.explain(model, image, sx.Target("object", region=truth > 0), "rise", masks=4)
    with pytest.raises(sx.UserError, match="its mask is not there; give the target again"):
        sx.evaluate(model, replace(drawn, region=None))


def test_a_map_of_something_else_is_refused_and_its_array_is_not():
    model, image = planted_model(), planted_image()
    other = sx.load_model(model.module.__class__(PATCH), card=card(grid={"size": [32, 32]}))
    with torch.no_grad():
        other.module.mix.bias[0] += 0.1
    fast = {"method": "vanilla-gradient"}
    background = sx.explain(model, image, "background", **fast)
    foreign = sx.explain(other, image, "object", **fast)
    cases = [
        ({"a": background}, "the map 'a' explains the label background, not object; give its array"),
        ({"b": foreign}, "'b' explains the model planted, not planted .other weights under the same name"),
    ]
    for maps, words in cases:
        with pytest.raises(sx.UserError, match=words):
            sx.compare(model, image, "object", maps=maps, metrics=["saliency-ratio"])
        [(name, map)] = maps.items()
        found = sx.compare(model, image, "object", maps={name: map.map}, metrics=["saliency-ratio"])
        assert found.rows
    same = sx.load_model(model.module.__class__(PATCH), card=card(name="copy", grid={"size": [32, 32]}))
    sx.evaluate(same, sx.explain(model, image, 1, **fast), metrics=["saliency-ratio"])  # the weights count
    with pytest.raises(sx.UserError, match=r"vanilla-gradient.* explains the label background, not object"):
        sx.evaluate(model, [sx.explain(model, image, "object", **fast), background])


def test_a_map_of_another_slice_is_refused():
    model = planted_model()
    volume = sx.Image(np.repeat(planted_image().array[None], 3, 0), name="volume")
    one = sx.explain(model, volume, "object", "vanilla-gradient", slice=1)
    whole = sx.explain(model, volume, "object", "vanilla-gradient")
    asked = {"metrics": ["dice-explained"], "controls": 0}
    with pytest.raises(sx.UserError, match="explains slice 1, not 2; give its array"):
        sx.compare(model, volume, "object", maps={"one": one}, slice=2, **asked)
    found = sx.compare(model, volume, "object", maps={"one": one, "whole": whole}, slice=1, **asked)
    assert found.value("one", "dice-explained") == found.value("whole", "dice-explained") is not None


def test_a_noise_model_brings_its_metrics(tmp_path):
    model, image, file = planted_model(), planted_image(), tmp_path / "noise.safetensors"
    small = {"steps": 3, "batch": 1, "depth": 1, "channels": 2, "noise_min": 0.5, "noise_max": 3.0}
    sx.explain(model, image, "object", "u-noise", weights=str(file), **small)
    cause = np.zeros((32, 32), np.float32)
    cause[PATCH] = cause[OBJECT] = 1
    asked = (model, {"cause": cause}, image, "object")
    found = sx.evaluate(*asked, noise_model=file, controls=0, baseline="zero")
    assert [metric.name for metric in found.metrics][-2:] == ["ana", "srm"]
    net = NoiseNet(2, 1, 1, 2)
    with safe_open(file, framework="pt") as opened:
        names = [name for name in opened.keys() if name.startswith("net.")]  # noqa: SIM118
        net.load_state_dict({name.removeprefix("net."): opened.get_tensor(name) for name in names})
    with torch.no_grad():
        seen = torch.from_numpy(image.array * cause)[None, None]
        noise = 0.5 + 2.5 * net(seen).sigmoid()
    assert found.value("cause", "ana") == pytest.approx(float(noise.mean()), rel=1e-5)
    assert found.value("cause", "srm") == pytest.approx(float(noise.square().mean()), rel=1e-5)
    plain = sx.evaluate(*asked, noise_model=lambda x: x + 2, metrics=["ana"], baseline="zero")
    assert plain.value("cause", "ana") == pytest.approx(float((image.array * cause).mean()) + 2, rel=1e-5)
    assert {"ana", "srm"} <= {m.name for m in ComparisonPlan.make(*asked[::2], "object", ["rise"], noise_model=file,
                                                             metrics="all").metrics}  # fmt: skip
    without = sx.evaluate(*asked, metrics=["ana"])
    assert without.value("cause", "ana") is None
    assert without.reason("cause", "ana") == "no noise model was given."


def test_scripts_name_the_noise_model():
    plan = SweepPlan.make(
        planted_model(), planted_image(), "object", "rise", {"masks": [4, 8]}, metrics=["ana"]
    )
    plan = replace(plan, comparison=replace(plan.comparison, noise_file="noise.safetensors"))
    text = python_of_sweep(plan, ScriptFiles())
    assert "noise_model='noise.safetensors', metrics=['ana']" in text


def test_a_noise_model_of_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    model, image, file = planted_model(), planted_image(), tmp_path / "noise.safetensors"
    small = {"steps": 1, "batch": 1, "depth": 1, "channels": 2, "weights": str(file)}
    sx.explain(model, image, "object", "u-noise", **small)
    other = planted_model()
    with torch.no_grad():
        other.module.mix.bias[0] += 0.1
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x04text")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with safe_open(file, framework="pt") as opened:
        facts = json.loads(opened.metadata()["u-noise"])
    wrong = {"u-noise": json.dumps({**facts, "depth": 2})}
    save_file({"net.head.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors", metadata=wrong)
    cases = [
        (model, "background", "noise", "trained for label 'object', not 'background'"),
        (other, "object", "noise", "trained for another model than planted"),
        (model, "object", "nowhere", "there is no file"),
        (model, "object", "pickled", "not a safetensors file that can be read"),
        (model, "object", "foreign", "holds no noise network"),
        (model, "object", "wrong", "does not fit what the file says"),
    ]
    for own, label, name, words in cases:
        with pytest.raises(sx.UserError, match=words):
            ComparisonPlan.make(own, image, label, ["rise"], noise_model=tmp_path / f"{name}.safetensors")


def test_steps_can_be_stopped_and_keep_what_was_found(truth):
    steps = sx.compare_steps(planted_model(), planted_image(), "object", METHODS, truth=truth)
    seen = []
    for step in steps:
        seen.append((step.done, step.total))
        so_far = step.partial()
        if len(so_far.maps) == 2:
            break
    steps.close()
    assert list(so_far.explanations) == ["seg-grad-cam", "rise masks=40"]
    assert all(a <= b for a, b in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_model_of_slices_needs_a_slice():
    volume = sx.Image(np.repeat(planted_image().array[None], 3, 0), name="volume")
    with pytest.raises(sx.UserError, match="choose one slice"):
        sx.compare(planted_model(), volume, "object", METHODS[:1])
    found = sx.compare(planted_model(), volume, "object", METHODS[1:2], slice=1)
    assert found.value("rise", "dice-explained") is not None
    assert not found.maps["rise"][0].any()


@pytest.mark.usefixtures("figures")
def test_a_sweep(tmp_path):
    found = sx.sweep(
        planted_model(), planted_image(), "object", "misure", {"lr": [0.001, 0.1], "lam": [0.01, 0.1, 1]},
        metrics=["dice-explained", "saliency-ratio"],
    )  # fmt: skip
    assert found.values("dice-explained").shape == (2, 3)
    ratios = found.result("ratio_mask")
    assert len(set(ratios[0])) == 1  # nothing is pruned at lr 0.001, whatever lambda
    assert (ratios[1] <= ratios[0]).all()
    written = found.save(tmp_path / "s")
    rows = list(csv.DictReader((tmp_path / "s" / "table.csv").open()))
    assert len(rows) == 6
    assert {"lr", "lam", "dice-explained"} <= set(rows[0])
    picture = next(path for path in written if path.suffix == ".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(sx.UserError, match="already holds"):
        found.save(tmp_path / "s")
    one = sx.sweep(planted_model(), planted_image(), "object", "rise", {"masks": [5, 10]}, metrics=["ips"])
    assert one.values("ips").shape == (1, 2)
    for grid in ({}, {"masks": []}, {"masks": "12"}, {"a": [1], "b": [1], "c": [1]}):
        with pytest.raises(sx.UserError, match="one or two parameters"):
            sx.sweep(planted_model(), planted_image(), "object", "rise", grid)


def test_the_inspector_says_what_the_table_says(comparison):
    job = ExplanationPlan.make(planted_model(), planted_image(), sx.Target("object"), "rise")
    map = comparison.maps["rise masks=40"]
    found = finish(inspect_steps(job, map, 0.1))
    assert found.dice_explained == pytest.approx(comparison.value("rise masks=40", "dice-explained"))
    assert found.ratio == pytest.approx(comparison.value("rise masks=40", "saliency-ratio"))
    everything = finish(inspect_steps(job, map, 0))
    assert everything.dice_explained == 1
    hidden = ~np.isclose(everything.masked[0], planted_image().array, atol=1e-6)
    assert hidden.sum() <= 1  # the map's own lowest pixel, which is 0 in [0, 1]
    np.testing.assert_array_equal(everything.prediction, comparison.prediction)
    nothing = finish(inspect_steps(job, np.zeros((32, 32)), 0.5))
    assert nothing.dice_explained is None
    assert not nothing.prediction.any()


def test_what_is_saved(comparison, tmp_path):
    comparison.save(tmp_path / "c")
    rows = list(csv.DictReader((tmp_path / "c" / "table.csv").open()))
    assert [row["map"] for row in rows] == comparison.names
    assert float(rows[0]["pps"]) == pytest.approx(comparison.value("seg-grad-cam", "pps"))
    points = list(csv.DictReader((tmp_path / "c" / "curves.csv").open()))
    assert {point["metric"] for point in points} == {"insertion-dice", "deletion-dice"}
    assert (tmp_path / "c" / "rise_masks_40" / "record.json").exists()
    with pytest.raises(sx.UserError, match="already holds a comparison"):
        comparison.save(tmp_path / "c")
    picture([drawn(comparison)] * 2).savefig(tmp_path / "two.pdf")
    assert (tmp_path / "two.pdf").read_bytes().startswith(b"%PDF")


def test_methods_with_parameters():
    assert read_method("rise:masks=3:keep=0.2") == ("rise", {"masks": "3", "keep": "0.2"})
    assert read_method(("rise", {"masks": 3})) == ("rise", {"masks": 3})


def test_evaluation_is_refused_before_the_first_step():
    with pytest.raises(sx.UserError, match="no metric"):
        evaluate_maps_steps(
            planted_model(), {"a": np.zeros((32, 32))}, planted_image(), "object", metrics="bogus"
        )


@pytest.mark.usefixtures("figures")
def test_a_picture_of_several_cases(tmp_path):
    """Cases are rows: two of them make a picture that is higher, not wider."""
    from PIL import Image as Picture

    cases = [
        sx.compare(planted_model(), planted_image(), "object", ["vanilla-gradient", method], metrics=["pps"])
        for method in ("seg-grad-cam", "seg-hires-grad-cam")
    ]
    one = sx.save_picture(cases[:1], tmp_path / "one.png")
    two = sx.save_picture(cases, tmp_path / "two.png")
    assert Picture.open(two).height > 1.5 * Picture.open(one).height
    assert sx.save_picture(cases, str(tmp_path / "two.pdf")).read_bytes().startswith(b"%PDF")
    with pytest.raises(sx.UserError, match=r"ends in \.png, \.pdf or \.svg"):
        sx.save_picture(cases, tmp_path / "two.docx")


def test_warnings_are_saved_with_a_comparison(tmp_path):
    found = sx.compare(planted_model(), planted_image(), "object", ["vanilla-gradient"], metrics=["pps"])
    assert not (found.save(tmp_path / "plain") and (tmp_path / "plain" / "notes.txt").exists())
    found.warnings.append("the truth was resampled.")
    assert tmp_path / "noted" / "notes.txt" in found.save(tmp_path / "noted")
    assert "the truth was resampled." in (tmp_path / "noted" / "notes.txt").read_text()
