"""Why this false positive, why was that one missed, why A and not B, and what moves the border."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource


class Levels(nn.Module):
    """Logits of three labels, linear in two channels of the image: (N, 1, *grid) -> (N, 3, *grid)."""

    def forward(self, x: Tensor) -> Tensor:
        blurred = nn.functional.avg_pool2d(x, 3, 1, 1)
        return torch.cat([0.5 - blurred, 2 * blurred - 0.9, 3 * x - 2.5], 1)


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    return sx.SegmentationModel(
        Levels(), {"name": "levels", "labels": ["background", "A", "B"], "spatial_dims": 2}
    )


@pytest.fixture(scope="module")
def image() -> sx.Image:
    array = np.zeros((40, 48), np.float32)
    array[4:12, 4:12] = 0.7  # true, drawn
    array[20:26, 30:36] = 0.7  # drawn, not true
    array[32:36, 4:8] = 0.7  # drawn, not true, smaller
    array[6:12, 34:40] = 0.3  # true, not drawn
    return sx.Image(array, spacing=(2.0, 2.0), units="mm", name="four")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    true = np.zeros((40, 48), np.uint8)
    true[4:12, 4:12] = 1
    true[6:12, 34:40] = 1
    return true


def test_errors_are_listed_the_largest_first(model, image, truth):
    found = sx.error_components(model, image, "A", truth)
    kinds = [(one.error, one.number) for one in found]
    assert ("false-positive", 1) in kinds
    assert ("false-negative", 1) in kinds
    first, second = (one for one in found if one.error == "false-positive" and one.pixels > 2)
    assert first.pixels > second.pixels
    assert first.mask[22, 32]
    assert second.mask[33, 5]
    assert first.size == first.pixels * 4
    assert first.mask[first.center]
    assert {one.error for one in sx.error_components(model, image, "A", truth, error="false-negative")} == {
        "false-negative"
    }


def test_a_false_positive_is_explained_as_the_region_that_it_is(model, image, truth):
    target = sx.Target("A", error="false-positive", component=1, truth=truth)
    found = sx.explain(model, image, target, "vanilla-gradient", device="cpu")
    wanted = next(
        one for one in sx.error_components(model, image, "A", truth) if one.error == "false-positive"
    )
    same = sx.explain(model, image, sx.Target("A", region=wanted.mask), "vanilla-gradient", device="cpu")
    np.testing.assert_array_equal(found.map, same.map)
    assert found.record.target["error"] == "false-positive"
    assert found.record.target["component"] == 1
    assert found.map[20:26, 30:36].any()
    assert not found.map[4:12, 4:12].any()


def test_an_error_survives_saving(model, image, truth, tmp_path):
    target = sx.Target("A", error="false-negative", truth=truth, boundary=(-4, 4), against="B")
    found = sx.explain(model, image, target, "vanilla-gradient", device="cpu")
    found.save(tmp_path / "out")
    again = sx.load_explanation(tmp_path / "out")
    assert again.target.error == "false-negative"
    assert again.target.boundary == (-4, 4)
    assert again.target.against == "B"
    np.testing.assert_array_equal(again.target.region, found.target.region)
    np.testing.assert_array_equal(
        sx.explain(model, image, again.target, "vanilla-gradient", device="cpu").map, found.map
    )


def test_a_contrast_is_the_difference_of_two_maps(model, image):
    region = np.zeros(image.shape, bool)
    region[5:9, 5:9] = True
    a, b, both = (
        sx.explain(model, image, target, "input-x-gradient", device="cpu").map
        for target in (
            sx.Target("A", region=region),
            sx.Target("B", region=region),
            sx.Target("A", region=region, against="B"),
        )
    )
    np.testing.assert_allclose(both, a - b, atol=1e-6)
    found = sx.explain(
        model, image, sx.Target("A", region=region, against="B"), "occlusion", device="cpu", patch=2
    )
    assert "less that of B" in found.record.display["unit"]


def test_a_boundary_is_a_band_in_millimetres(model, image):
    region = np.zeros(image.shape, bool)
    region[10:30, 10:30] = True
    maps = {
        band: sx.explain(
            model, image, sx.Target("B", region=region, boundary=band), "vanilla-gradient", device="cpu"
        ).map
        > 0
        for band in ((-2, 0), (0, 2), (-2, 2))
    }
    # B looks at its own pixel alone: the map is the band. A cell of 2 mm at the border is 1 mm away from it, at a corner 1.8.
    inner, outer = region.copy(), np.zeros_like(region)
    inner[11:29, 11:29] = False
    outer[9:31, 9:31] = True
    outer &= ~region
    np.testing.assert_array_equal(maps[-2, 0], inner)
    np.testing.assert_array_equal(maps[0, 2], outer)
    np.testing.assert_array_equal(maps[-2, 2], inner | outer)


REFUSED = {
    "give truth as well": {"error": "false-positive"},
    "has no false-negative|so that there is no component 9": {
        "error": "false-negative",
        "component": 9,
        "truth": "truth",
    },
    "error 'miss' is unknown": {"error": "miss"},
    r"boundary \(2, -2\) is no band": {"boundary": (2, -2)},
    "truth and component are for an error": {"component": 2},
    "against itself": {"against": "A"},
    "has no label 'C'": {"against": "C"},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_asked_is_one_sentence(said, model, image, truth):
    asked = {key: truth if value == "truth" else value for key, value in REFUSED[said].items()}
    with pytest.raises(sx.UserError, match=said):
        sx.explain(model, image, sx.Target("A", **asked), "vanilla-gradient", device="cpu")


def test_a_contrast_is_refused_by_what_reads_no_score(model, image):
    with pytest.raises(sx.UserError, match="misure does not read the score of 'A', so that `against`"):
        sx.explain(model, image, sx.Target("A", against="B"), "misure", device="cpu")


def test_the_command_asks_the_same(tmp_path):
    sample = resource("sample_data/images/triangle_1.png")
    image, truth = sx.read_image(sample), tmp_path / "truth.tif"
    tifffile.imwrite(
        truth, np.zeros((image.shape[0], image.shape[1]), np.uint8)
    )  # nothing is true: all that is drawn is false
    out = tmp_path / "out"
    arguments = [
        "explain",
        str(sample),
        "--model",
        "triangle",
        "--label",
        "triangle",
        "--method",
        "vanilla-gradient",
    ]
    arguments += [
        "--error",
        "false-positive:1",
        "--truth",
        str(truth),
        "--against",
        "background",
        "--boundary=-3,3",
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    told = json.loads((out / "record.json").read_text())["target"]
    assert (told["error"], told["component"], told["against"], told["boundary"]) == (
        "false-positive",
        1,
        "background",
        [-3, 3],
    )


def test_a_band_without_pixels_is_said_to_be_one(model, image):
    # Not that the label is drawn nowhere, nor that the region lies in another slice.
    for asked in ({"boundary": (400, 500)}, {"boundary": (-2, 2), "region": "image"}):
        found = sx.explain(
            model, image, sx.Target("A", **{"boundary": None, **asked}), "vanilla-gradient", device="cpu"
        )
        assert not found.map.any()
        low, high = asked["boundary"]
        assert any(
            f"no pixel of four lies {low} to {high} mm from a border" in w for w in found.record.warnings
        )
        assert not any("predicts no pixel" in w or "slice" in w for w in found.record.warnings)


def test_the_importance_of_channels_says_of_what_and_refuses_a_contrast(model, image):
    with pytest.raises(sx.UserError, match="`against` changes nothing"):
        sx.channel_importance(model, image, sx.Target("A", against="B"), device="cpu")
    found = sx.channel_importance(model, image, sx.Target("A", boundary=(-2, 2)), "mean", device="cpu")
    assert found.asked["target"] == {"label": "A", "region": {"kind": "predicted"}, "boundary": [-2.0, 2.0]}


@pytest.mark.parametrize("truth", [None, 3, {"A": None}])
def test_what_is_no_truth_is_named(truth, model, image):
    with pytest.raises(sx.UserError, match=r"truth is (None|3); it has to be an array, an Image, a file"):
        sx.error_components(model, image, "A", truth)


def test_a_flow_is_asked_about_a_contrast_a_band_and_an_error(model, image, truth, tmp_path):
    class Layered(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return Levels()(x) + 1e-3 * self.last(torch.relu(self.first(x)))

    torch.manual_seed(0)
    net = sx.SegmentationModel(
        Layered(), {"name": "levels", "labels": ["background", "A", "B"], "spatial_dims": 2}
    )
    asked = {"method": "seg-hires-grad-cam", "layers": ["first"], "device": "cpu"}
    found = sx.information_flow(
        net,
        image,
        "A",
        error="false-positive",
        component=1,
        truth=truth,
        against="B",
        boundary=(-2, 2),
        **asked,
    )
    target = sx.Target("A", error="false-positive", truth=truth, against="B", boundary=(-2, 2))
    alone = sx.explain(net, image, target, "seg-hires-grad-cam", layer="first", device="cpu")
    np.testing.assert_allclose(found.tiles["A", "first"].map, alone.map, rtol=1e-4, atol=1e-9)
    assert found.tiles["A", "first"].map.any()
    found.save(tmp_path / "flow")
    again = sx.load_flow(tmp_path / "flow")
    assert again.target("A").as_dict() == found.target("A").as_dict()
    assert again.target("A").error == "false-positive"
    with pytest.raises(sx.UserError, match="is of one label, and the flow of 2 is asked for"):
        sx.information_flow(net, image, error="false-positive", truth=truth, **asked)
    held = sx.information_flow(net, image, against="B", **asked)
    assert held.labels == ("A",)  # B is not held against itself


def test_what_was_done_to_the_truth_is_said_with_the_errors_and_in_the_result(model, image, truth):
    here, twice = np.diag([2.0, 2.0, 1.0, 1.0]), np.diag([4.0, 4.0, 1.0, 1.0])
    case = sx.Image(image.array[..., None], affine=here, name="case")
    volume = sx.load_model(
        torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1)), card={"name": "thin", "labels": ["background", "A", "B"], "spatial_dims": 3}
    )  # fmt: skip
    coarse = sx.Image(truth[::2, ::2, None], affine=twice, name="coarse")
    said = "the truth coarse lies on another grid than case and was resampled to the nearest label."
    found = sx.error_components(volume, case, "A", coarse)
    assert said in found[0].notes
    assert "mask" not in repr(found[0])
    target = sx.Target("A", error=found[0].error, truth=coarse)
    ex = sx.explain(volume, case, target, "vanilla-gradient", device="cpu")
    assert ex.record.warnings.count(said) == 1


def test_a_mask_of_another_label_than_the_first_is_told_from_a_label_image(model, image, truth):
    bright = sx.Image(3 * image.array, name="bright")  # in which B is drawn
    found = sx.error_components(model, bright, "B", truth)
    assert "the truth holds 1 alone, which is 'A': no 'B' (2) is true" in found[0].notes[0]
    assert not sx.error_components(model, image, "A", truth).notes
    dark = sx.Image(0 * image.array, name="dark")
    none = sx.error_components(model, dark, "B", truth)
    assert none == []
    assert "the truth holds 1 alone" in none.notes[0]
    named = sx.error_components(model, image, "B", {"B": truth * 255}, error="false-negative")
    assert sum(one.pixels for one in named) == truth.sum()
    with pytest.raises(
        sx.UserError, match=r"renumber the truth, or give a mask of a label by its name: truth=\{'B'"
    ):
        sx.error_components(model, image, "A", truth * 255)


def test_a_band_in_pixels_is_said_to_be_one(model, image):
    plain = sx.Image(image.array, name="plain")
    said = "plain does not say how large its pixels are: the band along the border is -2 to 2 pixels, not mm."
    for one, wanted in ((plain, True), (image, False)):
        ex = sx.explain(model, one, sx.Target("A", boundary=(-2, 2)), "vanilla-gradient", device="cpu")
        assert any("pixels, not mm" in note for note in ex.record.warnings) == wanted
    assert said in sx.explain(model, plain, sx.Target("A", boundary=(-2, 2)), "vanilla-gradient", device="cpu").record.warnings  # fmt: skip


@pytest.mark.parametrize("method", ["misure", "counterfactual", "object-edit", "stable-explanation"])
def test_what_keeps_a_label_drawn_is_not_asked_of_a_miss(model, image, truth, method):
    target = sx.Target("A", error="false-negative", truth=truth)
    wrapped = {"wraps": "misure"} if method == "stable-explanation" else {}
    with pytest.raises(sx.UserError) as refused:
        ExplanationPlan.make(model, image, target, method, device="cpu", **wrapped)
    assert str(refused.value) == (
        f"{method} asks what keeps 'A' drawn, and in a false negative it is not; to ask why it is missed, use counterfactual with "
        "preset appear, seg-hires-grad-cam or occlusion."
    )
    at_the_border = sx.Target("A", error="false-positive", truth=truth)
    assert ExplanationPlan.make(model, image, at_the_border, method, device="cpu", **wrapped).passes.forward
    if method == "counterfactual":
        assert ExplanationPlan.make(model, image, target, method, preset="appear", device="cpu").passes


def test_a_miss_is_one_also_where_cells_of_the_network_lie_half_in_the_object(image, truth):
    """Pixels beside what is drawn; on the grid of the network they share cells with it."""
    coarse = sx.SegmentationModel(
        Levels(),
        {
            "name": "levels",
            "labels": ["background", "A", "B"],
            "spatial_dims": 2,
            "grid": {"size": [26, 30]},
        },
    )
    drawn = coarse.predict(image) == 1
    near = np.zeros_like(truth)
    near[3:13, 3:13] = 1
    miss = next(one for one in sx.error_components(coarse, image, "A", near, error="false-negative"))
    assert drawn.any()
    assert not drawn[miss.mask].any()
    target = sx.Target("A", error="false-negative", truth=near)
    found = sx.explain(coarse, image, target, "vanilla-gradient", device="cpu")
    assert any("predicts no pixel as 'A' in the region" in said for said in found.record.warnings)
