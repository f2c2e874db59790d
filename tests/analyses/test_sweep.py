"""Sweeps: which cells are the best, what is written, values that are typed."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.analyses.sweep.api import sweep_steps
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import best_cells, heat_maps, numbers_shown, table
from napari_segxai.analyses.sweep.run import planned_sweep_steps
from napari_segxai.analyses.sweep.values import can_be_swept, read_values, suggested_values
from napari_segxai.datasets.resources import resource
from napari_segxai.figures.sweep import cell_colors
from napari_segxai.methods.registry import all_methods, find_method
from napari_segxai.metrics.functional.chance import DRAWS, MARK, Chance

GRID = {"lr": [0.001, 0.3], "lam": [0.01, 0.1, 1]}
METRICS = ["dice-explained", "context-share"]
NAN = np.nan


@pytest.fixture(scope="module")
def found() -> sx.Sweep:
    image = sx.read_image(resource("sample_data/images/triangle_1.png"))
    image = sx.Image(image.array[32:112, 4:84])  # the triangle, and some of what lies around it
    return sx.sweep("triangle", image, "triangle", "misure:iterations=6", GRID, metrics=METRICS)


@pytest.mark.parametrize(
    ("values", "better", "wanted"),
    [
        ([[1, 2], [2, 0]], "higher", [[0, 1], [1, 0]]),
        ([[1, 2], [2, 0]], "lower", [[0, 0], [0, 1]]),
        ([[1, 2], [2, 0]], None, [[0, 0], [0, 0]]),
        ([[NAN, 2.0], [2 + 1e-7, 2.001]], "lower", [[0, 1], [1, 0]]),
        ([[np.inf, 3.0]], "higher", [[0, 1]]),
        ([[-1.0, -1.0, -2.0]], "higher", [[1, 1, 0]]),
        ([[0.0, 1e-9, 0.0]], "lower", [[1, 0, 1]]),
        ([[NAN, NAN]], "higher", [[0, 0]]),
    ],
)
def test_all_of_the_best_are_marked(values, better, wanted):
    np.testing.assert_array_equal(best_cells(np.array(values, float), better), np.array(wanted, bool))


def test_the_table_has_what_the_method_tells_of_itself(found, tmp_path):
    found.save(tmp_path / "s")
    rows = list(csv.DictReader((tmp_path / "s" / "table.csv").open()))
    assert [(float(row["lr"]), float(row["lam"])) for row in rows] == [
        (lr, lam) for lr in GRID["lr"] for lam in GRID["lam"]
    ]
    assert len({row["ratio_mask"] for row in rows}) > 1
    for row, explanation in zip(rows, found.comparison.explanations.values(), strict=True):
        results = explanation.record.results
        for name in ("dice_explained", "ratio_mask", "ratio_image", "n_dilations"):
            assert float(row[name]) == results[name]
    assert "status" not in rows[0]  # not a number
    for name in METRICS:
        np.testing.assert_array_equal([float(row[name] or "nan") for row in rows], found.values(name).ravel())


def test_numbers_that_only_some_combinations_have_stay_empty(tmp_path):
    found = sx.sweep(
        planted_model(), planted_image(), "object", "misure", {"iterations": [0, 5]}, metrics=["ips"]
    )
    found.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert rows[0]["ratio_mask"] == ""
    assert float(rows[1]["ratio_mask"]) == found.result("ratio_mask")[0, 1]
    assert np.isnan(found.result("ratio_mask")[0, 0])


def test_a_result_called_like_a_parameter_does_not_take_its_place():
    found = sx.sweep(planted_model(), planted_image(), "object", "rise", {"masks": [5, 10]}, metrics=["ips"])
    rows = table(found)
    assert [(row["masks"], row["masks_result"]) for row in rows] == [(5, 5), (10, 10)]
    assert "masks" not in [number.name for number in found.numbers]


def test_the_heat_maps_frame_every_best_cell(found):
    figure = heat_maps(found)
    shown = numbers_shown(found)
    names = [number.name for number in shown]
    assert names[0] == "dice_explained"
    assert {"ratio_mask", "ratio_image", *METRICS} <= set(names)
    assert "kernel" not in names  # the same everywhere: in the table alone
    for axis, number in zip(figure.axes, shown, strict=False):
        framed = {(round(box.get_y() + 0.46), round(box.get_x() + 0.46)) for box in axis.patches}
        assert framed == set(map(tuple, np.argwhere(best_cells(found.array(number), number.better))))
        assert axis.get_title().endswith({"higher": "↑", "lower": "↓"}.get(number.better, axis.get_title()))
    ties = best_cells(found.result("ratio_mask"), "higher")
    assert ties[0].all()  # nothing is pruned at lr 0.001, whatever lambda
    assert not ties[1].any()
    [context] = [axis for axis, number in zip(figure.axes, shown, strict=False) if number.better is None][:1]
    assert not context.patches


def test_numbers_can_be_read_on_every_cell():
    ground, ink = cell_colors(np.array([[0.0, 0.25, 0.5, 0.75, 1.0, NAN]]))
    luminance = ground @ (0.299, 0.587, 0.114)
    for light, color in zip(luminance[0], ink[0], strict=True):
        assert abs(light - (color == "white")) > 0.45
    assert len({tuple(color) for color in ground[0]}) == 6
    same, _ = cell_colors(np.array([[3.0, 3.0]]))
    np.testing.assert_array_equal(same[0, 0], same[0, 1])


def test_a_sweep_that_was_stopped_has_what_there_was(tmp_path):
    """Nine combinations run eight at a time: the ninth is not there yet."""
    grid = {"lr": [0.01, 0.1, 1], "lam": [0.01, 0.1, 1]}
    asked = (planted_model(), planted_image(), "object", "misure:iterations=3", grid)
    steps = sweep_steps(*asked, metrics=["ips"])
    partial = None
    for step in steps:
        partial = step.partial()
        if len(partial.comparison.maps) == 8:
            break
        with pytest.raises(sx.UserError, match="nothing to write"):
            partial.save(tmp_path / "none")
    steps.close()
    assert not (tmp_path / "none").exists()
    whole = sx.sweep(*asked, metrics=["ips"])
    ratios = partial.result("ratio_mask")
    assert np.isnan(ratios[2, 2])
    np.testing.assert_allclose(ratios.ravel()[:8], whole.result("ratio_mask").ravel()[:8], rtol=1e-6)
    assert np.isnan(partial.values("ips")).all()  # nothing was measured
    partial.save(tmp_path / "some")
    assert len(list(csv.DictReader((tmp_path / "some" / "table.csv").open()))) == 8


def test_parameters_that_stay_the_same():
    asked = (planted_model(), planted_image(), "object")
    found = sx.sweep(*asked, "misure:iterations=4", {"lam": [0.01, 1]}, metrics=["ips"])
    one = sx.explain(*asked, "misure", iterations=4, lam=1)
    np.testing.assert_allclose(list(found.comparison.maps.values())[1], one.map, atol=1e-6)
    with pytest.raises(sx.UserError, match="lam is swept"):
        sx.sweep(*asked, "misure:lam=4", {"lam": [0.01, 1]})
    with pytest.raises(sx.UserError, match="no parameter 'x'"):
        SweepPlan.make(*asked, "misure", {"x": [1]})


def test_volumes_as_well():
    asked = (planted_model(3), planted_image(3), "object")
    found = sx.sweep(*asked, "rise", {"masks": [2, 4], "cells": [2, 3, 4]}, metrics=["ips"])
    assert found.values("ips").shape == found.shape == (2, 3)
    one = sx.compare(*asked, [("rise", {"masks": 4, "cells": 2})], metrics=["ips"], controls=0)
    np.testing.assert_allclose(found.values("ips")[1, 0], one.rows[0]["value"], rtol=1e-5)


def parameter(name: str, method: str = "misure"):
    return next(p for p in find_method(method).parameters if p.name == name)


def test_values_are_read_in_the_type_of_the_parameter():
    assert read_values(parameter("lr"), "0.001, 1e-2,0.1,", "misure") == [0.001, 0.01, 0.1]
    read = read_values(parameter("iterations"), "10, 20", "misure")
    assert read == [10, 20]
    assert all(type(value) is int for value in read)
    assert read_values(parameter("kernel"), "auto, 5", "misure") == [None, 5]
    assert "zero" in read_values(parameter("baseline"), "zero, mean", "misure")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lr", "", "lr needs values, such as 0.01, 0.1, 1"),
        ("lr", "0.1, fast", "lr is 'fast'; it has to be a number"),
        ("lr", "0.1, 0", "lr is 0; it has to be more than 0"),
        ("iterations", "10, 1.5", "iterations is '1.5'; it has to be a whole number"),
        ("lr", "0.1, 0.2, 1e-1", "lr has 1e-1 twice"),
        ("lr", "0.1,,0.2", "two commas"),
        ("baseline", "zero, void", "baseline is 'void'; choose one of"),
    ],
)
def test_wrong_values_are_said_in_words(name, text, words):
    with pytest.raises(sx.UserError, match=words):
        read_values(parameter(name), text, "misure")


def test_suggested_values_fit_for_every_parameter_of_every_method():
    assert suggested_values(parameter("lr")) == "0.01, 0.1, 1"
    assert suggested_values(parameter("tau")) == "0.45, 0.9, 0.95"
    assert suggested_values(parameter("iterations")) == "50, 100, 200"
    for method in all_methods("image"):
        for one in filter(can_be_swept, method.parameters):
            values = read_values(one, suggested_values(one), method.name)
            usual = one.usual if one.default is None else one.default
            assert usual in values, (method.name, one.name)


def test_cells_that_are_no_better_than_chance_are_marked(found, tmp_path):
    """In the picture, in the table, and told beforehand; of the method's own Dice as of the metrics."""
    numbers = {number.name: number for number in found.numbers}
    names = list(found.comparison.maps)
    for k, name in enumerate(names):
        assert found.chance(numbers["dice-explained"])[k] == found.comparison.chance(name, "dice-explained")
    for number in (numbers["dice-explained"], numbers["dice_explained"], numbers["dice_sufficient"]):
        values, levels = found.array(number).ravel(), found.chance(number)
        assert len(levels) == 6
        np.testing.assert_array_equal(
            found.chance_cells(number).ravel(), [v <= high for v, (_, high) in zip(values, levels, strict=True)]
        )  # fmt: skip
    assert not found.chance_cells(numbers["dice_sufficient"]).any()
    assert not found.chance_cells(numbers["context-share"]).any()
    assert found.chance(numbers["ratio_mask"]) == [None] * 6
    high = Chance(2.0, 2.0)  # as if random masks reached more than can be
    worse = replace(found, own_chance={(names[4], "dice_explained"): high})
    assert np.argwhere(worse.chance_cells(numbers["dice_explained"])).tolist() == [[1, 1]]
    axis = heat_maps(worse).axes[0]
    told = [text.get_text() for text in axis.texts]
    assert [k for k, text in enumerate(told) if MARK in text] == [4]
    assert axis.get_xlabel() == f"lam\n{MARK} no better than chance"
    row = table(worse)[4]
    assert (row["dice_explained chance"], row["dice_explained chance 95%"]) == (2, 2)
    assert row["dice_explained above chance"] is False
    worse.save(tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["dice_explained above chance"] for row in rows] == [""] * 4 + ["False", ""]


