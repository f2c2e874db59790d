"""Paths as users write them: the home folder is written out for reading and for saving alike."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import planted_image, planted_model
from PIL import Image as Picture

import napari_segxai as sx


def test_the_home_folder_is_written_out_where_results_go(tmp_path, monkeypatch):
    """Python is given ~ as it is written, and a shell leaves that of --out=~/a to the program."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    found = sx.explain(planted_model(), planted_image(), "object", "vanilla-gradient")
    written = found.save("~/results")
    assert written[-1] == tmp_path / "home" / "results" / "record.json"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    np.testing.assert_array_equal(sx.load_explanation("~/results").map, found.map)
    with pytest.raises(sx.UserError, match="there is no user of this name"):
        found.save("~nobody-of-this-name/results")


def test_a_file_may_begin_with_the_sign_of_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Picture.fromarray(np.eye(8, dtype=np.uint8)).save("~.png")
    assert sx.read_image("./~.png").shape == (8, 8)
    with pytest.raises(sx.UserError, match="there is no user of this name"):
        sx.read_image("~.png")
