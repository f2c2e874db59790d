"""Charts, galleries and images over steps of a finding: in the result, its layers, its files, and opened again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers.concepts import planted_folder, planted_network
from helpers.networks import LinearHead, card
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

import napari_segxai as sx
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.progress import Passes
from napari_segxai.engine.cases import SurveyFinding
from napari_segxai.engine.finding import Finding
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.gui.viewer.displayed import displayed_image
from napari_segxai.methods import registry


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


RANDOM = np.random.default_rng(0)
GALLERY = Gallery(
    "unit 1: of a",
    "What it sees",
    (
        Picture("unit 1", RANDOM.normal(size=(5, 7)), "0.5 $x$", (-2, 2), "c0", (3, 4)),
        Picture("unit 1", RANDOM.uniform(size=(4, 4, 3))),
        Picture("unit 2", np.ones((3, 3)), limits=(1, 1)),
    ),
    "From two cases.",
)
CHART = Chart("lines", "Path", "step", "value", (Series("mean", (0, 1, 2), (0.0, 1.0, None)),))


@pytest.fixture
def method():
    """A method of one image and of folders that finds a chart, a gallery and images over three steps."""

    def of_image(question, options):
        yield question.step("looking")
        steps = torch.stack([question.input[0, 0] * k for k in range(3)])
        return Finding(question.input[0, 0], series={"path": steps}, charts=(CHART,), galleries=(GALLERY,))

    def of_cases(cases, options):
        yield cases.step("looking")
        return SurveyFinding([{"unit": 1}], "Seen.", galleries=(GALLERY,))

    registry.all_methods()
    registry.explainer(
        "shown", title="Shown", question="evidence", summary="", source="", unit="", options=Nothing,
        passes=lambda options, size: Passes(),
        on_cases=registry.OnCases(of_cases, lambda options, extent: Passes()),
    )(of_image)  # fmt: skip
    yield "shown"
    registry._known._things.pop("shown")


def assert_same_gallery(found: Gallery) -> None:
    assert found.as_json() == GALLERY.as_json()
    for one, other in zip(found.pictures, GALLERY.pictures, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


AFFINE = np.array([[0, 0, 3.0, 5], [-2, 0, 0, 1], [0, 1.5, 0, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "image",
    [sx.Image(RANDOM.normal(size=(9, 12)).astype(np.float32)),
     sx.Image(RANDOM.normal(size=(5, 6, 7)).astype(np.float32), affine=AFFINE)],
    ids=["2D", "3D"],
)  # fmt: skip
def test_what_is_shown_comes_back_from_its_folder(image, method, tmp_path):
    n = image.spatial_dims
    model = sx.load_model(LinearHead(n), card=card(n))
    found = sx.explain(model, image, sx.Target("object", region="image"), method)
    frames = found.series["path"]
    assert frames.shape == (3, *image.spatial_shape)
    np.testing.assert_allclose(frames[2], 2 * image.array, rtol=1e-6)
    written = {path.name for path in found.save(tmp_path / "out")}
    assert {"charts.json", "figure.png", "figure.svg", "path.nii.gz"} <= written
    assert {"pictures_unit_1_of_a.tif", "pictures_unit_1_of_a.png"} <= written or len(written) > 8
    opened = sx.load_explanation(tmp_path / "out")
    np.testing.assert_array_equal(opened.series["path"], frames)
    assert opened.charts == found.charts == (CHART,)
    assert_same_gallery(opened.galleries[0])
    for one in (found, opened):
        *_, (values, about, kind) = one.to_layers()
        assert kind == "image"
        assert values.shape[0] == 3
        steps, whole = Layer.create(values, about, kind), Layer.create(*one.to_layers()[0])
        assert steps.axis_labels[0] == "step"
        np.testing.assert_allclose(steps.extent.world[:, 1:], whole.extent.world)  # it lies on the image


def test_a_path_of_one_time_point_lies_where_the_film_lies(method):
    film = np.stack([RANDOM.normal(size=(8, 9)).astype(np.float32)] * 3)
    viewer = ViewerModel()
    placed = {"scale": (3, 0.5, 2), "axis_labels": ("t", "y", "x"), "units": ("s", "um", "um")}
    layer = viewer.add_layer(ImageLayer(film, name="film", rotate=20, **placed))
    viewer.dims.set_point(0, 3.0)
    image = displayed_image(layer, viewer, 1).image
    found = sx.explain(
        sx.load_model(LinearHead(), card=card()), image, sx.Target("object", region="image"), method
    )
    *others, (values, about, kind) = found.to_layers()
    map = next(Layer.create(*one) for one in others if one[1]["metadata"]["segxai_role"] == "saliency")
    steps = Layer.create(values, about, kind)
    assert values.shape == (3, *map.data.shape)
    np.testing.assert_allclose(steps.extent.world[:, 1:], map.extent.world)
    at = steps.data_to_world((2, *(n - 1 for n in map.data.shape)))
    np.testing.assert_allclose(at[1:], map.data_to_world([n - 1 for n in map.data.shape]))


def test_a_survey_keeps_its_gallery(method, tmp_path):
    images, _ = planted_folder(tmp_path / "data", 2)
    found = sx.survey(planted_network(), images, method)
    found.save(tmp_path / "out")
    opened = sx.load_survey(tmp_path / "out")
    assert opened.charts == ()
    assert_same_gallery(opened.galleries[0])
    assert found.figure().axes[0].images


def test_a_number_without_a_figure_is_answered(method):
    image = sx.Image(np.ones((8, 8), np.float32))
    found = sx.explain(
        sx.load_model(LinearHead(), card=card()), image, sx.Target("object", region="image"), method
    )
    assert len(found.figure(1).axes[0].images) == 3
    with pytest.raises(sx.UserError, match="number is 2; of shown there are 2 charts and galleries"):
        found.figure(2)


def test_a_gallery_that_is_too_long_says_so():
    many = Gallery("g", "Many", tuple(Picture(f"row {k}", np.eye(2)) for k in range(30)), "All.")
    figure = draw_gallery(many)
    assert len(figure.axes[0].images) == 24
    assert any("6 more rows are not drawn" in text.get_text() for text in figure.axes[0].texts)


def test_what_is_no_picture_is_refused():
    with pytest.raises(sx.UserError, match=r"shape \(3,\)"):
        Picture("unit", np.zeros(3))
