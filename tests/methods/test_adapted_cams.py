"""Methods that merge the network layers of the decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cam_parts import ask, close
from helpers.cams import setup
from helpers.networks import card
from torch import nn

import napari_segxai as sx


def test_adapted_methods_merge_the_decoder():
    from napari_segxai.datasets.resources import resource

    model = sx.load_model("triangle")
    image = sx.read_image(resource("sample_data/images/triangle_1.png"))
    layers = [x.name for x in model.example_layers if x.stage == "decoder" and x.type.startswith("Conv")]
    assert len(layers) == 12
    flow = sx.information_flow(model, image, ["triangle"], layers=layers)
    merged = sx.explain(model, image, "triangle", "adapted-seg-grad-cam")
    raw = sx.explain(model, image, "triangle", "adapted-seg-grad-cam", merge="sum of raw")
    total, mean = np.zeros((112, 112)), np.zeros((112, 112))
    for layer in layers:
        t = torch.from_numpy(flow.tiles["triangle", layer].map)[None, None]
        t = nn.functional.interpolate(t, (112, 112), mode="bilinear", align_corners=False)[0, 0].numpy()
        total += t
        t = t.clip(min=0)
        mean += (t - t.min()) / (t.max() - t.min() if t.max() > t.min() else 1) / 12
    close(raw.map, total)
    close(merged.map, mean)
    assert raw.record.display["unit"] == "activation × gradient of the logit, summed"
    assert merged.record.display["unit"] == "mean of maps from 0 to 1"
    assert merged.record.passes == {"forward": 1, "backward": 1}
    other = sx.explain(model, image, "triangle", "adapted-seg-grad-cam-plus-plus")
    assert other.map.shape == (112, 112)
    assert np.corrcoef(other.map.ravel(), merged.map.ravel())[0, 1] < 0.9999


def test_adapted_score_cam_on_a_small_decoder():
    from napari_segxai.models.zoo.unet import UNet

    torch.manual_seed(0)
    model = sx.load_model(UNet(1, 2, (4, 6)).eval(), card=card(grid={"multiple": 2}))
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    target = sx.Target("object", region="image")
    layers = [x.name for x in model.example_layers if x.stage == "decoder" and x.type.startswith("Conv")]
    raw = sx.explain(model, image, target, "adapted-seg-score-cam", merge="sum of raw")
    expected = sum(ask(model, image, "seg-score-cam", target, layer=name) for name in layers)
    close(raw.map, expected)
    channels = sum(model.find_layer(name).shape[0] for name in layers)
    assert raw.record.passes == {"forward": 1 + channels, "backward": 0}


def test_without_a_decoder_the_adapted_methods_refuse():
    model, image = setup(2)
    with pytest.raises(sx.UserError, match="no convolution between its bottleneck and its head"):
        ask(model, image, "adapted-seg-grad-cam")
