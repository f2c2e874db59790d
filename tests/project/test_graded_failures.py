"""The images of graded failures: what is wrong grows with its degree, and the truth is that of the triangle."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

import napari_segxai as sx

SCRIPT = Path(sx.__file__).parents[1] / "reproduction" / "graded_failures.py"


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_the_cases_are_found_with_truth_and_kind(script, tmp_path):
    table = script["draw"](tmp_path, 8, 0)
    found = sx.find_cases(table)
    assert (len(found), len(found.left_out)) == (8, 0)
    assert [case.group for case in found] == [*script["KINDS"]] * 2
    with table.open(newline="") as file:
        assert {row["degree"] == "0.000" for row in csv.DictReader(file) if row["group"] == "as trained"} == {
            True
        }
    image, truth = (np.asarray(Picture.open(path)) for path in (found[0].images[0], found[0].truth))
    assert set(np.unique(truth)) == {0, 1}
    assert (image[truth > 0] > 0).all()
    again = script["draw"](tmp_path / "again", 8, 0)
    assert (
        np.asarray(Picture.open(again.parent / "0003.png")) == np.asarray(Picture.open(tmp_path / "0003.png"))
    ).all()


def test_every_study_is_there(script):
    assert {name for name, _ in script["STUDIES"]} <= {one["name"] for one in sx.list_studies()}
