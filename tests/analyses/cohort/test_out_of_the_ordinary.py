"""Out of the ordinary, on tables whose odd ones are planted."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cohorts import cohort
from scipy.stats import median_abs_deviation
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

import napari_segxai as sx
from napari_segxai.analyses.cohort.studies import benchmark
from napari_segxai.analyses.cohort.studies import out_of_the_ordinary as own
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core import registry


def table(n: int = 60, bad: int = 12, by: str = "ratio_image", per_subject: int = 1) -> sx.Cohort:
    """Return a cohort of ordinary numbers; the first `bad` cases are bad and differ in one of them."""
    random = np.random.default_rng(1)
    who = [{"case": f"c{k}", "subject": f"s{k // per_subject}"} for k in range(n)]
    objects = [
        {**who[k], "size_px": int(random.normal(500, 30)), "confidence": random.uniform(0.8, 1), "touches_border": False,
         "truth_dice": 0.5 if k < bad else 0.95}
        for k in range(n)
    ]  # fmt: skip
    maps = [
        {**who[k], "n_dilations": 3, "ratio_image": random.normal(1, 0.1), "dice_explained": random.normal(0.9, 0.02), "seconds": k, "f1-mask": k}
        for k in range(n)
    ]  # fmt: skip
    for k in range(bad):
        (maps if by == "ratio_image" else objects)[k][by] += {"ratio_image": 1.0, "confidence": -0.6}[by]
    return cohort(maps, objects)


def test_the_planted_ones_come_first_and_say_why():
    found = sx.study(table(bad=6), "out-of-the-ordinary")
    assert {row["case"] for row in found.rows[:6]} == {f"c{k}" for k in range(6)}
    for row in found.rows[:6]:
        assert row["odd_1"] == "organ, misure: ratio_image"
        assert row["z_1"] > own.FAR
        assert row["far_out"] >= 1
    assert [row["oddness"] for row in found.rows] == sorted(
        (row["oddness"] for row in found.rows), reverse=True
    )
    assert 0.7 < np.median([row["oddness"] for row in found.rows[6:]]) < 1.3
    by = {row["score"]: row for row in found.tables["detection"]}
    assert by["oddness"]["auc"] == 1
    assert by["low confidence"]["difference_low"] > 0
    assert "oddness finds bad predictions better than" in found.sentence
    named = {row[f"odd_{k}"] for row in found.rows for k in (1, 2, 3)}
    assert not any(
        "f1-mask" in name or "truth" in name or "seconds" in name or "n_dilations" in name for name in named
    )
    (points,) = found.charts[0].series
    assert points.cases[0] == found.rows[0]["case"]


def test_columns_that_are_no_metric_are_not_looked_for_among_similar_names(monkeypatch):
    """Which took a third of a report's time."""
    monkeypatch.setattr(registry, "nearest", lambda *_: pytest.fail("a name was looked for"))
    held = table(bad=6)
    assert any("ratio_image" in name for name in own.columns_of(held))
    assert benchmark.variants_of(held)
    assert describe("something", "maps").title == "Something"


def test_one_number_in_two_units_counts_once():
    held = table(bad=6)
    for row in held.objects:
        row["area_mm2"] = 0.25 * row["size_px"]
    for row in held.maps:
        row["ratio_mask"] = 2 - row["ratio_image"]
    found, plain = sx.study(held, "out-of-the-ordinary"), sx.study(table(bad=6), "out-of-the-ordinary")
    assert found.rows == plain.rows


def test_size_counts_in_the_way_that_tells_more():
    held = table()
    for k, row in enumerate(held.objects):
        row["size_px"] += 400 * (k < 12)
    found = sx.study(held, "out-of-the-ordinary")
    (row,) = (row for row in found.tables["detection"] if "size" in row["score"])
    assert (row["score"], row["auc"]) == ("large size", 1)


def test_where_confidence_tells_as_much():
    found = sx.study(table(by="confidence"), "out-of-the-ordinary")
    by = {row["score"]: row for row in found.tables["detection"]}
    assert by["low confidence"]["auc"] == 1
    assert "better" not in found.sentence


