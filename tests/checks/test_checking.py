"""All checks together: what they cost, how they are stopped, recorded, saved and shown, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.checks import EVERY, TRIANGLE, deep_model
from helpers.networks import OBJECT, PATCH, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.checks import run as checking
from napari_segxai.checks.registry import all_checks
from napari_segxai.core.progress import Passes


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(("name", "more"), [("input-x-gradient", {}), ("rise", {"masks": 10})])
def test_what_is_stated_beforehand_is_what_it_costs(ndim, name, more):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", name, **more)
    params = {name: {} for name in EVERY}
    params |= {"better-than-chance": {"steps": 4, "random": 1}, "randomized-network": {"networks": 2}}
    stated = checking.planned_passes(found, model, checks=params)
    seen = []
    verdicts = sx.check(found, model, checks=params, progress=seen.append)
    assert [verdict.check for verdict in verdicts] == EVERY
    assert {verdict.check: verdict.passes for verdict in verdicts} == stated
    total = sum(stated.values(), Passes()).cost
    assert {step.total for step in seen} == {total}
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].done <= total
    for verdict in verdicts:
        assert verdict.sentence.endswith(".")
        assert (
            verdict.passed is None
            or f"{abs(verdict.number):.2f}" in verdict.sentence
            or "%" in verdict.sentence
        )
        assert verdict.passed is not None or verdict.number is None
        assert all(np.isfinite(value) for value in verdict.details.values())


def test_verdicts_are_recorded_and_saved_and_shown_with_the_layers(tmp_path):
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "input-x-gradient")
    assert found.record.trust == []
    sx.check(found, model, checks=["restates-prediction", "masked-input"])
    sx.check(found, model, checks={"masked-input": {"masks": 2}})
    names = [row["check"] for row in found.record.trust]
    assert names == ["restates-prediction", "masked-input"]  # the later takes the place of the earlier
    assert found.record.trust[1]["parameters"]["masks"] == 2
    found.save(tmp_path)
    saved = json.loads((tmp_path / "record.json").read_text())["trust"]
    assert saved == found.record.trust
    assert {"check", "passed", "number", "threshold", "sentence", "details", "passes", "seconds"} <= set(
        saved[0]
    )
    for _, kwargs, _ in found.to_layers():
        assert kwargs["metadata"]["segxai"]["trust"] == found.record.trust


def test_a_cancelled_check_keeps_the_verdicts_that_it_had():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "input-x-gradient")
    steps = sx.check_steps(found, model, checks=["other-seed", "restates-prediction", "masked-input"])
    step = next(step for step in steps if step.note.startswith("Masked input"))
    steps.close()
    assert [verdict.check for verdict in step.partial()] == ["other-seed", "restates-prediction"]
    assert [row["check"] for row in found.record.trust] == ["other-seed", "restates-prediction"]


def test_nothing_is_decided_where_there_is_nothing():
    model = planted_model()
    black = sx.Image(np.zeros((32, 32), np.float32), name="black")
    found = sx.explain(model, black, "object", "input-x-gradient")
    for verdict in sx.check(found, model):
        assert (verdict.passed, verdict.number) == (None, None)
        assert verdict.sentence


def test_a_2d_model_on_a_volume_is_checked_where_the_label_is_largest():
    model = planted_model(2)
    volume = np.zeros((4, 32, 32), np.float32)
    volume[2] = planted_image().array
    volume[1, PATCH[0], PATCH[1]] = 1
    found = sx.explain(model, sx.Image(volume), "object", "input-x-gradient")
    names = ["other-seed", "noised-image", "better-than-chance", "restates-prediction", "masked-input"]
    alone = sx.explain(model, planted_image(), "object", "input-x-gradient")
    many, one = sx.check(found, model, checks=names), sx.check(alone, model, checks=names)
    for a, b in zip(many, one, strict=True):
        if a.check != "noised-image":  # another noise
            assert (a.check, a.number, a.passes) == (b.check, pytest.approx(b.number), b.passes)


def test_what_was_asked_wrongly_is_said():
    model, image = planted_model(), planted_image()
    target = sx.Target("object", region=OBJECT_MASK)
    found = sx.explain(model, image, target, "input-x-gradient")
    lost = replace(found, region=None)  # the mask of what was drawn
    with pytest.raises(sx.UserError, match="give the target"):
        sx.check_steps(lost, model)
    with pytest.raises(sx.UserError, match="region 'predicted pixels'"):
        sx.check_steps(found, model, sx.Target("object"))
    with pytest.raises(sx.UserError, match="other weights"):
        sx.check_steps(found, deep_model(), target)
    with pytest.raises(sx.UserError, match="did you mean 'other-seed'"):
        sx.check_steps(found, model, target, "other-seeds")
    with pytest.raises(sx.UserError, match="checks is empty"):
        sx.check_steps(found, model, target, [])
    with pytest.raises(sx.UserError, match="seeds"):
        sx.check_steps(found, model, target, {"other-seed": {"seeds": 0}})
    found.record.partial = True
    with pytest.raises(sx.UserError, match="stopped before its end"):
        sx.check_steps(found, model, target)


OBJECT_MASK = np.zeros((32, 32), bool)
OBJECT_MASK[OBJECT] = True


def test_the_list_of_checks_says_what_each_asks():
    listed = sx.list_checks()
    assert [row["name"] for row in listed] == EVERY
    for row in listed:
        assert row["question"].endswith("?")
        assert row["source"]
        assert row["cost"]
        assert any(parameter["name"] == "threshold" for parameter in row["parameters"])


@pytest.mark.parametrize("change", [0, 2])
def test_what_a_check_costs_is_said_in_words(change):
    """The words hold a formula of the parameters; here it is worked out, and compared with what is planned."""
    own = {"the method's passes": True, "the passes of the other methods": True, "no passes": False}
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    found = sx.explain(model, image, "triangle", "input-x-gradient")
    method = Passes(**found.record.passes)
    for check in all_checks():
        counts = {p.name: p.default + change for p in check.parameters if p.type is int}
        counts |= {"layers": 5 + change} if "layers" in counts else {}  # the network has more
        planned = checking.planned_passes(found, model, checks={check.name: counts})[check.name]
        formula, times, _ = check.cost.partition(" times the method's passes")
        if not times:
            formula, forward, _ = check.cost.partition(" forward passes")
            if not forward:
                assert own[check.cost] == (planned.cost > 0), check.name
                continue
        number = eval(formula.replace(" x ", " * "), {}, counts)
        more = check.cost.partition(" passes + ")[2].partition(" ")[0]
        assert planned == (method * number + Passes(int(more or 0)) if times else Passes(number)), check.name


def test_all_checks_with_parameters_of_one():
    chosen = checking.choose({"all": {}, "other-seed": {"seeds": 3}})
    assert [check.name for check, _ in chosen] == EVERY
    assert {check.name: options for check, options in chosen}["other-seed"].seeds == 3
