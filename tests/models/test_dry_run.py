"""A network is tried when it is loaded: what does not fit its card is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.models import Fixed, gray
from helpers.networks import LinearHead, card
from torch import nn

import napari_segxai as sx
from napari_segxai.models.zoo.unet import UNet


def raiser(error: Exception):
    def make(x):
        raise error

    return make


@pytest.mark.parametrize(
    ("network", "fields", "words"),
    [
        (
            LinearHead(),
            {"labels": ["a", "b", "c"]},
            [r"(1, 2, 64, 64)", "(1, 1, 64, 64)", "3 label", "a, b, c"],
        ),
        (LinearHead(), {"activation": "sigmoid", "labels": list("abcd")}, ["(1, 2, 64, 64)", "4 label"]),
        (LinearHead(), {"spatial_dims": 3}, ["(1, 1, 32, 32, 32)", "conv2d"]),
        (LinearHead(inputs=3), {}, ["(1, 1, 64, 64)", "3 channels"]),
        (LinearHead(), {"channels": ["r", "g"]}, ["(1, 2, 64, 64)"]),
        (Fixed(raiser(AssertionError("odd size"))), {}, ["AssertionError: odd size"]),
        (Fixed(raiser(AssertionError())), {}, ["allows: AssertionError."]),
        (Fixed(raiser(KeyError("out"))), {}, ["KeyError: 'out'"]),
        (Fixed(raiser(AttributeError("no head"))), {}, ["AttributeError: no head"]),
        (Fixed(lambda x: torch.cat([x, x / 0], 1)), {}, ["not finite"]),
        (Fixed(lambda x: x.flatten(1)), {}, ["(1, 4096)"]),
        (Fixed(lambda x: torch.cat([x, x], 1).mean((2, 3), keepdim=True)), {}, ["(1, 2, 1, 1)", "cover"]),
        (
            Fixed(lambda x: torch.cat([x, x], 1)[:, :, 1:-1, 1:-1]),
            {},
            ["(62, 62)", "cover", "lose 1 cell(s) at each edge", "pad(x, (1, 1, 1, 1), mode='reflect')"],
        ),
        (
            Fixed(lambda x: torch.cat([x, x], 1).repeat(1, 1, 2, 2)),
            {},
            ["(1, 2, 128, 128)", "more pixels than"],
        ),
        (
            Fixed(
                lambda x: {"classes": x[:, 0, :8, :3], "masks": x[:, 0, :8, :1, None].expand(-1, -1, 16, 16)}
            ),
            {"output": "classes"},
            ["(1, 8, 3)", "classes and masks of 8 queries"],
        ),
        (
            Fixed(
                lambda x: {
                    "classes": x[:, 0, :8, :3],
                    "masks": x[:, 0, :8, :1, None].expand(-1, -1, 16, 16),
                }
            ),
            {},
            ["(1, 8, 16, 16)", "classes and masks of 8 queries"],
        ),
        (  # as Mask R-CNN: a mask of every object, of which there may be none
            Fixed(lambda x: [{"boxes": x[0, 0, :7, :4], "masks": x.expand(7, -1, -1, -1)}]),
            {"activation": "sigmoid"},
            ["(7, 1, 64, 64)", "7 maps for one image"],
        ),
        (
            Fixed(lambda x: [{"masks": x.expand(7, -1, -1, -1)[:0]}]),
            {"activation": "sigmoid"},
            ["0 maps for one image"],
        ),
        (Fixed(lambda x: x.expand(-1, 3, -1, -1)), {}, ["name each of its 3 outputs in the card"]),
        (  # as HoVer-Net: maps of several kinds, without the edges
            Fixed(
                lambda x: {"nuclei": x[:, :, 4:-4, 4:-4], "kinds": x[:, :, 4:-4, 4:-4].expand(-1, 2, -1, -1)}
            ),
            {},
            ["(1, 2, 56, 56)", "lose 4 cell(s)"],
        ),
        (  # as SAM: how good each mask is, and the masks
            Fixed(
                lambda x: {
                    "iou_scores": x[:, :, 0, :3],
                    "pred_masks": x[:, :, None, ::4, ::4].expand(-1, -1, 3, -1, -1),
                }
            ),
            {"activation": "sigmoid"},
            ["(1, 1, 3, 16, 16)", "stack several outputs"],
        ),
        (Fixed(lambda x: x.argmax(1)), {}, ["floating-point tensor", "`output`"]),
        (Fixed(lambda x: "text"), {}, ["a str", "`output`"]),
        (Fixed(lambda x: {"a": x}), {"output": "b"}, ["no output 'b' but ['a']", "`output`"]),
        (Fixed(lambda x: (x,)), {"output": 2}, ["no output 2 but a tuple"]),
        (
            Fixed(lambda x: torch.cat([x, -x], 1)),
            {"values": "probabilities"},
            ["not probabilities", "logits"],
        ),
    ],
)
def test_a_network_that_does_not_fit_its_card_is_refused_at_load(network, fields, words):
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(network, card=card(**fields))
    for word in ["planted", *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outputs_in_strides_are_enlarged():
    class Strided(nn.Module):
        def forward(self, x):
            x = nn.functional.avg_pool2d(x, 4, ceil_mode=True)
            return torch.cat([0.5 - x, x - 0.5], 1)

    array = np.zeros((64, 64), np.float32)
    array[16:32, 32:48] = 1
    for grid in ({}, {"size": [48, 64]}):
        predicted = sx.load_model(Strided(), card=card(grid=grid)).predict(sx.Image(array))
        middle = np.argwhere(predicted).mean(0)
        np.testing.assert_allclose(middle, (23.5, 39.5), atol=1)


def test_a_deep_network_whose_smallest_map_would_be_one_cell_is_accepted():
    # Instance normalisation refuses a single cell; the dry run's input has to be large enough.
    network = UNet(features=[2] * 6, norm="instance", spatial_dims=3)
    model = sx.load_model(network, card=card(3, grid={"multiple": 32}))
    assert model.find_layer("bottleneck").shape == (2, 2, 2, 2)


def test_a_network_that_changes_its_input_in_place_leaves_the_image_alone():
    class InPlace(LinearHead):
        def forward(self, x):
            x -= 3.0
            return super().forward(x)

    class Unseen(LinearHead):
        def forward(self, x):
            x.data.sub_(3.0)  # which counts no version
            return super().forward(x)

    class Plain(LinearHead):
        def forward(self, x):
            return super().forward(x - 3.0)

    image = gray()
    kept = image.array.copy()
    results = []
    for network in (InPlace(), Unseen(), Plain()):
        model = sx.load_model(network, card=card())
        assert model.writes_input == (type(network) is not Plain)  # and then every pass takes a copy
        target = sx.Target("object", region="image")
        maps = [
            sx.explain(model, image, target, "seg-hires-grad-cam", layer="features").map,
            sx.explain(model, image, target, "rise", masks=10, score="target").map,
        ]
        results.append([model.predict(image), model.predict(image), *maps])
    np.testing.assert_array_equal(image.array, kept)
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_a_network_of_large_windows_is_tried_on_a_smaller_input_where_it_takes_one():
    """A pass through a window of 128 x 128 x 128 takes an nnU-Net many seconds, and loading makes ten."""

    class Halving(nn.Module):
        def __init__(self, least: int):
            super().__init__()
            self.conv, self.least, self.seen = nn.Conv3d(1, 2, 1), least, []

        def forward(self, x):
            self.seen.append(tuple(x.shape[2:]))
            if min(x.shape[2:]) < self.least:
                raise RuntimeError("too small")
            return self.conv(x)

    for least, expected in [(1, (8, 64, 64)), (10, (28, 128, 160))]:
        network = Halving(least)
        model = sx.load_model(network, card=card(3, windows={"size": [28, 128, 160]}))
        assert set(network.seen) - {(8, 64, 64)} == {expected} - {(8, 64, 64)}
        assert model.example_grid == (28, 128, 160)
    with pytest.raises(sx.UserError, match=r"cannot run on an input of shape.*too small"):
        sx.load_model(Halving(30), card=card(3, windows={"size": [28, 128, 160]}))
