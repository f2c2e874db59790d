"""Pictures for print: what is drawn, how large, and that nothing lies over anything else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.analyses.compare.drawing import drawn_of
from napari_segxai.figures.compare import Drawn, DrawnMap, picture
from napari_segxai.figures.style import INCH, fitted, round_length, write_figure

LONG = "rise masks=8000 baseline=inpaint that_goes_on_and_on=$x^2$ 0123456789 0123456789 0123456789"


def disc(center: tuple[int, int], shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < 80


@pytest.fixture
def case() -> Drawn:
    ramp = np.linspace(0, 1, 2400).reshape(40, 60)
    maps = {
        "signed": DrawnMap(ramp - 0.5, -0.5, 2.0, "change of the logit"),
        LONG: DrawnMap(ramp, 0.25, 1.0, "mean probability of copies that show the pixel"),
        "flat": DrawnMap(ramp * 0, 0.0, 0.0, "Dice"),
        "fourth": DrawnMap(ramp, 0.0, 1.0),
        "fifth": DrawnMap(ramp, 0.0, 1.0),
    }
    return Drawn(
        "$case$", "liver", ramp, disc((20, 20)) * 2, maps, disc((20, 20)), disc((22, 24)), (2.0, 1.0), "mm",
        "slice 3 of 0 to 9", ("background", "other", "liver"),
    )  # fmt: skip


def texts(figure) -> list:
    FigureCanvasAgg(figure).draw()
    every = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text for text in every if text.get_text()]


@pytest.mark.parametrize("width", [85, 180])
def test_nothing_lies_over_anything_else_nor_beyond_the_edge(case, width):
    figure = picture([case, replace(case, maps={"signed": case.maps["signed"]})], width=width)
    assert figure.get_figwidth() * INCH == pytest.approx(width)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    boxes += [("axes", axes.get_window_extent()) for axes in figure.axes]
    size = figure.get_size_inches() * figure.dpi
    for word, box in boxes:
        assert box.x0 > -1, word
        assert box.y0 > -1, word
        assert box.x1 < size[0] + 1, word
        assert box.y1 < size[1] + 1, word
    for (word, one), (other_word, other) in itertools.combinations(boxes, 2):
        inside = {word, other_word} & {"axes"} and {word, other_word} & {"10 mm", "20 mm", "none"}
        wide = min(one.x1, other.x1) - max(one.x0, other.x0)
        high = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert inside or wide < 1 or high < 1, (word, other_word)


def test_what_is_said_beside_the_maps(case):
    said = {text.get_text().replace("\n", " ") for text in texts(picture([case]))}
    assert {"a", "b", "c", "d", "e", "f", "g"} <= said
    assert "h" not in said
    assert {"change of the logit", "Dice", "liver", "\N{MINUS SIGN}2", "0.25"} <= said
    assert "mean probability of copies that show the pixel" in said
    assert r"\$case\$ · liver · slice 3 of 0 to 9" in said
    assert "10 mm" in said  # a quarter of 60 mm at most
    assert not [word for word in said if word == "other"]  # which is not seen
    (caption,) = (word for word in said if word.startswith("Solid outline"))
    for part in ("dashed: the truth", "colour scale of its own", "Red speaks for the label, blue against it"):
        assert part in caption
    shared = {text.get_text() for text in texts(picture([case], common=True))}
    assert {"\N{MINUS SIGN}2", "2"} <= shared
    assert not {"0.25", "1"} & shared
    assert any("share one colour scale" in word.replace("\n", " ") for word in shared)
    assert "10 mm" not in {text.get_text() for text in texts(picture([replace(case, units="pixel")]))}


def test_pixels_have_their_shape(case):
    figure = picture([case])
    box = figure.axes[0].get_position()
    height, width = figure.get_figheight() * box.height, figure.get_figwidth() * box.width
    assert height / width == pytest.approx(40 * 2 / 60)
    left = figure.axes[2].images[0]
    np.testing.assert_array_equal(left.get_array(), case.maps["signed"].values)
    assert left.get_clim() == (-2, 2)


def test_what_is_written(case, tmp_path):
    figure = picture([case])
    for ending in ("png", "pdf", "svg"):
        write_figure(figure, tmp_path / f"a.{ending}")
    with Picture.open(tmp_path / "a.png") as found:
        assert found.width == int(180 / INCH * 300)
        assert found.info["dpi"][0] == pytest.approx(300, abs=0.1)
    written = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in written  # TrueType, not outlines of type 3
    assert b"/Type3" not in written
    assert b"<text" not in (tmp_path / "a.svg").read_bytes()
    write_figure(figure, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_volume_is_cut_where_its_object_is_largest():
    """Turned as napari shows it, with the lengths of the axes that are seen, and the outline of the label alone."""
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    affine = np.diag([3.0, 4.0, 5.0, 1.0])  # R A S
    prediction = np.ones((4, 5, 6), np.uint8)
    truth = np.zeros((4, 5, 6), bool)
    prediction[:3, :2, 4] = 2
    truth[0, 0, 1] = True
    image = sx.Image(values, affine=affine)
    found = drawn_of(image, "b", prediction, {"m": (values, "u")}, object=prediction == 2, truth=truth)
    np.testing.assert_array_equal(found.maps["m"].values, values[::-1, ::-1, 4].T)
    assert (found.spacing, found.units, found.place) == ((4.0, 3.0), "mm", "slice 1 of 0 to 5")
    assert found.object is not None
    assert found.object.sum() == 6
    assert found.truth is not None
    assert not found.truth.any()
    assert (found.maps["m"].low, found.maps["m"].end) == (0.0, 119.0)


def test_lengths_and_lines():
    assert [round_length(most) for most in (15, 20, 0.3, 7, 1000)] == pytest.approx([10, 20, 0.2, 5, 1000])
    assert fitted("one two three", 100) == "one two three"
    assert fitted("x" * 500, 30, lines=2).count("\n") == 1
    assert fitted("x" * 500, 30, lines=2).endswith("…")
    assert fitted("", 30) == ""
    narrow = fitted("0.194 triangle_17", 12, lines=3)  # 10 letters
    assert narrow == "0.194\ntriangle_\n17"  # not "0.194 tria" and "ngle_17"


def test_a_width_that_is_none():
    with pytest.raises(sx.UserError, match="width 3 mm is none of a page"):
        sx.save_picture([], "a.png", width=3)
