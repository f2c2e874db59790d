"""Studies of a cohort, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cohorts import cohort
from scipy import stats

import napari_segxai as sx
from napari_segxai.analyses.cohort.study import interval


def row_of(found: sx.StudyResult, number: str) -> dict:
    (row,) = (row for row in found.rows if row["number"] == number)
    return row


def test_averages():
    values = np.random.default_rng(1).normal(0.8, 0.1, 40)
    maps = [
        {"case": f"c{k}", "dice_explained": v, "ratio_mask": 1 + k % 3, "object_cells": 10 * (k % 3 + 1), "seconds": k, "status": "full"}
        for k, v in enumerate(values)
    ]  # fmt: skip
    maps[0]["ratio_mask"] = None
    found = sx.study(cohort(maps), "averages")
    row = row_of(found, "dice_explained")
    assert row["mean"] == pytest.approx(values.mean())
    assert row["median"] == pytest.approx(np.median(values))
    assert (row["n"], row["undefined"], row["subjects"]) == (40, 0, 40)
    exact = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=0
    ).confidence_interval
    assert row["low"] == pytest.approx(exact.low, abs=0.005)
    assert row["high"] == pytest.approx(exact.high, abs=0.005)
    ratio = row_of(found, "ratio_mask")
    assert (ratio["n"], ratio["undefined"]) == (39, 1)
    known = [(m["ratio_mask"], m["object_cells"]) for m in maps[1:]]
    assert ratio["ratio_of_sums"] == pytest.approx(sum(r * s for r, s in known) / sum(s for _, s in known))
    assert {row["number"] for row in found.rows} == {"dice_explained", "ratio_mask", "object_cells"}
    assert found.sentence.startswith("The mean dice_explained of map misure of organ is 0.8")
    assert any("ratio_mask is missing for 1 of 40 objects" in caveat for caveat in found.caveats)
    assert sx.study(cohort(maps), "averages").rows == found.rows


def test_intervals_are_over_subjects():
    """Ten copies of each of eight subjects know no more than the eight."""
    values = np.random.default_rng(0).normal(0, 1, 8)
    one = interval(values.tolist(), [str(k) for k in range(8)], np.mean, np.random.default_rng(0))
    many = interval(np.repeat(values, 10).tolist(), [str(k) for k in range(8) for _ in range(10)], np.mean, np.random.default_rng(0))  # fmt: skip
    np.testing.assert_allclose(one, many, atol=1e-12)
    assert interval([1.0, 2.0], ["a", "a"], np.mean, np.random.default_rng(0)) is None


def test_what_fails_does_not_count():
    maps = [{"case": f"c{k}", "dice_explained": 0.5} for k in range(3)]
    maps.append({"case": "bad", "error": "no picture", "dice_explained": 99})
    found = sx.study(cohort(maps, missing=2), "averages")
    assert row_of(found, "dice_explained")["mean"] == 0.5
    said = " ".join(found.caveats)
    assert "1 of 4 cases failed" in said
    assert "2 jobs have not been done yet" in said
    assert "3 subjects are too few" in said
    one = sx.study(cohort(maps[:1], missing=1), "averages")
    assert one.sentence.endswith("is 0.5, over 1 object of 1 subject.")
    assert {"1 job has not been done yet.", "1 subject is too few for intervals to be relied on."} <= set(
        one.caveats
    )
    with pytest.raises(
        sx.UserError, match="holds no map: all that was tried failed, of bad because no picture"
    ):
        sx.study(cohort(maps[3:]), "averages")
    with pytest.raises(sx.UserError, match="holds no map yet"):
        sx.study(cohort([], missing=2), "averages")
    with pytest.raises(sx.UserError, match="study 'nothing'"):
        sx.study(cohort(maps), "nothing")
    assert {"averages", "size", "reliability"} <= {study["name"] for study in sx.list_studies()}


def test_a_number_that_no_object_has_is_named():
    maps = [{"case": f"c{k}", "masks": 5, "dice-explained": None} for k in range(3)]
    found = sx.study(cohort(maps), "averages")
    assert [row["number"] for row in found.rows] == ["masks"]
    assert any(
        "Not defined for any object: dice-explained of map misure of organ" in c for c in found.caveats
    )


def test_size():
    """A region of a fixed size beside every object: its ratio falls with the object's size, its own size does not."""
    random = np.random.default_rng(0)
    sizes = random.permutation(np.arange(100, 160))
    region = 500 + random.permutation(60)
    maps = [
        {"case": f"c{k}", "n_dilations": 3, "ratio_mask": region[k] / s, "ratio_sufficient": 2.0 * s}
        for k, s in enumerate(sizes)
    ]
    found = sx.study(
        cohort(maps, [{"case": f"c{k}", "size_px": int(s)} for k, s in enumerate(sizes)]), "size"
    )
    assert row_of(found, "n_dilations")["rank_correlation"] is None
    falling, own = row_of(found, "ratio_mask"), row_of(found, "ratio_mask x size")
    assert falling["rank_correlation"] == pytest.approx(stats.spearmanr(sizes, region / sizes)[0])
    assert falling["high"] < 0
    assert own["low"] < 0 < own["high"]
    assert row_of(found, "ratio_sufficient")["rank_correlation"] == pytest.approx(1)
    assert "ratio_sufficient of organ grows with the size of the object" in found.sentence
    assert any("denominator" in caveat for caveat in found.caveats)
    assert any("n_dilations is the same for all objects" in caveat for caveat in found.caveats)


