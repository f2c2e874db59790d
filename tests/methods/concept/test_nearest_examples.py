"""Examples: a duplicate is the nearest, an odd object the first criticism, and prototypes stand for all better than chance."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from helpers.concepts import planted_network
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.metrics.functional.shapes import parts_of, shape_of
from napari_segxai.metrics.functional.statistics.prototypes import (
    criticisms,
    discrepancy,
    kernel_of,
    prototypes,
)

ASKED = {"method": "nearest-examples", "layers": "body", "prototypes": 2, "criticisms": 1, "k": 2}


def draw(path, y, x, height, width, value, ground=40, truth=None):
    array = np.full((32, 32), ground, np.uint8)
    array[y : y + height, x : x + width] = value
    Picture.fromarray(array).save(path)
    mask = np.zeros_like(array)
    mask[y : y + height, x : x + (width if truth is None else truth)] = 1
    Picture.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small squares and large ones, a copy of one under another name, and a long bright bar."""
    out, rng = tmp_path_factory.mktemp("examples"), np.random.default_rng(0)
    for k in range(12):
        side = (6, 12)[k % 2] + int(rng.integers(0, 2))
        y, x = rng.integers(0, 32 - side, 2)
        draw(out / f"c{k:02}.png", y, x, side, side, 180 + int(rng.integers(0, 20)), truth=side - k // 4)
    (out / "copy.png").write_bytes((out / "c03.png").read_bytes())
    (out / "copy_mask.png").write_bytes((out / "c03_mask.png").read_bytes())
    draw(out / "odd.png", 3, 2, 3, 28, 255, truth=4)
    return out


@pytest.fixture(scope="module")
def model():
    return planted_network()


@pytest.fixture(scope="module")
def found(model, folder):
    return sx.survey(model, folder, of="c03", **ASKED)


def test_a_duplicate_is_the_nearest_and_an_odd_object_the_first_criticism(found):
    rows = {row["case"]: row for row in found.table}
    assert (rows["c03"]["nearest"], rows["c03"]["nearest_distance"]) == ("copy", 0)
    assert rows["copy"]["nearest"] == "c03"
    assert rows["odd"]["role"] == "criticism 1"
    assert rows["odd"]["elongation"] == pytest.approx(28 / 3)
    assert rows["c00"]["elongation"] == pytest.approx(1)
    assert {row["farthest"] for case, row in rows.items() if case != "odd"} == {"odd"}
    standing = [row for row in found.table if row["role"].startswith("prototype")]
    assert len({row["size"] > 80 for row in standing}) == 2  # one of the small, one of the large
    assert {row["prototype_distance"] for row in standing} == {0}
    told = found.record["results"]
    assert told["discrepancy"] < told["by_chance"]
    assert told["farthest_distance"] > told["shuffled_distance"]
    assert "unlike them is odd" in found.sentence
    neighbours = found.tables["neighbours"]
    assert [(row["of"], row["which"], row["rank"]) for row in neighbours] == [
        ("c03", which, rank) for which in ("nearest", "farthest") for rank in (1, 2)
    ]
    assert [row["case"] for row in neighbours[::2]] == ["copy", "odd"]
    for row in neighbours:
        assert row["distance"] ** 2 == pytest.approx(
            sum(row[name] for name in ("features", "size", "shape", "intensity"))
        )


def test_what_was_chosen_is_shown(found, folder):
    names = {(one.case, one.name) for one in found.maps}
    assert {
        ("c03", "asked about"),
        ("copy", "nearest 1"),
        ("odd", "farthest 1"),
        ("odd", "criticism 1"),
    } <= names
    one = next(one for one in found.maps if one.name == "criticism 1")
    np.testing.assert_array_equal(one.array() > 0.5, np.asarray(Picture.open(folder / "odd.png")) == 255)
    rows = found.galleries[0].rows()
    assert {name: [one.case for one in pictures] for name, pictures in rows.items()} == {
        "asked about": ["c03"],
        "nearest": [row["case"] for row in found.tables["neighbours"][:2]],
        "farthest": [row["case"] for row in found.tables["neighbours"][2:]],
        "prototype": [
            case for case, name in sorted(names, key=lambda one: one[1]) if name.startswith("prototype")
        ],
        "criticism": ["odd"],
    }
    assert rows["nearest"][0].text == "copy: 0.00"
    odd = rows["criticism"][0]
    assert (odd.values >= 1).sum() == 3 * 28  # all of the bar is in sight
    points = found.charts[0]
    assert {series.name: len(series.x) for series in points.series} == {
        "object": 11,
        "prototype": 2,
        "criticism": 1,
    }
    assert sorted(case for one in points.series for case in one.cases) == sorted(
        row["case"] for row in found.table
    )


def test_the_weights_decide_what_counts(model, folder):
    alone = {"features": 0.0, "size": 1.0, "shape": 0.0, "intensity": 0.0}
    got = sx.survey(model, folder, **{**ASKED, **alone})
    assert got.record["results"]["same_by_size"] == 1
    rows = {row["case"]: row for row in got.table}
    for row in rows.values():
        own = sorted(
            abs(np.log(row["size"] / other["size"])) for case, other in rows.items() if case != row["case"]
        )
        near = rows[row["nearest"]]
        assert abs(np.log(row["size"] / near["size"])) == pytest.approx(own[0])
    with pytest.raises(
        sx.UserError, match="every weight is 0; give one of features, size, shape and intensity"
    ):
        sx.plan_survey(model, folder, **{**ASKED, **dict.fromkeys(alone, 0.0)})


def test_quality_is_told_beside_size(found):
    told = found.record["results"]
    assert {row["truth_dice"] is None for row in found.table} == {False}
    assert -1 <= told["quality_by_size"] <= 1
    assert -1 <= told["quality_correlation"] <= 1


def test_one_seed_gives_one_result_with_the_passes_that_were_planned(found, model, folder):
    again = sx.survey(model, folder, of="c03", **ASKED)
    assert (again.table, dict(again.tables), again.sentence) == (
        found.table,
        dict(found.tables),
        found.sentence,
    )
    planned = sx.plan_survey(model, folder, of="c03", **ASKED).passes
    assert planned.forward >= found.record["passes"]["forward"] > 14


def test_objects_of_one_case_are_told_apart(model, tmp_path):
    """Two in each image; the nearest is of another subject, though its own neighbour is the same."""
    for k in range(5):
        array = np.full((32, 32), 30 + k, np.uint8)
        array[2:8, 2:8] = array[20:26, 20:26] = 200 + k
        Picture.fromarray(array).save(tmp_path / f"c{k}.png")
    got = sx.survey(model, tmp_path, **ASKED)
    assert sorted((row["case"], row["object"]) for row in got.table) == [
        (f"c{k}", n) for k in range(5) for n in (1, 2)
    ]
    assert [row["role"] for row in got.table] == ["prototype 1", "prototype 2", "criticism 1", *7 * [""]]
    assert all(row["nearest"].split(" #")[0] != row["case"] for row in got.table)
    assert all(" #" in row["nearest"] for row in got.table)
    assert {row["truth_dice"] for row in got.table} == {None}
    assert got.record["results"]["quality_correlation"] is None


def test_no_object_and_too_few_cases_have_words(model, folder, tmp_path):
    for k in range(5):
        Picture.fromarray(np.full((32, 32), 10 + k, np.uint8)).save(tmp_path / f"c{k}.png")
    got = sx.survey(model, tmp_path, **ASKED)
    assert (got.table, got.charts, got.maps) == ([], (), ())
    assert "Of object none is drawn in these cases" in got.sentence
    (tmp_path / "c4.png").unlink()
    with pytest.raises(
        sx.UserError, match=r"nearest-examples needs 5 cases of different subjects, and .* holds 4"
    ):
        sx.survey(model, tmp_path, **ASKED)
    with pytest.raises(sx.UserError, match="there is no case 'c3'; did you mean"):
        sx.survey(model, folder, of="c3", **ASKED)


def test_prototypes_of_what_is_known():
    """Two groups of points and one apart: a prototype each, and the lone one is criticised."""
    places = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 30.0])
    distances = np.abs(np.subtract.outer(places, places))
    kernel = kernel_of(distances)
    chosen = prototypes(kernel, 2)
    assert sorted(places[chosen] > 2) == [False, True]
    assert criticisms(distances, chosen, 1) == [6]
    everything = list(range(7))
    assert discrepancy(kernel, everything) == pytest.approx(0, abs=1e-12)
    assert discrepancy(kernel, chosen) < min(discrepancy(kernel, [0, 1]), discrepancy(kernel, [3, 4]))
    assert prototypes(np.ones((3, 3)), 5) == [0, 1, 2]


