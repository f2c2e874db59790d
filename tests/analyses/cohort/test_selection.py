"""Rows of a cohort as columns, some of its cases alone or against the rest, and what a run has before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

import napari_segxai as sx
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import study
from napari_segxai.analyses.cohort.tables.frame import Frame, frames, inside, nearest_place, places
from napari_segxai.analyses.cohort.tables.selection import contrast, holm, only

CASES = 30


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Thirty cases with one object and one map; the first ten are smaller, and case 4 failed."""
    rng = np.random.default_rng(0)
    objects, maps = [], []
    for k in range(CASES):
        about = {"case": f"c{k}", "group": "", "subject": f"s{k}", "label": "object"}
        objects.append({**about, "size_px": 100 + 10 * k, "truth_dice": float(rng.random()), "error": ""})
        own = {"dice-explained": float(rng.random()), "seconds": 1.0, "warnings": ""}
        maps.append({**about, "map": "rise", **(own if k != 4 else {}), "error": "broken" if k == 4 else ""})
    jobs = [
        {"kind": "objects", "label": "", "map": "", "place": "objects", "asked": ""},
        {"kind": "map", "label": "object", "map": "rise", "place": "maps/object/rise", "asked": ""},
    ]
    record = {"cases": [{"id": f"c{k}", "folder": f"c{k}"} for k in range(CASES)], "jobs": jobs}
    return Cohort(Path("somewhere"), record, objects, maps, 0)


def test_a_row_of_maps_has_the_numbers_of_its_object(cohort):
    found = frames(cohort)
    assert list(found) == ["maps", "objects"]
    frame = found["maps"]
    assert frame.columns[:3] == ("case", "label", "map")
    assert frame.keys[7] == ("c7", "object", "rise")
    assert frame.numbers("size_px")[7] == 170
    assert np.isnan(frame.numbers("dice-explained")[4])
    with pytest.raises(sx.UserError, match="'label' is no column of numbers"):
        frame.numbers("label")


def test_rows_are_sorted_by_number_and_those_without_come_last(cohort):
    frame = frames(cohort)["maps"]
    for descending in (False, True):
        order = frame.order("dice-explained", descending=descending)
        values = frame.numbers("dice-explained")[order]
        assert order[-1] == 4
        assert (np.diff(values[:-1]) * (-1 if descending else 1) >= 0).all()
    by_name = [frame.rows[k]["case"] for k in frame.order("case")]
    assert by_name == [f"c{k}" for k in range(CASES)]  # c2 before c10


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("c2", {2, *range(20, 30)}),
        ("size_px<=120", {0, 1, 2}),
        ("size_px>120 size_px<150", {3, 4}),
        ("broken", {4}),
        ("size_px=100 rise", {0}),
        ("", set(range(CASES))),
    ],
)
def test_a_filter_is_words_and_conditions(cohort, asked, left):
    assert set(np.flatnonzero(frames(cohort)["maps"].matching(asked))) == left


def test_a_filter_by_no_column_is_refused(cohort):
    with pytest.raises(sx.UserError, match="'nothing' is no column of numbers"):
        frames(cohort)["maps"].matching("nothing<3")


def test_places_in_a_plot_and_what_lies_in_a_lasso():
    rows = [{"case": f"c{k}", "a": float(k), "b": 10.0**k} for k in range(4)] + [{"case": "x", "a": 1.0}]
    frame = Frame.of("maps", rows)
    found = places(frame, "a", "b", log_x=True, log_y=True)
    assert np.isnan(found[0]).all()  # 0 has no place on a logarithmic axis
    assert np.isnan(found[4]).all()
    np.testing.assert_allclose(found[3], [np.log10(3), 3])
    plain = places(frame, "a", "a")
    corners = [(0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)]
    assert np.flatnonzero(inside(plain, corners)).tolist() == [1, 2, 4]
    assert nearest_place(plain, (2.9, 3.0), (0.1, 0.1), 3) == 3
    assert nearest_place(plain, (2.5, 2.5), (0.1, 0.1), 3) is None


def test_some_cases_alone(cohort):
    some = only(cohort, ["c1", "c4"])
    assert [row["case"] for row in some.objects] == ["c1", "c4"]
    assert [row["error"] for row in some.maps] == ["", "broken"]
    assert some.missing == 0
    found = study(some, "averages")
    assert next(row for row in found.rows if row["number"] == "size_px")["mean"] == 125
    fewer = Cohort(cohort.folder, cohort.record, cohort.objects, cohort.maps[:1], 29)
    assert only(fewer, ["c0", "c1"]).missing == 1
    with pytest.raises(sx.UserError, match="has no case 'c99'"):
        only(cohort, ["c99"])


def test_some_cases_against_the_rest(cohort):
    cases = [f"c{k}" for k in range(10)]
    found = contrast(cohort, cases)
    first = found.rows[0]
    assert (first["number"], first["cliffs_delta"]) == ("size_px", -1)
    assert (first["median_these"], first["median_rest"]) == (145, 295)
    assert "size_px of object" in found.sentence
    dice = next(row for row in found.rows if row["number"] == "truth_dice")
    values = [row["truth_dice"] for row in cohort.objects]
    assert dice["p"] == pytest.approx(mannwhitneyu(values[:10], values[10:]).pvalue)
    assert all(row["p_holm"] >= row["p"] for row in found.rows)
    assert any("their p-values mean nothing" in one for one in found.caveats)
    assert "seconds" not in {row["number"] for row in found.rows}
    with pytest.raises(sx.UserError, match="no rest"):
        contrast(cohort, [f"c{k}" for k in range(CASES)])


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
