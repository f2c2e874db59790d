"""Benchmark, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cohorts import cohort
from scipy import stats

import napari_segxai as sx

LEVELS = ("", ":binarize=0.05")


def table(values: dict[str, np.ndarray], per_subject: int = 1, **more: np.ndarray) -> list[dict]:
    """Return a row per case and map; values are the Dice explained at the usual threshold."""
    return [
        {"case": f"c{k}", "subject": f"s{k // per_subject}", "map": name, "dice-explained": None if np.isnan(v) else v, "saliency-ratio": 2.0,
         "empty": bool(np.isnan(v)), "seconds": 1.0} | {key: some[k] for key, some in more.items()}
        for name, own in values.items()
        for k, v in enumerate(own)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def dice() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.9, 30)
    return {"a": base, "b": base + 0.05 + random.normal(0, 0.005, 30), "c": base + random.normal(0, 0.02, 30)}


def test_ranks_and_tests_are_those_of_scipy(dice):
    found = sx.study(cohort(table(dice)), "benchmark")
    numbers = {row["variant"]: row for row in found.tables["numbers"] if row["metric"] == "dice-explained"}
    expected = stats.rankdata(-np.column_stack(list(dice.values())), axis=1).mean(0)
    assert [numbers[name]["mean_rank"] for name in "abc"] == pytest.approx(expected)
    assert numbers["a"]["friedman_p"] == pytest.approx(stats.friedmanchisquare(*dice.values()).pvalue)
    pairs = {
        (row["first"], row["second"]): row
        for row in found.tables["differences"]
        if row["metric"] == "dice-explained"
    }
    plain = [stats.wilcoxon(dice[one] - dice[other]).pvalue for one, other in pairs]
    assert [row["wilcoxon_p"] for row in pairs.values()] == pytest.approx(plain)
    order = np.sort(plain)
    assert sorted(row["holm_p"] for row in pairs.values()) == pytest.approx(
        np.minimum(np.maximum.accumulate(order * [3, 2, 1]), 1)
    )
    assert pairs["a", "b"]["difference"] == pytest.approx((dice["a"] - dice["b"]).mean())
    assert pairs["a", "b"]["high"] < 0
    assert pairs["a", "c"]["low"] < 0 < pairs["a", "c"]["high"]
    assert found.sentence.startswith("Of organ, b has the best mean rank in dice-explained: 1.0")
    assert "the best of the other maps, is" in found.sentence
    assert "while it keeps 2 pixels per pixel" in found.sentence
    (row,) = (row for row in found.rows if row["map"] == "b")
    assert row["dice-explained"] == pytest.approx(dice["b"].mean())
    assert (row["objects"], row["empty"], row["seconds"]) == (30, 0, 1.0)
    assert "saliency-ratio" in row


def test_thresholds_and_own_regions_are_rows(dice):
    low = {"dice-explained:binarize=0.05": dice["c"], "dice_explained": dice["b"], "ratio_mask": dice["b"]}
    found = sx.study(cohort(table({"a": dice["a"]}, **low)), "benchmark")
    assert [(row["map"], row["at"]) for row in found.rows] == [
        ("a", ""),
        ("a", "binarize=0.05"),
        ("a", "own region"),
    ]
    assert [row["dice-explained"] for row in found.rows] == pytest.approx(
        [dice[name].mean() for name in "acb"]
    )
    assert [one.x[0] for one in found.charts[1].series] == pytest.approx([2, dice["b"].mean()])


def test_empty_maps_are_counted_and_come_last(dice):
    own = {name: values.copy() for name, values in dice.items()}
    own["b"][:20] = np.nan
    found = sx.study(cohort(table(own)), "benchmark")
    rows = {row["map"]: row for row in found.rows}
    assert rows["b"]["empty"] == 20
    assert rows["b"]["dice-explained"] == pytest.approx(own["b"][20:].mean())
    assert rows["b"]["dice-explained rank"] > 2.2
    assert "Empty maps (20 of b) have no number" in " ".join(found.caveats)
    own["b"][:] = np.nan
    rows = {row["map"]: row for row in sx.study(cohort(table(own)), "benchmark").rows}
    assert (rows["b"]["empty"], rows["b"]["dice-explained"], rows["b"]["dice-explained rank"]) == (
        30,
        None,
        3,
    )


def test_subjects_are_blocks(dice):
    """Ten copies of every case know no more than three subjects, which are too few for a test."""
    copies = {name: np.repeat(values[:3], 10) for name, values in dice.items()}
    found = sx.study(cohort(table(copies, per_subject=10)), "benchmark")
    assert {row["blocks"] for row in found.tables["numbers"]} == {3}
    assert {row["wilcoxon_p"] for row in found.tables["differences"]} == {None}
    assert {row["friedman_p"] for row in found.tables["numbers"]} == {None}


def test_random_maps_stand_beside(dice):
    chance = {"dice-explained chance": dice["a"] + 0.1, "dice-explained above chance": np.zeros(30, bool)}
    found = sx.study(cohort(table({"a": dice["a"]}, **chance) + table({"b": dice["b"]})), "benchmark")
    row = found.rows[0]
    assert row["dice-explained chance"] == pytest.approx(dice["a"].mean() + 0.1)
    assert row["dice-explained above chance"] == 0
    assert "No better than random maps of equal area for most objects: a of organ." in found.caveats
    assert [one.name for one in found.charts[0].series] == ["maps", "random maps of equal area"]
    without = sx.study(cohort(table({"b": dice["b"]})), "benchmark")
    assert any("No random maps of equal area stand beside" in caveat for caveat in without.caveats)
    assert "no other map to compare it with" in without.sentence


def test_equal_maps_have_no_difference(dice):
    found = sx.study(cohort(table(dict.fromkeys("abc", dice["a"]))), "benchmark")
    assert {row["mean_rank"] for row in found.tables["numbers"]} == {2}
    assert {row["wilcoxon_p"] for row in found.tables["differences"]} == {1}
    assert "which may be none" in found.sentence


def test_without_metrics():
    with pytest.raises(sx.UserError, match="the tables hold no metric; run the cohort with --metrics"):
        sx.study(cohort([{"case": "a", "n_dilations": 3}]), "benchmark")