def test_size_without_a_method_that_needs_anything():
    assert "run misure" in sx.study(cohort([{"case": "a", "map": "rise"}]), "size").sentence


def test_three_objects_say_nothing_of_size():
    maps = [{"case": f"c{k}", "n_dilations": k} for k in range(3)]
    found = sx.study(cohort(maps, [{"case": f"c{k}", "size_px": 10 + k} for k in range(3)]), "size")
    assert row_of(found, "n_dilations")["rank_correlation"] == pytest.approx(1)
    assert "as far as this cohort tells" in found.sentence


def test_charts_of_size_and_averages():
    maps = [
        {
            "case": f"c{k}",
            "label": label,
            "n_dilations": k,
            "ratio_mask": 1 / (1 + k),
            "dice-explained": k / 9,
        }
        for k in range(9)
        for label in ("liver", "spleen")
    ]
    objects = [{"case": f"c{k}", "label": label, "size_px": 10 + k} for k in range(9) for label in ("liver", "spleen")]  # fmt: skip
    dilations, ratio = sx.study(cohort(maps, objects), "size").charts
    assert (dilations.x, dilations.log_x, dilations.log_y) == ("Size of the object (pixels)", True, False)
    assert ratio.log_y
    assert [one.name for one in ratio.series] == ["liver", "spleen"]
    assert ratio.series[0].x == tuple(range(10, 19))
    assert ratio.series[0].cases == tuple(f"c{k}" for k in range(9))
    first = sx.study(cohort(maps, objects), "averages").charts[0]
    assert first.title == "Dice explained"
    assert "Higher is better" in first.caption
    (dots,) = first.series
    assert dots.x == ("map misure of liver", "map misure of spleen")
    assert dots.y == pytest.approx([4 / 9] * 2)
    assert dots.low[0] < dots.y[0] < dots.high[0]


def test_columns_are_described():
    from napari_segxai.analyses.cohort.tables.columns import describe

    assert describe("volume_mm3").axis == "Volume (mm³)"
    assert describe("dice-explained:binarize=0.05").title == "Dice explained, binarize 0.05"
    assert describe("saliency-ratio").better == "lower"
    assert describe("own_number").axis == "Own number"


def test_a_study_of_the_users_own_with_parameters():
    from dataclasses import dataclass

    from napari_segxai.analyses.cohort.study import _known, register_study
    from napari_segxai.core.options import option

    @dataclass(frozen=True)
    class Options:
        least: float = option(0.5, ge=0, le=1, help="least Dice")

    @register_study("own", title="Own", summary="counts", source="me", options=Options)
    def own(cohort, random, options):
        many = sum(row["dice"] >= options.least for row in cohort.maps)
        return sx.StudyResult("own", [{"many": many}], f"{many} are good.", ())

    try:
        table = cohort([{"case": "a", "dice": 0.4}, {"case": "b", "dice": 0.9}])
        assert sx.study(table, "own").rows == [{"many": 1}]
        assert sx.study(table, "own", least="0.3").rows == [{"many": 2}]
        (told,) = (one for one in sx.list_studies() if one["name"] == "own")
        assert told["parameters"][0]["bounds"] == "0 or more and 1 or less"
        with pytest.raises(sx.UserError, match="own: least is 2; it has to be 0 or more and 1 or less"):
            sx.study(table, "own", least=2)
        with pytest.raises(sx.UserError, match="own has no parameter 'lest'; did you mean 'least'"):
            sx.study(table, "own", lest=2)
        with pytest.raises(sx.UserError, match="averages has no parameter 'least'; it has none"):
            sx.study(table, "averages", least=2)
    finally:
        _known._things.pop("own")
