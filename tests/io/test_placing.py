"""Results lie over what was explained, at its frame alone, whatever axes the layer has besides space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

import napari_segxai as sx
from napari_segxai.gui.viewer import runs
from napari_segxai.gui.viewer.displayed import displayed_image
from napari_segxai.gui.widgets.method_list import map_values
from napari_segxai.models.card import ModelCard

SIZES = {"T": 3, "C": 2, "Z": 4, "Y": 6, "X": 5, "P": 3}


@pytest.fixture(scope="module")
def explained():
    network = sx.SegmentationModel(
        torch.nn.Conv2d(1, 2, 1), ModelCard(name="net", labels=("no", "yes"), spatial_dims=2)
    )
    return sx.explain(network, sx.Image(np.eye(4, dtype=np.float32)), "yes", "vanilla-gradient")


def turned(n):
    """A transform of every kind, which leaves the first axis alone: a turn across time is none."""
    turn = np.eye(n)
    turn[-2:, -2:] = [[0.6, -0.8], [0.8, 0.6]]
    return {"scale": np.linspace(0.5, 2, n), "translate": np.arange(n) - 3.0, "rotate": turn}


@pytest.mark.parametrize(
    ("letters", "ndim"),
    [("YX", 2), ("CYX", 2), ("YXC", 3), ("TYX", 3), ("CTYX", 3), ("TCYX", 4), ("ZCYX", 4), ("ZTYX", 4), ("TZCYX", 5),
     ("YCX", 3), ("PTCYX", 5), ("CZYX", 3)],
)  # fmt: skip
def test_a_result_lies_over_its_frame_and_over_no_other(explained, letters, ndim):
    values = np.arange(np.prod([SIZES[c] for c in letters]), dtype=np.float32).reshape(
        [SIZES[c] for c in letters]
    )
    viewer = ViewerModel()
    source = viewer.add_layer(ImageLayer(values, **turned(values.ndim)))
    frame = {k: 1 for k, c in enumerate(letters) if c in "TP"}
    for axis in frame:
        viewer.dims.set_point(axis, float(source.data_to_world([1] * values.ndim)[axis]))
    image = displayed_image(source, viewer, 2 if "C" in letters else 1, axes=letters).image
    assert image.layer["at"] == frame
    result = replace(explained, image=image, map=np.ascontiguousarray(image.channels_first()[0]))
    layer = Layer.create(*result.to_layers(1, prediction=False)[-1])
    assert layer.ndim == ndim
    np.testing.assert_array_equal(map_values(layer, image), result.map)
    for index in np.ndindex(values.shape):
        own = np.rint(layer.world_to_data(source.data_to_world(index))).astype(int)
        inside = all(0 <= i < n for i, n in zip(own, layer.data.shape, strict=True))
        assert inside == all(index[k] == at for k, at in frame.items())
        if inside:
            first = tuple(0 if letters[k] == "C" else i for k, i in enumerate(index))
            assert layer.data[tuple(own)] == values[first]


def test_a_result_of_a_level_of_a_pyramid_of_a_series_lies_where_its_pixels_lie(explained):
    levels = [np.zeros((3, 2, 16, 8), np.uint8), np.zeros((3, 2, 8, 4), np.uint8)]
    viewer = ViewerModel()
    source = viewer.add_layer(ImageLayer(levels, multiscale=True, scale=(2, 1, 0.5, 0.5)))
    viewer.dims.set_point(0, 4.0)
    card = ModelCard(name="net", labels=("no", "yes"), spatial_dims=2, grid={"size": (8, 4)})
    image = displayed_image(source, viewer, card, axes="TCYX").image
    result = replace(explained, image=image, map=np.zeros((8, 4), np.float32))
    layer = Layer.create(*result.to_layers(1, prediction=False)[-1])
    np.testing.assert_allclose(
        layer.extent.world[:, -2:], source.extent.world[:, -2:] + [[0.25, 0.25], [-0.25, -0.25]]
    )
    assert layer.data_to_world((0, 0, 0, 0))[0] == 4


def test_names_tell_the_frame(explained):
    viewer = ViewerModel()
    source = viewer.add_layer(
        ImageLayer(np.zeros((3, 4, 4), np.float32), axis_labels=("t", "y", "x"), name="movie")
    )
    names = []
    for frame in (2, 0):
        viewer.dims.set_point(0, frame)
        image = displayed_image(source, viewer, 1).image
        record = replace(explained.record, image={**explained.record.image, "at": image.at})
        found = runs.new_run(
            viewer, replace(explained, image=image, map=np.zeros((4, 4), np.float32), record=record)
        )
        names.append([data[1]["name"] for data in found])
        for data in found:
            viewer.add_layer(Layer.create(*data))
    assert names == [
        ["prediction · net · T2", "saliency #1 · vanilla-gradient · T2"],
        ["prediction · net · T0", "saliency #2 · vanilla-gradient · T0"],
    ]


def test_the_frame_of_a_file_is_in_the_record(explained, tmp_path):
    image = sx.Image(np.zeros((3, 4, 4), np.float32), time_axis=0)
    network = sx.SegmentationModel(
        torch.nn.Conv2d(1, 2, 1), ModelCard(name="net", labels=("no", "yes"), spatial_dims=2)
    )
    found = sx.explain(network, image.frame(-1), "yes", "vanilla-gradient")
    assert found.record.image["at"] == {"T": 2}
    assert found.to_layers()[0][1]["name"] == "prediction · net · T2"
