"""Studies of cohorts in which something is missing everywhere."""

from __future__ import annotations

import pytest
from helpers.cohorts import cohort

import napari_segxai as sx


def measured(case: str, name: str, label: str, dice: float | None, **more) -> dict:
    return {"case": case, "map": name, "label": label, "dice-explained": dice, "empty": dice is None, **more}


def test_a_label_that_is_drawn_nowhere_leaves_the_benchmark_of_the_others():
    maps = [
        measured(f"c{k}", name, label, dice if label == "organ" else None)
        for k in range(3)
        for name, dice in (("a", 0.5 + k / 10), ("b", 0.4))
        for label in ("core", "organ")
    ]
    sizes = [
        {"case": f"c{k}", "label": label, "size_px": 9 * (label == "organ")}
        for k in range(3)
        for label in ("core", "organ")
    ]
    found = sx.study(cohort(maps, sizes), "benchmark")
    assert found.sentence.startswith(
        "Of organ, a has the best mean rank in dice-explained: 1.00 of 2 over 3 subjects"
    )
    assert [chart.title for chart in found.charts] == ["Dice explained, organ"]
    assert (
        "core is not drawn in 3 cases, where nothing could be explained: they do not count." in found.caveats
    )
    assert {row["objects"] for row in found.rows if row["label"] == "core"} == {0}


def test_objects_that_are_not_drawn_have_no_rank():
    maps = [
        measured(f"c{k}", name, "organ", dice) for k in range(2) for name, dice in (("a", 0.9), ("b", 0.4))
    ]
    # What compares a map with the truth has a number without an object too.
    maps += [measured(f"d{k}", name, "organ", None, **{"f1-mask": 0.0}) for k in range(6) for name in "ab"]
    sizes = [{"case": row["case"], "size_px": 9 * (row["case"] < "d")} for row in maps if row["map"] == "a"]
    found = sx.study(cohort(maps, sizes), "benchmark")
    assert [row["mean_rank"] for row in found.tables["numbers"]] == [1, 2]
    assert {row["metric"] for row in found.tables["numbers"]} == {"dice-explained"}
    assert [(row["objects"], row["empty"]) for row in found.rows] == [(2, 0), (2, 0)]
    assert (
        "organ is not drawn in 6 cases, where nothing could be explained: they do not count." in found.caveats
    )
    assert not any("Empty maps" in said for said in found.caveats)


def test_maps_that_no_subject_has_together_have_no_ranks():
    maps = [measured("c0", "a", "organ", 0.9), measured("c1", "b", "organ", 0.4)]
    maps += [
        {**row, "map": other, "dice-explained": None, "empty": False}
        for row, other in zip(maps, "ba", strict=True)
    ]
    found = sx.study(cohort(maps), "benchmark")
    assert found.sentence.endswith("is 0.9; no subject has all maps, so that they have no ranks.")


@pytest.mark.parametrize(
    "name", ["ability", "benchmark", "channels", "context", "flow-average", "leans-on", "reliability"]
)
def test_that_nothing_is_drawn_is_said(name):
    maps = [{"case": f"c{k}", "empty": True, "evidence_outside": None} for k in range(3)]
    nothing = cohort(maps, [{"case": f"c{k}", "size_px": 0, "truth_dice": 0.0} for k in range(3)])
    with pytest.raises(sx.UserError, match=r"; note that no label is drawn in any case\.$"):
        sx.study(nothing, name)
    some = cohort(maps, [{"case": f"c{k}", "size_px": 9 * k} for k in range(3)])
    with pytest.raises(sx.UserError) as told:
        sx.study(some, name)
    assert "no label is drawn" not in str(told.value)


def test_size_says_why_there_is_nothing_to_go_by():
    maps = [{"case": f"c{k}", "n_dilations": k} for k in range(3)]
    undrawn = sx.study(cohort(maps, [{"case": f"c{k}", "size_px": 0} for k in range(3)]), "size")
    assert undrawn.sentence == "No label is drawn in any case, so that there is no size to go by."
    failed = sx.study(cohort(maps, [{"case": f"c{k}", "error": "no truth"} for k in range(3)]), "size")
    assert (
        failed.sentence == "The objects of this cohort were not measured, so that there is no size to go by."
    )
    assert "3 of 3 cases failed and do not count." in failed.caveats