def test_random_masks_beside_a_sweep_are_told_beforehand_and_can_be_left_out():
    asked = (planted_model(), planted_image(), "object", "misure:iterations=4", {"lam": [0.01, 1]})
    plan = SweepPlan.make(*asked, metrics=["ips"])
    assert plan.passes.forward == plan.comparison.passes.forward + 1 + 2 * 2 * DRAWS
    steps, seen = planned_sweep_steps(plan), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert {step.total for step in seen} == {plan.passes.cost}
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert set(found.own_chance) == {
        (name, number) for name in found.comparison.maps for number in ("dice_explained", "dice_sufficient")
    }
    assert found.own_chance[min(found.own_chance)].high < 1
    none = sx.sweep(*asked, metrics=["ips"], chance=0)
    assert not none.own_chance
    assert SweepPlan.make(*asked, metrics=["ips"], chance=0).passes.forward == plan.comparison.passes.forward


@pytest.mark.parametrize("values", [[2, 2], ["2", "2.0"], [3, "3"]])
def test_a_value_that_is_given_twice_is_refused_however_it_is_written(values):
    with pytest.raises(sx.UserError, match=r"rise: masks has .* twice; every value counts once"):
        sx.sweep(planted_model(), planted_image(), "object", "rise", {"masks": values})
