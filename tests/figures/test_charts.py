"""Charts for print: every kind, and what has no place on an axis."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image as Picture

from napari_segxai.core.chart import Chart, Series, matrix
from napari_segxai.figures.charts import MANY, draw_chart
from napari_segxai.figures.style import COLORS, INCH, pixels_of, write_figure


def test_points_with_intervals_a_reference_and_logarithmic_axes():
    own = Series("$a$", (1.0, 0.0, 100.0), (2.0, 3.0, None), low=(1.0, 1.0, None), high=(4.0, 4.0, None))
    line = Series("chance", (1.0, 100.0), (0.5, 0.5), kind="lines")
    figure = draw_chart(Chart("points", "T", "Size (pixels)", "Dice", (own, line), log_x=True), letter="b")
    axes = figure.axes[0]
    points, reference = axes.lines[0], axes.lines[1]
    np.testing.assert_array_equal(points.get_xdata(), [1, math.nan, 100])  # 0 has no place
    np.testing.assert_array_equal(points.get_ydata(), [2, 3, math.nan])
    (bars,) = (container.lines[2][0] for container in axes.containers)
    np.testing.assert_array_equal(bars.get_segments()[0], [[1, 1], [1, 4]])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Size (pixels)", "Dice")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["$a$", "chance"]
    assert to_hex(points.get_color()) == COLORS[0].lower()
    assert (points.get_linestyle(), axes.lines[-1].get_linestyle() or reference) != ("-", "-")
    assert figure.get_figwidth() * INCH == 85
    for kind in ("png", "pdf", "svg"):
        write_figure(figure, io.BytesIO(), kind)


def test_a_figure_is_drawn_once_and_its_pixels_are_those_of_its_file(monkeypatch):
    chart = Chart("points", "T", "x", "y", (Series("a", (1.0, 2.0), (2.0, 3.0)),))
    count = []
    monkeypatch.setattr(Figure, "draw", lambda *given, draw=Figure.draw: count.append(1) or draw(*given))
    for kind in ("png", "pdf", "svg"):
        write_figure(draw_chart(chart), file := io.BytesIO(), kind, 100)
        if kind == "png":
            np.testing.assert_array_equal(
                np.asarray(Picture.open(file).convert("RGB")), pixels_of(draw_chart(chart), 100)
            )
    assert len(count) == 4


def test_names_stand_in_the_order_in_which_they_come():
    one = Series("x", ("b", "a"), (1.0, 2.0))
    other = Series("y", ("c", "a"), (3.0, None))
    axes = draw_chart(Chart("bars", "T", "", "Dice", (one, other))).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "a", "c"]
    places = [round(patch.get_x() + patch.get_width() / 2, 2) for patch in axes.patches]
    assert places == [-0.2, 0.8, 2.2, 1.2]


def test_the_words_of_an_axis_stay_beside_it():
    layers = [*(f"encoder{k}" for k in range(5)), "bottleneck", *(f"decoder{k}" for k in range(5))]
    words = "Dice at half the maximum with the truth"
    figure = draw_chart(Chart("lines", words, "network layer", words, (Series("a", layers, (0.5,) * 11),)))
    figure.draw_without_rendering()
    beside, title = figure.axes[0].yaxis.label.get_window_extent(), figure._suptitle.get_window_extent()
    assert not beside.overlaps(title)
    assert beside.y0 >= 0


def test_many_points_are_pixels_in_a_file_of_outlines():
    x = np.linspace(0, 1, MANY + 1)
    written = io.BytesIO()
    write_figure(draw_chart(Chart("points", "", "", "", (Series("", x, x),))), written, "svg")
    assert b"<image" in written.getvalue()
    assert len(written.getvalue()) < 100_000


def test_a_matrix_with_what_is_not_known():
    chart = matrix("M", ["a", "b"], ["a", "b", "c"], [[1, 0.25, None], [0, 2, 3]], x="on", y="of")
    figure = draw_chart(chart)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "0.25", "–", "0", "2", "3"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert len(figure.axes) == 2  # with its colour bar
    draw_chart(matrix("M", ["a"], ["b"], [[None]], x="", y=""))
    draw_chart(Chart("points", "", "", "", ()))


def test_references_take_no_colour_away_and_no_two_of_many_series_look_alike():
    places = ("a", "b")
    several = [Series(f"s{k}", places, (k, k + 1)) for k in range(12)]
    controls = [Series("", places, (0.5, 0.5), kind="lines") for _ in several]
    mixed = tuple(one for pair in zip(several, controls, strict=True) for one in pair)
    axes = draw_chart(Chart("lines", "Many", "x", "y", mixed)).axes[0]
    drawn = [line for line in axes.get_lines() if line.get_linestyle() != "--"]
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == len(several)
    assert len({line.get_color() for line in drawn[:8]}) == 8
