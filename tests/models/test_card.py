"""Model cards: what is valid, and one sentence for what is not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.networks import card

import napari_segxai as sx
from napari_segxai.models.card import ModelCard, make_card, read_card
from napari_segxai.models.preprocessing.rules import Grid, Intensity, Padding

FULL = """\
name: Everything
labels: [background, liver, tumour]
spatial_dims: 3
channels: [t1, t2]
network_channels: [t2, t1]
orientation: LPS
grid: {spacing: [1, 1, 2.5], multiple: 16, interpolation: nearest, crop: nonzero, crop_on: grid, pad: {size: [0, 0, 8], at: end, value: 0}}
intensity_on: image
intensity:
  - clip: [-.inf, 400]
  - clip_percentiles: [0, 100]
  - normalize: {mean: [1, 2], std: [3, 4]}
  - zscore: true
previous_stage: predictions
background_value: -1000
activation: sigmoid
background_output: true
threshold: [0.42, 0.5]
paint_order: [liver, tumour]
regions: {liver: [1, 2], tumour: [2]}
ignored_values: [255]
values: probabilities
output: out
windows: {size: [64, 64, 32], overlap: 0.25, mirror: [0, 1]}
tokens: {'encoder.*': 16}
architecture: some.package:Outer.Net
arguments: {features: [8, 16]}
weights: best.pt
description: a
trained_on: b
not_for: c
credit: d
license: e
provenance: f
validation: g
"""


def problem(fields: dict, where: str = "here/model.yaml") -> str:
    with pytest.raises(sx.UserError) as caught:
        make_card(fields, where)
    text = str(caught.value)
    assert text.startswith(where + ": ")
    assert "\n" not in text
    assert re.search(r"[^.][.?]$", text)
    return text.removeprefix(where + ": ")


def test_a_card_with_every_key_is_read(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(FULL, encoding="utf-8")
    found = read_card(path)
    assert set(found.model_fields_set) == set(ModelCard.model_fields)
    assert found.labels == ("background", "liver", "tumour")
    assert found.grid.spacing == (1, 1, 2.5)
    assert [step.kind for step in found.intensity] == ["clip", "clip_percentiles", "normalize", "zscore"]
    assert found.arguments == {"features": [8, 16]}


def test_the_shortest_card():
    found = make_card(card())
    assert found.channels == ("intensity",)
    assert (found.activation, found.values, found.grid.multiple) == ("softmax", "logits", 1)


@pytest.mark.parametrize(
    ("fields", "key", "right"),
    [
        ({"orientaton": "RAS"}, "orientaton", "'orientation'"),
        ({"grid": {"sizes": [3, 3]}}, "grid.sizes", "'size'"),
        ({"grid": {"interpolate": "linear"}}, "grid.interpolate", "'interpolation'"),
        ({"intensity": [{"divide": 2}, {"z_score": True}]}, "intensity.1.z_score", "'zscore'"),
        ({"licence": "MIT"}, "licence", "'license'"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_right_one(fields, key, right):
    text = problem(card(**fields))
    assert f"unknown key {key!r}" in text
    assert "did you mean" in text
    assert right in text


def test_a_misspelt_required_key_is_unknown_rather_than_missing():
    fields = card()
    fields["labells"] = fields.pop("labels")
    assert problem(fields).startswith("unknown key 'labells'; did you mean 'labels'")


@pytest.mark.parametrize("key", ["name", "labels", "spatial_dims"])
def test_a_missing_key_is_named(key):
    fields = card()
    del fields[key]
    assert problem(fields) == f"the key {key!r} is missing; every card needs it."


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        ({"labels": []}, "labels", "two labels"),
        ({"labels": ["lesion"]}, "labels", "two labels"),
        ({"labels": ["a", "b", "a"]}, "labels", "a name of its own"),
        ({"labels": [False, True]}, "labels.0", "string"),
        ({"labels": "background"}, "labels", "a list"),
        ({"spatial_dims": 4}, "spatial_dims", "2 or 3"),
        ({"channels": []}, "channels", "1 item"),
        ({"orientation": "RAX"}, "orientation", "'X' is not an axis code"),
        ({"orientation": "RAL"}, "orientation", "'RAL' is not an orientation"),
        ({"orientation": "RA"}, "orientation", "'RA' is not an orientation"),
        ({"grid": 3}, "grid", "mapping"),
        ({"grid": {"size": [8, 8], "spacing": [1, 1]}}, "grid", "not two of them"),
        ({"grid": {"size": [8, 8], "multiple": 4}}, "grid", "no multiple"),
        ({"grid": {"size": [8, 0]}}, "grid", "positive"),
        ({"grid": {"spacing": [1, 0]}}, "grid", "positive"),
        ({"grid": {"spacing": [1, float("nan")]}}, "grid", "positive"),
        ({"grid": {"multiple": 0}}, "grid.multiple", "greater than or equal to 1"),
        (
            {"grid": {"interpolation": "sinc"}},
            "grid.interpolation",
            "'nearest', 'linear', 'bicubic', 'cubic' or 'area'",
        ),
        ({"grid": {"size": [8, 8, 8]}}, "grid size", "needs 2 numbers"),
        ({"grid": {"size": []}}, "grid size", "needs 2 numbers"),
        ({"grid": {"spacing": [1]}}, "grid spacing", "needs 2 numbers"),
        ({"intensity": {"divide": 2}}, "intensity", "a list"),
        ({"intensity": ["zscore"]}, "intensity.0", "mapping"),
        ({"intensity": [{}]}, "intensity.0", "exactly one key"),
        ({"intensity": [{"divide": None}]}, "intensity.0", "exactly one key"),
        ({"intensity": [{"divide": 2, "zscore": True}]}, "intensity.0", "exactly one key"),
        ({"intensity": [{"zscore": False}]}, "intensity.0.zscore", "true"),
        ({"intensity": [{"divide": 0}]}, "intensity.0", "other than 0"),
        ({"intensity": [{"divide": float("inf")}]}, "intensity.0", "finite"),
        ({"intensity": [{"clip": [1, 1]}]}, "intensity.0", "lower value first"),
        ({"intensity": [{"rescale": [1, 0]}]}, "intensity.0", "lower value first"),
        ({"intensity": [{"window": [0, float("inf")]}]}, "intensity.0", "window needs finite"),
        ({"intensity": [{"scale_shift": [float("nan"), 0]}]}, "intensity.0", "scale_shift needs finite"),
        ({"intensity": [{"clip_percentiles": [-1, 99]}]}, "intensity.0", "between 0 and 100"),
        ({"intensity": [{"clip_percentiles": [1, 101]}]}, "intensity.0", "between 0 and 100"),
        ({"intensity": [{"normalize": {"mean": [1]}}]}, "intensity.0", "a mean and a positive std"),
        ({"intensity": [{"normalize": {"mean": [1], "std": [0]}}]}, "intensity.0", "positive std"),
        ({"intensity": [{"normalize": {"mean": [], "std": []}}]}, "intensity.0", "positive std"),
        (
            {"intensity": [{"normalize": {"mean": [1, 2], "std": [1]}}]},
            "intensity normalize mean",
            "2 numbers for 1 channel",
        ),
        ({"windows": {"size": [2**14, 2**15]}}, "windows size", "numbers"),
        ({"background_value": float("nan")}, "background_value", "finite"),
        ({"activation": "relu"}, "activation", "'softmax' or 'sigmoid'"),
        ({"values": "scores"}, "values", "'logits' or 'probabilities'"),
        ({"architecture": "torch.nn.Conv2d"}, "architecture", "'package.module:Class'"),
        ({"architecture": "..secret:Net"}, "architecture", "'package.module:Class'"),
        ({"architecture": "a:b; import os"}, "architecture", "'package.module:Class'"),
        ({"weights": "../weights.pt"}, "weights", "beside the card"),
        ({"weights": "/etc/passwd"}, "weights", "beside the card"),
    ],
)
def test_every_rule_names_its_key(fields, key, words):
    text = problem(card(**fields))
    assert text.startswith(key)
    assert words in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [1", "line 1"),
        ("name: x\nlabels: a: b", "line 2"),
        ("name: 1\n---\nname: 2", "single document"),
        ("name: 2024-13-45", "month"),
        ("name: \x00", "special characters"),
        (b"name: \xff\xfe", "utf-8"),
        ("", "a mapping"),
        ("- a\n- b", "a mapping"),
    ],
)
def test_a_file_that_is_no_card_is_named(tmp_path, text, words):
    path = tmp_path / "model.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(sx.UserError) as caught:
        read_card(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(sx.UserError, match=r"nothing\.yaml: there is no such model card"):
        read_card(tmp_path / "nothing.yaml")
    with pytest.raises(sx.UserError, match="cannot be read as a model card"):
        read_card(tmp_path)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))


def test_an_alias_stands_for_what_was_written(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("name: &n twice\nlabels: [a, b]\nspatial_dims: 2\nchannels: &c [x, y]\ncredit: *n\n")
    assert read_card(path).credit == "twice"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 16 deep"),
        ("{a: " * 5_000, "nested more than 16 deep"),
        ("- " * 5_000 + "x", "nested more than 16 deep"),
        (BOMB, "it holds more than 100000 values, with its aliases written out"),
        ("&a [*a]", "an alias stands for what it lies in"),
        ("a: &a [1, {b: *a}]", "an alias stands for what it lies in"),
        ("name: x\n" + "# " * 200_000, "at most 256 KB"),
        ("multiple: " + "1" * 5_000, "not a YAML file"),
        ("a: !!python/object/apply:os.system [ls]", "not a YAML file"),
        ("a: \x00", "not a YAML file"),
        ("? [a, b]\n: x", "not a YAML file"),
    ],
    ids=range(11),
)
def test_a_card_that_would_take_for_ever_is_refused(tmp_path, text, words):
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(sx.UserError, match=r"model\.yaml") as caught:
        read_card(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_no_card(tmp_path):
    os.mkfifo(tmp_path / "model.yaml")
    for path in (tmp_path / "model.yaml", Path("/dev/zero")):
        with pytest.raises(sx.UserError, match="a folder, a pipe or a device"):
            read_card(path)


def test_every_key_stands_on_the_page_about_cards():
    page = (Path(sx.__file__).parents[1] / "docs" / "model_card.md").read_text()
    for form in (ModelCard, Grid, Padding, Intensity):
        for key in form.model_fields:
            assert re.search(rf"\b{key}\b", page), key