def test_the_same_as_the_definitions():
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 5)) @ random.normal(size=(5, 5))
    subjects = [f"s{k}" for k in range(40)]
    parts = own._parts(subjects, np.random.default_rng(3))
    z, distance = own._compared(x, parts, np.ones(40, bool))
    part = np.random.default_rng(3).permutation(40)[np.unique(subjects, return_inverse=True)[1]] % own.PARTS
    for k in range(40):
        others = x[part != part[k]]
        middle, spread = np.median(others, 0), median_abs_deviation(others, scale="normal", axis=0)
        np.testing.assert_allclose(z[k], (x[k] - middle) / spread, rtol=1e-3)
        fitted = LedoitWolf().fit(((others - middle) / spread).clip(-3.5, 3.5))
        expected = fitted.mahalanobis(((x[k] - middle) / spread).clip(-10, 10)[None])[0]
        assert distance[k] == pytest.approx(np.sqrt(expected / 5), rel=1e-3)


def test_areas_are_those_of_scikit_learn():
    held = table()
    for k, row in enumerate(held.objects):  # what is bad has nothing to do with what is odd
        row["truth_dice"] = 0.5 if k % 3 == 0 else 0.95
    found = sx.study(held, "out-of-the-ordinary")
    is_bad = [row["truth_dice"] < 0.9 for row in found.rows]
    odd = found.tables["detection"][0]
    assert odd["auc"] == pytest.approx(roc_auc_score(is_bad, [row["oddness"] for row in found.rows]))
    assert odd["low"] < 0.5 < odd["high"]


def test_what_is_nearly_constant_is_told_from_what_is():
    middle, spread = own._robust(np.array([[1.0, 2.0, 5.0]] * 9 + [[3.0, 2.0, np.nan]]))
    assert middle.tolist() == [1, 2, 5]
    assert spread.tolist() == pytest.approx([1.2533 * 0.2, 2, 5])
    held = table()
    held.maps[20]["n_dilations"] = 7  # the only one that differs
    first = sx.study(held, "out-of-the-ordinary").rows
    (row,) = (row for row in first if row["case"] == "c20")
    assert "organ, misure: n_dilations" in {row["odd_1"], row["odd_2"], row["odd_3"]}


def test_the_only_one_that_is_not_zero_is_odd_by_a_number_that_people_can_read():
    held = table()
    for k, row in enumerate(held.maps):
        row["evidence_outside"] = 0.09 * (k == 20)
    first = sx.study(held, "out-of-the-ordinary").rows
    (row,) = (row for row in first if row["case"] == "c20")
    assert row["odd_1"] == "organ, misure: evidence_outside"
    assert row["z_1"] == pytest.approx(len(first) / 1.2533)


def test_compared_with_the_good_ones_alone():
    """Where most cases are bad, they are what is ordinary, unless the good ones say what is."""
    held = table(bad=40)
    among_all, among_good = (
        {
            row["score"]: row["auc"]
            for row in sx.study(held, "out-of-the-ordinary", reference=of).tables["detection"]
        }
        for of in ("all", "good")
    )
    assert among_good["oddness"] > 0.99 > among_all["oddness"]


def test_too_few_and_nothing_that_differs():
    with pytest.raises(sx.UserError, match="there are 10 cases; more than 10 are needed"):
        sx.study(table(10, 2), "out-of-the-ordinary")
    with pytest.raises(sx.UserError, match="there are 4 good cases"):
        sx.study(table(20, 16), "out-of-the-ordinary", reference="good")
    maps = [{"case": f"c{k}", "n_dilations": 3} for k in range(20)]
    with pytest.raises(sx.UserError, match="no number differs"):
        sx.study(cohort(maps), "out-of-the-ordinary")


def test_without_truths():
    held = table()
    for row in held.objects:
        del row["truth_dice"]
    found = sx.study(held, "out-of-the-ordinary")
    assert "no truths tell" in found.sentence
    assert not found.tables
    assert found.charts[0].x == "Case, the oddest first"


def test_numbers_of_layers_count_too():
    held = table()
    random = np.random.default_rng(0)
    for k in range(60):
        about = {"case": f"c{k}", "group": "", "subject": f"s{k}", "label": "organ", "error": ""}
        held.flow.append(
            {**about, "layer": "bottleneck", "order": k, "dice": random.normal(0.5, 0.01) + (k == 30)}
        )
    rows = sx.study(held, "out-of-the-ordinary").rows
    (row,) = (row for row in rows if row["case"] == "c30")
    assert row["odd_1"] == "organ, bottleneck: dice"
