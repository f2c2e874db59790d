"""Charts as plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_segxai import UserError
from napari_segxai.core.chart import Chart, Series, matrix


def test_numbers_of_numpy_become_json():
    one = Series("a", np.array([1.0, 2.0]), np.array([np.nan, 3]), low=(None, np.float32(2)), high=(1, 4), cases=("c0", "c1"))  # fmt: skip
    told = json.loads(json.dumps(Chart("points", "t", "x (px)", "y", [one], log_x=True).as_json()))
    assert told["series"][0]["y"] == [None, 3.0]
    assert told["series"][0]["low"] == [None, 2.0]
    assert (told["kind"], told["log_x"], told["log_y"]) == ("points", True, False)


def test_what_does_not_fit_is_said():
    with pytest.raises(UserError, match="'a' has 2 x but 1 y"):
        Series("a", (1, 2), (1,))
    with pytest.raises(UserError, match="2 x but 1 text"):
        Series("a", (1, 2), (1, 2), text=("one",))
    with pytest.raises(UserError, match="rows and columns"):
        matrix("m", ["r"], ["c", "d"], [[1.0]], x="", y="")
    with pytest.raises(UserError, match="kind 'line'"):
        Chart("line", "t", "", "", ())
    with pytest.raises(UserError, match="matrix of 2 series"):
        Chart("matrix", "t", "", "", (Series("", (), ()), Series("", (), ())))
    assert matrix("m", ["r"], ["c", "d"], [[1.0, None]], x="", y="").series[0].values == ((1.0, None),)
