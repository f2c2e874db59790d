"""The one list of keyword arguments of compare, evaluate and sweep: what help says, and what type checkers read."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import get_type_hints

import pytest

import napari_segxai as sx
from napari_segxai.analyses.compare.measuring import (
    DEFAULTS,
    Measuring,
    MeasuringWithControls,
    MetricParameters,
)
from napari_segxai.analyses.sweep.api import sweep_steps
from napari_segxai.metrics.evaluation import Options


@pytest.mark.parametrize("function", [sx.compare, sx.compare_steps, sx.evaluate, sx.sweep, sweep_steps])
def test_help_tells_every_keyword_with_its_default(function):
    keywords = Measuring if function in (sx.sweep, sweep_steps) else MeasuringWithControls
    wanted = {name: DEFAULTS[name] for name in DEFAULTS if name in get_type_hints(keywords)}
    assert ("controls" in wanted) == (function not in (sx.sweep, sweep_steps))
    told = inspect.signature(function).parameters
    assert {name: told[name].default for name in told if name in DEFAULTS} == wanted
    assert list(told)[-1] == "options"
    for name in wanted:
        assert f"\n{name} : " in function.__doc__
    assert "measuring" not in function.__doc__
    assert "\n**options\n    Parameters of the metrics" in function.__doc__


def test_type_checkers_know_the_parameters_of_the_metrics():
    """They cannot be told of a dataclass by a mapping of its fields, so that the list stands twice: alike, as held here."""
    assert get_type_hints(MetricParameters) == {
        field.name: get_type_hints(Options)[field.name] for field in fields(Options)
    }
    assert set(get_type_hints(MeasuringWithControls)) == {*DEFAULTS, *get_type_hints(MetricParameters)}


def test_a_sweep_says_that_it_has_no_random_orders():
    with pytest.raises(sx.UserError, match="a sweep measures no random orders; leave controls out"):
        sx.sweep("triangle", [[0.0]], "triangle", "rise", {"masks": [1, 2]}, controls=1)