def test_shapes_of_what_is_known():
    mask = np.zeros((20, 30), bool)
    mask[2:6, 3:27] = True
    mask[12:14, 4:6] = True
    large, small = parts_of(mask)
    assert (large.sum(), small.sum()) == (96, 4)
    assert len(parts_of(mask, least=5)) == len(parts_of(mask, most=1)) == 1
    found = shape_of(large, (1.0, 1.0))
    assert (found.size, found.elongation) == (96, pytest.approx(6))
    assert found.center == pytest.approx((0.2, 0.5))
    assert shape_of(large, (6.0, 1.0)).elongation == pytest.approx(1)
    assert shape_of(small[:, :], (1.0, 1.0)).elongation == pytest.approx(1)


def test_the_slice_of_a_volume_is_looked_for_once(model, tmp_path):
    """However often a case is looked at: of 5 slices each, and 2 passes, no more than was announced."""
    for k in range(5):
        array = np.full((16, 16, 5), 20.0, np.float32)
        array[4:9, 4:9, k] = 200 + k
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"v{k}.nii.gz")
    got = sx.survey(model, tmp_path, **ASKED)
    planned = sx.plan_survey(model, tmp_path, **ASKED).passes
    assert got.record["passes"] == planned.as_dict() == {"forward": 5 * 5 + 2 * 5, "backward": 0}
    assert sorted(case["slice"] for case in got.record["cases"]) == [0, 1, 2, 3, 4]
