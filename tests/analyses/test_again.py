"""What was opened from a folder can be asked again, and gives the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.labels import nested, regions
from helpers.networks import PATCH, PatchSwitch, card, patch_of, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.analyses.compare.again import plan_again as comparison_again
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.flow.again import plan_again as flow_again
from napari_segxai.analyses.flow.run import flow_steps
from napari_segxai.analyses.sweep.again import plan_again as sweep_again
from napari_segxai.analyses.sweep.api import sweep_steps
from napari_segxai.analyses.sweep.run import planned_sweep_steps
from napari_segxai.core.progress import finish
from napari_segxai.io.saving import complete

FAST = {"metrics": ["dice-explained", "insertion-dice", "f1-mask"], "steps": 4, "chance": 3}


def cause() -> np.ndarray:
    out = np.zeros((32, 32))
    out[PATCH] = 1
    return out


def image_file(folder: Path) -> sx.Image:
    tifffile.imwrite(folder / "planted.tif", planted_image().array)
    return sx.read_image(folder / "planted.tif")


def change(folder: Path, **changes) -> Path:
    """Change the record of a folder; ... takes a key away."""
    facts = {**json.loads((folder / "record.json").read_text()), **changes}
    del facts["files"]
    (folder / "record.json").unlink()
    complete(folder, {key: value for key, value in facts.items() if value is not ...})
    return folder


def same_maps(a: sx.Comparison, b: sx.Comparison) -> None:
    assert list(a.maps) == list(b.maps)
    for name, map in a.maps.items():
        np.testing.assert_array_equal(map, b.maps[name], name)
    assert a.rows == b.rows
    assert a.warnings == b.warnings
    assert a.asked == b.asked


def test_a_comparison_is_asked_again(tmp_path):
    """With maps that were given, a truth, a seed, controls, and names that tell parameters as they were typed."""
    model, image = planted_model(), image_file(tmp_path)
    target = sx.Target("object", region=cause() > 0, score="probability")
    made = sx.explain(model, image, target, "occlusion", patch=8)
    found = sx.compare(
        model, image, target, ["rise:masks=4", "rise:masks=06", ("seg-grad-cam", {"layer": "mix"})],
        maps={"own": cause(), "made before": made}, truth=cause() > 0, controls=2, seed=5, **FAST,
    )  # fmt: skip
    found.warnings.append("the truth was resampled.")
    assert "rise masks=06" in found.maps
    found.save(tmp_path / "c")
    opened = sx.load_comparison(tmp_path / "c")
    plan = comparison_again(opened, model)
    assert list(plan.explanations) == ["rise masks=4", "rise masks=06", "seg-grad-cam"]
    assert isinstance(plan.maps["made before"], sx.Explanation)
    assert isinstance(plan.maps["own"], np.ndarray)
    same_maps(finish(comparison_steps(plan)), found)


def test_a_comparison_that_was_stopped_is_asked_as_a_whole(tmp_path):
    asked = (planted_model(), image_file(tmp_path), "object", ["vanilla-gradient", "rise:masks=4"])
    whole = sx.compare(*asked, metrics=["ips"], controls=0)
    steps = sx.compare_steps(*asked, metrics=["ips"], controls=0)
    some = next(so_far for so_far in (step.partial() for step in steps) if so_far.maps)
    steps.close()
    some.save(tmp_path / "c")
    opened = sx.load_comparison(tmp_path / "c")
    assert list(opened.maps) == ["vanilla-gradient"]
    same_maps(finish(comparison_steps(comparison_again(opened, asked[0]))), whole)


def test_a_slice_and_its_axis_are_told(tmp_path):
    model = sx.load_model(PatchSwitch(patch_of(2)), card=card(grid={"size": [32, 32]}))
    volume = np.zeros((32, 5, 32), np.float32)
    volume[:, 2] = planted_image().array
    found = sx.compare(model, volume, "object", ["vanilla-gradient"], metrics=["ips"], slice=2, axis=1)
    found.save(tmp_path / "c")
    opened = sx.load_comparison(tmp_path / "c")
    assert (opened.asked.slice, opened.asked.axis) == (2, 1)
    same_maps(finish(comparison_steps(comparison_again(opened, model, volume))), found)
    with pytest.raises(sx.UserError, match="the given image has other values"):
        comparison_again(opened, model, volume + 1)


def test_a_sweep_is_asked_again(tmp_path):
    model, image = planted_model(), image_file(tmp_path)
    asked = (model, image, "object", "misure:iterations=03", {"lam": [0.01, 1], "baseline": ["zero", "mean"]})
    found = sx.sweep(*asked, truth=cause() > 0, seed=3, **FAST)
    found.save(tmp_path / "s")
    opened = sx.load_sweep(tmp_path / "s")
    assert opened.fixed == {"iterations": "03"}
    again = finish(planned_sweep_steps(sweep_again(opened, model)))
    same_maps(again.comparison, found.comparison)
    assert again.own_chance == found.own_chance
    steps = sweep_steps(*asked[:3], "rise", {"masks": list(range(2, 11))}, metrics=["ips"])
    some = next(so_far for so_far in (step.partial() for step in steps) if so_far.comparison.maps)
    steps.close()
    some.save(tmp_path / "stopped")
    plan = sweep_again(sx.load_sweep(tmp_path / "stopped"), model)
    assert len(plan.comparison.explanations) == 9


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_flow_is_asked_again(overlapping, tmp_path):
    """With the truth of every label, what was said of it, and the causal check."""
    if overlapping:
        model, image = regions(), nested()
        truth = np.stack([nested().array > level for level in range(len(model.labels) - 1)])
    else:
        model, image = planted_model(), planted_image()
        truth = cause().astype(np.int64)
    asked = {"truth": truth, "causal": True, "ablation": "both", "layers": "all", "seed": 2}
    found = sx.information_flow(model, image, **asked)
    found.truth_notes.append("the truth was resampled.")
    found.warnings.insert(0, "the truth was resampled.")
    found.save(tmp_path / "f")
    opened = sx.load_flow(tmp_path / "f")
    np.testing.assert_array_equal(opened.truth, found.truth)
    assert opened.truth.dtype == found.truth.dtype
    assert opened.truth_notes == found.truth_notes
    plan = flow_again(opened, model, image)
    assert (plan.causal, plan.ablation) == (True, "both")
    again = finish(flow_steps(plan))
    assert list(again.tiles) == list(found.tiles)
    for key, tile in again.tiles.items():
        np.testing.assert_array_equal(tile.map, found.tiles[key].map)
    np.testing.assert_equal(again.rows, found.rows)
    assert again.warnings == found.warnings
    # saved again: the same files
    opened.save(tmp_path / "g")
    files = [json.loads((tmp_path / name / "record.json").read_text())["files"] for name in "fg"]
    assert files[0].keys() == files[1].keys()
    differ = {name for name in files[0] if files[0][name] != files[1][name]}
    assert differ <= {"flow.svg"}  # its identifiers are made again


def test_training_does_not_go_on_in_the_file_of_u_noise(tmp_path):
    small = {
        "steps": 1,
        "batch": 1,
        "depth": 1,
        "channels": 2,
        "weights": str(tmp_path / "noise.safetensors"),
    }
    found = sx.compare(
        planted_model(), image_file(tmp_path), "object", [("u-noise", small)], metrics=["ana"],
        noise_model=None, controls=0,
    )  # fmt: skip
    found.save(tmp_path / "c")
    plan = comparison_again(sx.load_comparison(tmp_path / "c"), planted_model())
    assert plan.explanations["u-noise"].options.weights == ""
    # its file may be a noise model all the same
    asked = (planted_model(), {"own": cause()}, image_file(tmp_path), "object")
    measured = sx.evaluate(*asked, metrics=["ana"], noise_model=tmp_path / "noise.safetensors")
    measured.save(tmp_path / "noise")
    opened = sx.load_comparison(tmp_path / "noise")
    assert opened.asked.noise_model == str(tmp_path / "noise.safetensors")
    same_maps(finish(comparison_steps(comparison_again(opened, asked[0]))), measured)
    (tmp_path / "noise.safetensors").unlink()
    with pytest.raises(sx.UserError, match=r"noise\.safetensors"):
        comparison_again(opened, asked[0])
    sx.evaluate(*asked, metrics=["ana"], noise_model=lambda x: x).save(tmp_path / "function")
    with pytest.raises(sx.UserError, match="which no file holds"):
        comparison_again(sx.load_comparison(tmp_path / "function"), asked[0])


def test_what_cannot_be_asked_again_says_why(tmp_path):
    model, image = planted_model(), image_file(tmp_path)
    sx.evaluate(model, {"own": cause()}, image, "object", metrics=["ips"]).save(tmp_path / "c")
    sx.sweep(model, image, "object", "rise", {"masks": [2, 3]}, metrics=["ips"]).save(tmp_path / "s")
    other = sx.load_model(PatchSwitch(patch_of(2)), card=card(labels=["background", "thing"]))
    opened = sx.load_comparison(tmp_path / "c")
    with pytest.raises(sx.UserError, match="give planted as model="):
        comparison_again(opened, None)
    with pytest.raises(sx.UserError, match="has other labels"):
        comparison_again(opened, other)
    with pytest.raises(sx.UserError, match="has other labels"):
        sweep_again(sx.load_sweep(tmp_path / "s"), other)
    with pytest.raises(
        sx.UserError, match="does not say everything that was asked; make the comparison again"
    ):
        comparison_again(replace(opened, asked=None), model)
    # records of others
    asked = opened.asked.as_dict()
    for changes in ({**asked, "seed": "x"}, {**asked, "methods": [1]}, {"seed": 1}, 5):
        with pytest.raises(sx.UserError, match="lacks what the record of a comparison says"):
            sx.load_comparison(change(tmp_path / "c", asked=changes))
    with pytest.raises(
        sx.UserError, match="does not say everything that was asked; make the comparison again"
    ):
        comparison_again(sx.load_comparison(change(tmp_path / "c", asked=...)), model)
    with pytest.raises(sx.UserError, match="other combinations than its grid"):
        sweep_again(replace(sx.load_sweep(tmp_path / "s"), grid={"masks": [2]}), model)
    with pytest.raises(sx.UserError, match="grid: there are other combinations than were asked"):
        sx.load_sweep(change(tmp_path / "s", grid={"masks": [2]}))


def test_methods_may_be_given_by_the_names_of_their_maps():
    named = {"few": "rise:masks=4", "many": ("rise", {"masks": 6})}
    asked = {"metrics": ["ips"], "controls": 0}
    found = sx.compare(planted_model(), planted_image(), "object", named, **asked)
    assert list(found.maps) == ["few", "many"]
    for wrong, words in (({"": "rise"}, "not a name for a map"), ({"own": "rise"}, "give them two names")):
        with pytest.raises(sx.UserError, match=words):
            sx.compare(planted_model(), planted_image(), "object", wrong, maps={"own": cause()}, **asked)
