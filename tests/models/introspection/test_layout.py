"""Reading tokens and windows as maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from helpers.odd_networks.transformers import Transformer
from torch import nn

import napari_segxai as sx
from napari_segxai.models.introspection.layout import Layout, infer_layout


@pytest.mark.parametrize(
    ("shape", "grid", "kind", "cells", "extra"),
    [
        ((1, 8, 16, 16), (64, 64), "maps", (16, 16), 0),
        ((1, 16, 12, 96), (64, 48), "last", (16, 12), 0),
        ((1, 64, 64, 64), (64, 64), "maps", (64, 64), 0),
        ((1, 8, 1, 1), (64, 64), "maps", (1, 1), 0),
        ((1, 16, 32), (64, 64), "tokens", (4, 4), 0),
        ((1, 17, 32), (64, 64), "tokens", (4, 4), 1),
        ((1, 197, 768), (224, 224), "tokens", (14, 14), 1),
        ((1, 201, 384), (224, 224), "tokens", (14, 14), 5),
        ((1, 12, 32), (64, 48), "tokens", (4, 3), 0),
        ((1, 216, 32), (96, 96, 96), "tokens", (6, 6, 6), 0),
        ((16, 49, 96), (112, 112), "windows", (28, 28), 0),
        ((8, 64, 24), (32, 32, 32), "windows", (8, 8, 8), 0),
    ],
)
def test_layouts_are_inferred(shape, grid, kind, cells, extra):
    layout = infer_layout(shape, grid)
    assert (layout.kind, layout.cells, layout.extra) == (kind, cells, extra)


@pytest.mark.parametrize(
    ("shape", "grid"), [((1, 32), (64, 64)), ((1, 7, 32), (64, 64)), ((3, 2, 2, 2, 2, 5), (8, 8))]
)
def test_what_cannot_be_told_is_not_guessed(shape, grid):
    assert infer_layout(shape, grid) is None


def test_a_declared_stride_decides():
    assert infer_layout((1, 19, 8), (64, 64)) is None
    assert infer_layout((1, 19, 8), (64, 64), stride=16) == Layout("tokens", (4, 4), extra=3)


@pytest.mark.parametrize(
    "layout",
    [
        Layout("maps", (4, 6)),
        Layout("last", (4, 6)),
        Layout("tokens", (4, 6), extra=2),
        Layout("windows", (4, 6), window=2),
        Layout("windows", (4, 6, 2), window=2),
    ],
)
def test_there_and_back(layout):
    maps = torch.arange(2 * 3 * np.prod(layout.cells)).view(2, 3, *layout.cells).float()
    like = torch.zeros(1, layout.extra, 3)
    there = layout.from_maps(maps, like)
    torch.testing.assert_close(layout.to_maps(there), maps)


def test_windows_are_put_where_they_were_cut():
    """The usual partition: view as (rows, window, columns, window), windows row by row."""
    image = torch.arange(24.0).view(1, 4, 6, 1)
    windows = image.view(1, 2, 2, 3, 2, 1).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 1)
    torch.testing.assert_close(Layout("windows", (4, 6), window=2).to_maps(windows)[0, 0], image[0, :, :, 0])


def test_tokens_of_a_transformer_are_network_layers():
    model = sx.load_model(Transformer(), card=card(grid={"size": [32, 24]}))
    shapes = {layer.name: layer.shape for layer in model.network_layers()}
    assert shapes["tail"] == (8, 8, 6)
    image = sx.Image(np.random.default_rng(0).normal(size=(32, 24)).astype(np.float32))
    target = sx.Target("object", region="image", reduction="sum")
    ex = sx.explain(model, image, target, "seg-hires-grad-cam", layer="tail")
    assert ex.native.shape == (8, 6)
    # The head is linear in every token, each repeated over 16 pixels: the map is the logit minus the bias, times 16.
    logits = model.module(torch.from_numpy(image.array)[None, None])[0, 1].detach()
    expected = 16 * (logits[::4, ::4] - model.module.head.bias[1].detach())
    np.testing.assert_allclose(ex.native, expected, rtol=1e-4, atol=1e-4)


def test_tokens_without_a_place_are_refused_until_their_stride_is_declared():
    model = sx.load_model(Transformer(extra=3), card=card(grid={"size": [32, 24]}))
    assert "tail" not in {layer.name for layer in model.network_layers()}
    with pytest.raises(sx.UserError, match=r"'tail' returns shape \(1, 51, 8\).*`tokens` in the model card"):
        model.find_layer("tail")
    declared = sx.load_model(Transformer(extra=3), card=card(grid={"size": [32, 24]}, tokens={"t*": 4}))
    assert declared.find_layer("tail").shape == (8, 8, 6)


class Prompts(nn.Module):
    """Tokens with an axis more, (N, prompts, tokens, channels), as in SAM's decoder: 64 tokens of 32 channels look like a map."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 32, 8, stride=8), nn.LayerNorm(32)
        self.up = nn.ConvTranspose2d(32, 2, 8, stride=8)

    def forward(self, x):
        tokens = self.norm(self.stem(x).flatten(2).mT.unsqueeze(1))
        return self.up(tokens.squeeze(1).mT.unflatten(2, (8, 8)))


def test_tokens_of_prompts_are_no_map():
    model = sx.load_model(Prompts(), card=card(grid={"size": [64, 64]}))
    assert [layer.name for layer in model.network_layers()] == ["stem", "up"]
    assert model.find_layer("bottleneck").shape == (32, 8, 8)
    with pytest.raises(sx.UserError, match=r"'norm' returns shape \(1, 1, 64, 32\).*cannot be told"):
        model.find_layer("norm")
