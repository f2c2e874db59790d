"""The map of cases: a planted linear dependence is told, shuffled numbers and size are not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers.concepts import planted_network
from PIL import Image as Picture

import napari_segxai as sx


@pytest.fixture(scope="module")
def model():
    return planted_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The brighter the ground, the less of the bright square is true; the square itself is always as large."""
    out, rng = tmp_path_factory.mktemp("haze"), np.random.default_rng(0)
    for k in range(24):
        columns = k % 8 + 1
        array = np.clip(rng.normal(10 + 12 * columns, 4, (32, 32)), 0, 130)
        truth = np.zeros((32, 32), np.uint8)
        y, x = rng.integers(0, 24, 2)
        array[y : y + 8, x : x + 8] = 230
        truth[y : y + 8, x : x + columns] = 1
        Picture.fromarray(array.astype(np.uint8)).save(out / f"c{k}.png")
        Picture.fromarray(truth).save(out / f"c{k}_mask.png")
    return out


@pytest.fixture(scope="module")
def found(model, folder):
    return sx.survey(model, folder, "bottleneck-map", layer="body")


def test_a_planted_dependence_is_told_and_nothing_else(found):
    told = found.record["results"]
    assert told["r2"] > 0.9
    assert told["r2_size"] <= 0
    assert told["r2_shuffled"] <= 0
    assert "tells how good its prediction is, more than size does" in found.sentence
    assert [row["case"] for row in found.table] == [f"c{k}" for k in range(24)]
    assert {row["iou"] for row in found.table} == {n / 8 for n in range(1, 9)}
    first = np.array([row["axis_1"] for row in found.table])
    iou = np.array([row["iou"] for row in found.table])
    assert abs(np.corrcoef(first, iou)[0, 1]) > 0.95
    points = found.charts[0]
    assert {one.name for one in points.series} == {
        f"IoU in the {where} third" for where in ("lowest", "middle", "highest")
    }
    assert sorted(case for one in points.series for case in one.cases) == sorted(
        row["case"] for row in found.table
    )


def test_one_seed_gives_one_result(found, model, folder):
    again = sx.survey(model, folder, "bottleneck-map", layer="body")
    assert (again.table, again.record["results"]) == (found.table, found.record["results"])


def test_where_the_truth_hangs_on_chance_the_place_tells_nothing(model, folder, tmp_path):
    rng = np.random.default_rng(1)
    for path in folder.glob("*.png"):
        if "mask" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
            mask = np.asarray(Picture.open(folder / f"{path.stem}_mask.png"))
            y, x = (int(one.min()) for one in np.nonzero(mask))
            truth = np.zeros_like(mask)
            truth[y : y + 8, x : x + int(rng.integers(1, 9))] = 1
            Picture.fromarray(truth).save(tmp_path / f"{path.stem}_mask.png")
    got = sx.survey(model, tmp_path, "bottleneck-map", layer="body")
    assert got.record["results"]["r2"] < 0.2
    assert got.sentence.startswith("The place of a case does not tell")


def test_few_cases_and_few_truths_are_said(model, folder, tmp_path):
    for k in range(6):
        (tmp_path / f"c{k}.png").write_bytes((folder / f"c{k}.png").read_bytes())
    got = sx.survey(model, tmp_path, "bottleneck-map", layer="body")
    assert got.record["results"].keys() == {"axes", "variance"}
    assert {row["iou"] for row in got.table} == {None}
    assert "needs 20 cases of different subjects with a truth, and there are 0" in " ".join(got.warnings)
    (tmp_path / "c5.png").unlink()
    (tmp_path / "c4.png").unlink()
    with pytest.raises(sx.UserError, match="bottleneck-map needs 5 cases of different subjects"):
        sx.survey(model, tmp_path, "bottleneck-map", layer="body")
    with pytest.raises(sx.UserError, match="no network layer 'bdoy'"):
        sx.plan_survey(model, folder, "bottleneck-map", layer="bdoy")


def test_what_is_not_installed_is_said_before_the_work(model, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        sx.UserError,
        match=r'bottleneck-map needs the package sklearn.*pip install "napari-segxai\[concepts\]"',
    ):
        sx.plan_survey(model, folder, "bottleneck-map", layer="body")
