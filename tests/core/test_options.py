"""Typed parameters: their description, and reading what a user gives."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Literal

import numpy as np
import pytest

import napari_segxai as sx
from napari_segxai.core.options import LayerName, make_options, option, parameters
from napari_segxai.methods.registry import all_methods, find_method


@dataclass(frozen=True)
class Options:
    count: int = option(3, ge=1, le=10, unit="pixels", help="how many")
    rate: float = option(0.5, gt=0, le=1, help="how much", advanced=True)
    limit: int | None = option(None, ge=0, help="where to stop")
    on: bool = option(True, help="whether")
    kind: Literal["mean", "max"] = option("mean", help="which")
    way: Literal["left", "right"] | None = option(None, help="where to")
    layer: LayerName = option("bottleneck", help="where")
    free: float = option(0.0, help="any")


KNOWN = {parameter.name: parameter for parameter in parameters(Options)}


def make(**values) -> Options:
    return make_options(Options, values, "method")


# ---------------------------------------------------------------- description


def test_every_field_is_described():
    assert list(KNOWN) == ["count", "rate", "limit", "on", "kind", "way", "layer", "free"]
    assert {name: p.type_name for name, p in KNOWN.items()} == {
        "count": "int",
        "rate": "float",
        "limit": "int",
        "on": "bool",
        "kind": "choice",
        "way": "choice",
        "layer": "network layer",
        "free": "float",
    }
    assert {name for name, p in KNOWN.items() if p.optional} == {"limit", "way"}
    assert KNOWN["way"].choices == ("left", "right")
    assert {name: p.bounds for name, p in KNOWN.items() if p.bounds} == {
        "count": "1 or more and 10 or less",
        "rate": "more than 0 and 1 or less",
        "limit": "0 or more",
    }
    assert [name for name, p in KNOWN.items() if p.advanced] == ["rate"]


def test_as_json():
    assert KNOWN["count"].as_json() == {
        "name": "count",
        "type": "int",
        "default": 3,
        "optional": False,
        "choices": [],
        "bounds": "1 or more and 10 or less",
        "unit": "pixels",
        "help": "how many",
    }
    assert KNOWN["way"].as_json()["choices"] == ["left", "right"]


def test_a_field_without_a_default_is_a_programming_error():
    @dataclass
    class Lacking:
        count: int

    with pytest.raises(TypeError, match=r"Lacking\.count has to be declared by option\(default"):
        parameters(Lacking)


@pytest.mark.parametrize("hint", [list, int | str, Literal["a"] | int | str])
def test_a_field_that_no_form_could_ask_for_is_a_programming_error(hint):
    strange = make_dataclass("Strange", [("count", hint, option(1, help="how many"))])
    with pytest.raises(TypeError, match=r"Strange\.count is a .*; it has to be one of bool, int"):
        parameters(strange)


@pytest.mark.parametrize("method", all_methods(), ids=lambda m: m.name)
def test_the_defaults_of_every_method_keep_their_own_rules(method):
    for parameter in method.parameters:
        assert parameter.check(parameter.default, method.name) == parameter.default
        assert parameter.help
        text = "auto" if parameter.default is None else str(parameter.default)
        assert parameter.check(text, method.name) == parameter.default  # as typed on a command line
    for values in method.presets.values():
        assert method.make_options(values) == method.options(**values)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("count", 1, 1),
        ("count", 10, 10),
        ("count", "7", 7),
        ("count", " 7 ", 7),
        ("count", 7.0, 7),
        ("count", "1e1", 10),
        ("count", np.int16(4), 4),
        ("rate", 1, 1.0),
        ("rate", "0.25", 0.25),
        ("rate", "1e-3", 0.001),
        ("rate", np.float32(0.5), 0.5),
        ("free", "-2", -2.0),
        ("limit", None, None),
        ("limit", "auto", None),
        ("limit", "none", None),
        ("limit", "", None),
        ("limit", "0", 0),
        ("on", False, False),
        ("on", "False", False),
        ("on", "no", False),
        ("on", "0", False),
        ("on", "TRUE", True),
        ("on", "yes", True),
        ("on", "1", True),
        ("kind", "max", "max"),
        ("way", "right", "right"),
        ("way", "auto", None),
        ("layer", "encoder1.conv", "encoder1.conv"),
    ],
)
def test_values_are_read_in_their_type(name, given, value):
    found = getattr(make(**{name: given}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("count", 0, "is 0; it has to be 1 or more and 10 or less"),
        ("count", 11, "is 11; it has to be"),
        ("count", "11", "is 11; it has to be"),
        ("count", 2.5, "is 2.5; it has to be a whole number"),
        ("count", "many", "is 'many'; it has to be a whole number"),
        ("count", "", "it has to be a whole number"),
        ("count", True, "it has to be a whole number"),
        ("count", float("nan"), "it has to be a whole number"),
        ("count", "inf", "it has to be a whole number"),
        ("count", [3], "it has to be a whole number"),
        ("count", None, "needs a value"),
        ("count", "auto", "is 'auto'; it has to be a whole number"),
        ("rate", 0, "is 0; it has to be more than 0 and 1 or less"),
        ("rate", 1.001, "is 1.001; it has to be"),
        ("rate", "half", "it has to be a number"),
        ("rate", float("nan"), "it has to be a number"),
        ("free", float("inf"), "it has to be a number"),
        ("limit", -1, "is -1; it has to be 0 or more"),
        ("on", 1, "is 1; it has to be true or false"),
        ("on", "maybe", "it has to be true or false"),
        ("on", None, "needs a value"),
        ("kind", "min", "is 'min'; choose one of mean, max"),
        ("kind", None, "needs a value"),
        ("way", "up", "choose one of left, right"),
        ("layer", 3, "is 3; it has to be a name"),
    ],
)
def test_wrong_values_are_told(name, given, words):
    with pytest.raises(sx.UserError) as caught:
        make(**{name: given})
    assert str(caught.value).startswith(f"method: {name} ")
    assert words in str(caught.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(sx.UserError, match=r"method has no parameter 'cuont'; did you mean 'count'"):
        make(cuont=3)

    find = find_method("counterfactual").make_options
    for wrong in ("direction", "xyz"):  # far from all of them: all are named
        with pytest.raises(sx.UserError, match=r"known are 'goal', 'search', .*'baseline'\."):
            find({wrong: 1})
    for wrong, right in (("iter", "iterations"), ("segment", "segments"), ("filing", "filling")):
        with pytest.raises(sx.UserError, match=f"did you mean '{right}'\\?"):
            find({wrong: 1})
    with pytest.raises(sx.UserError, match=r"did you mean 'lam'\?"):
        find_method("misure").make_options({"lambda": 1})

    @dataclass(frozen=True)
    class Nothing:
        pass

    with pytest.raises(sx.UserError, match="has no parameter 'count'; it has none"):
        make_options(Nothing, {"count": 1}, "method")


# ---------------------------------------------------------------- presets


def test_a_preset_fills_in_and_the_rest_overrides():
    rise = find_method("rise")
    assert rise.make_options({"preset": "petsiuk"}) == rise.options(
        masks=4000, cells=7, keep=0.5, score="probability", upsampling="linear"
    )
    changed = rise.make_options({"preset": "petsiuk", "masks": "8", "checkpoints": "yes"})
    assert (changed.masks, changed.score, changed.checkpoints) == (8, "probability", True)
    assert rise.make_options({}) == rise.options()
    given = {"preset": "hasany"}
    rise.make_options(given)
    assert given == {"preset": "hasany"}


def test_unknown_presets_and_methods():
    with pytest.raises(sx.UserError, match=r"rise has no preset 'petsiku'; did you mean 'petsiuk'\?"):
        find_method("rise").make_options({"preset": "petsiku"})
    with pytest.raises(sx.UserError, match="seg-grad-cam has no preset 'x'; it has none"):
        find_method("seg-grad-cam").make_options({"preset": "x"})
    with pytest.raises(sx.UserError, match=r"no method 'miusre'; did you mean 'misure'\?"):
        find_method("miusre")
    with pytest.raises(sx.UserError, match=r"rise has no parameter 'mask'; did you mean 'masks'\?"):
        find_method("rise").make_options({"mask": 3})
