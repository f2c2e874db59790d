"""Contrasts, bands and errors asked of every case of a cohort."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.cli.app import app


class Levels(nn.Module):
    """A label where the image is bright, another where it is brighter: (N, 1, *grid) -> (N, 3, *grid)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([0.5 - x, 2 * x - 0.9, 3 * x - 2.5], 1)


@pytest.fixture
def model() -> sx.SegmentationModel:
    return sx.SegmentationModel(
        Levels(), {"name": "levels", "labels": ["background", "A", "B"], "spatial_dims": 2}
    )


@pytest.fixture
def folder(tmp_path):
    """Two cases: one with two false positives of 36 and 12 pixels, one without errors."""
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
    array, truth = np.zeros((40, 48), np.float32), np.zeros((40, 48), np.uint8)
    array[4:12, 4:12] = 0.7
    truth[4:12, 4:12] = 1
    wrong = array.copy()
    wrong[20:26, 30:36] = wrong[33:36, 4:8] = 0.7
    for case, values in (("a", wrong), ("b", array)):
        tifffile.imwrite(tmp_path / "data" / "images" / f"{case}.tif", values)
        tifffile.imwrite(tmp_path / "data" / "labels" / f"{case}.tif", truth)
    return tmp_path / "data"


def test_every_component_is_a_map_and_a_row(model, folder, tmp_path):
    asked = {"error": "false-positive", "components": 2, "boundary": (-1, 1), "against": "B"}
    found = sx.run_cohort(
        model,
        folder,
        ["A"],
        ["vanilla-gradient"],
        out=tmp_path / "out",
        target=asked,
        device="cpu",
        metrics=["energy-pointing-game-mask"],
    )
    assert not found.failed
    rows = {(row["case"], row["component"]): row for row in found.maps}
    assert {key: row["component_pixels"] for key, row in rows.items()} == {
        ("a", 1): 36, ("a", 2): 12, ("b", 1): None, ("b", 2): None,
    }  # fmt: skip
    assert rows["a", 2]["map"] == "vanilla-gradient of false-positive 2"
    assert rows["a", 2]["error_kind"] == "false-positive"
    assert rows["b", 1]["warnings"] == "A has 0 false-positive component(s) here."
    kept = found.explanation("a", "A", "vanilla-gradient of false-positive 2")
    image = sx.read_image(folder / "images" / "a.tif")
    truth = sx.read_image(folder / "labels" / "a.tif")
    target = sx.Target("A", error="false-positive", component=2, truth=truth, boundary=(-1, 1), against="B")
    alone = sx.explain(model, image, target, "vanilla-gradient", device="cpu")
    np.testing.assert_array_equal(kept.map, alone.map)
    assert kept.target.as_dict() == alone.target.as_dict()
    with pytest.raises(sx.UserError, match="was not made: A has 0 false-positive"):
        found.explanation("b", "A", "vanilla-gradient of false-positive 1")
    assert sx.read_cohort(tmp_path / "out").record["target"] == {
        "against": "B", "boundary": [-1.0, 1.0], "error": "false-positive", "components": 2,
    }  # fmt: skip
    again = sx.run_cohort(
        model, folder, ["A"], ["vanilla-gradient"], out=tmp_path / "out", device="cpu",
        target={"error": "false-positive", "least": 20},
    )  # fmt: skip
    assert [(row["case"], row["component_pixels"]) for row in again.maps] == [("a", 36), ("b", None)]


