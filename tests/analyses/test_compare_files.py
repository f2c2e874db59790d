"""What a comparison writes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from helpers.networks import OBJECT, PATCH, planted_image, planted_model

import napari_segxai as sx


def test_every_value_is_written_with_its_unit_or_the_reason_why_there_is_none(tmp_path):
    cause = np.zeros((32, 32))
    cause[PATCH] = cause[OBJECT] = 1
    found = sx.compare(
        planted_model(), planted_image(), "object", ["rise:masks=4"], controls=1,
        maps={"cause": cause, "nothing": cause * 0}, metrics=["pps", "insertion-dice", "f1-mask", "f1-box"],
    )  # fmt: skip
    written = found.save(tmp_path / "c")
    assert tmp_path / "c" / "values.csv" in written
    rows = list(csv.DictReader((tmp_path / "c" / "values.csv").open()))
    assert [(row["map"], row["metric"]) for row in rows] == [(r["map"], r["metric"]) for r in found.rows]
    by = {(row["map"], row["metric"]): row for row in rows}
    assert by["rise", "pps"]["method"] == "rise"
    assert by["cause", "pps"]["method"] == by["random order", "insertion-dice"]["method"] == ""
    assert float(by["rise", "pps"]["value"]) == pytest.approx(found.value("rise", "pps"))
    assert by["nothing", "pps"]["value"] == ""
    assert by["nothing", "pps"]["reason"] == "the map is 0 everywhere."
    assert by["cause", "f1-box"]["reason"] == "no truth was given."
    assert by["cause", "f1-box"]["form"] == "box"
    assert by["cause", "f1-box"]["better"] == "higher"
    for row in rows:
        assert (row["value"] == "") == (row["reason"] != ""), row


def test_a_comparison_that_was_stopped_before_its_numbers_has_no_values(tmp_path):
    steps = sx.compare_steps(planted_model(), planted_image(), "object", ["rise:masks=4"])
    so_far = next(step.partial() for step in steps if step.partial().maps)
    steps.close()
    so_far.save(tmp_path / "c")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "table.csv",
        "comparison.png",
        "record.json",
        "rise",
        "target",
    }