def test_a_plan_of_another_process_is_the_same(model, folder):
    cases = sx.find_cases(folder)
    plan = CohortPlan.make(
        model,
        cases,
        None,
        ["occlusion"],
        target={"against": "B", "boundary": [-2, 2]},
        device="cpu",
        flow=False,
    )
    assert plan.labels == ("A",)
    other = CohortPlan.make(model, cases, **plan.question, device="cpu")
    assert [job.asked for job in other.jobs] == [job.asked for job in plan.jobs]
    assert (
        plan.jobs[1].asked != CohortPlan.make(model, cases, ["A"], ["occlusion"], device="cpu").jobs[1].asked
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ({"eror": "false-positive"}, "unknown key 'eror'; did you mean 'error'"),
        ({"error": "wrong"}, "error 'wrong' is unknown"),
        ({"components": 2}, "components and least are for an error"),
        ({"error": "false-positive", "components": 0}, "components"),
        ({"against": "C"}, "has no label 'C'"),
        ({"against": "A"}, "'A' is asked about against itself"),
        ({"boundary": (2, 1)}, "is no band"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(target, sentence, model, folder):
    with pytest.raises(sx.UserError, match=sentence):
        CohortPlan.make(model, sx.find_cases(folder), ["A"], ["occlusion"], target=target, device="cpu")


def test_a_flow_of_errors_is_refused_rather_than_made_of_the_labels(model, folder):
    asked = {"flow": True, "target": {"error": "false-positive"}}
    with pytest.raises(sx.UserError, match="the information flow of a cohort is about the labels"):
        CohortPlan.make(model, sx.find_cases(folder), ["A"], ["occlusion"], device="cpu", **asked)


def test_methods_and_truths_are_looked_at_before_the_work(model, folder):
    cases = sx.find_cases(folder)
    with pytest.raises(sx.UserError, match="misure does not read the score of 'A'"):
        CohortPlan.make(model, cases, ["A"], ["misure"], target={"against": "B"}, device="cpu")
    with pytest.raises(sx.UserError, match="no case has a truth"):
        CohortPlan.make(
            model,
            sx.find_cases(folder / "images"),
            ["A"],
            ["misure"],
            target={"error": "false-negative"},
            device="cpu",
        )


def test_the_command_asks_the_same(tmp_path):
    out, source = tmp_path / "out", tmp_path / "data"
    for name in ("images", "labels"):
        (source / name).mkdir(parents=True)
    sample = sx.read_image("sample_data/images/triangle_1.png")
    tifffile.imwrite(source / "images" / "a.tif", sample.array)
    tifffile.imwrite(source / "labels" / "a.tif", np.zeros(sample.spatial_shape, np.uint8))
    line = f"cohort run {source} --model triangle --label triangle --methods vanilla-gradient --error false-positive --least 4 --boundary=-3,3"
    done = CliRunner().invoke(app, [*line.split(), "--out", str(out)])
    assert done.exit_code == 0, done.output
    (row,) = sx.read_cohort(out).maps
    assert row["error_kind"] == "false-positive"
    assert row["component_pixels"] > 4


def test_another_score_is_asked_of_all_maps_and_flows_and_one_of_the_users_own_is_refused(
    model, folder, tmp_path
):
    asked = {"score": "probability", "reduction": "sum"}
    found = sx.run_cohort(
        model, folder, ["A"], ["vanilla-gradient"], out=tmp_path / "out", device="cpu", target=asked
    )
    assert not found.failed
    kept = found.explanation("a", "A")
    alone = sx.explain(
        model,
        sx.read_image(folder / "images" / "a.tif"),
        sx.Target("A", **asked),
        "vanilla-gradient",
        device="cpu",
    )
    np.testing.assert_array_equal(kept.map, alone.map)
    assert found.record["target"] == asked
    plan = CohortPlan.make(model, sx.find_cases(folder), ["A"], ["vanilla-gradient"], target=asked)
    assert plan.target is not None
    assert plan.target.of_flows == asked
    with pytest.raises(sx.UserError, match=r"a score of your own cannot be asked of a cohort.*one by one"):
        sx.run_cohort(
            model, folder, ["A"], ["vanilla-gradient"], out=tmp_path / "no", target={"score": lambda a, b: a}
        )
    with pytest.raises(sx.UserError, match="score 'logits' is unknown; choose"):
        sx.run_cohort(
            model, folder, ["A"], ["vanilla-gradient"], out=tmp_path / "no", target={"score": "logits"}
        )
