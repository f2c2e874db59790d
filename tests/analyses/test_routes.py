"""Routes of an information flow: shares of the score that add up over the ways past the bottleneck and through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import card
from torch import Tensor, nn

import napari_segxai as sx


class OneSkip(nn.Module):
    """Encoder, bottleneck at half the size, and a head over both, without biases."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU())
        self.bottleneck = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv2d(10, 4, 3, padding=1, bias=False), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x):
        skip = self.encoder(x)
        deep = F.interpolate(self.bottleneck(F.max_pool2d(skip, 2)), scale_factor=2)
        return self.head(self.decoder(torch.cat([skip, deep], 1)))


@pytest.fixture(scope="module")
def flow():
    network = OneSkip()
    nn.init.uniform_(network.head.weight, 0, 1)
    model = sx.load_model(network, card=card(grid={"size": [16, 16]}))
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    return sx.information_flow(model, image, ["object"], region="image", routes=True)


def test_what_passes_the_bottleneck_and_the_skip_is_the_whole_score(flow):
    tiles = {layer.name: flow.tiles["object", layer.name] for layer in flow.layers}
    through = tiles["bottleneck"].relevance
    across = tiles["encoder"].relevance_skip
    assert 0.01 < through < 0.99
    assert through + across == pytest.approx(1, abs=1e-4)
    assert tiles["decoder"].relevance == pytest.approx(1, abs=1e-4)
    assert tiles["encoder"].relevance == pytest.approx(1, abs=1e-4)
    assert tiles["bottleneck"].relevance_skip is None
    assert any("rests on biases" in note for note in flow.notes["object"])
    assert flow.passes.as_dict() == {"forward": 2, "backward": 2}
    assert flow.passes == flow.plan.passes


def test_routes_are_kept_in_files_and_asked_again(flow, tmp_path):
    flow.save(tmp_path / "flow")
    opened = sx.load_flow(tmp_path / "flow")
    assert opened.rows == flow.rows
    assert flow.rows[0]["relevance"] is not None


def test_without_routes_there_is_no_share(flow):
    plain = sx.information_flow(flow.model, flow.image, ["object"], region="image")
    assert {row["relevance"] for row in plain.rows} == {None}
    with pytest.raises(sx.UserError, match="routes"):
        sx.information_flow(flow.model, flow.image, routes="yes")


class AttentionGate(nn.Module):
    """A U-Net of one level whose skip connection goes through an attention gate, as in Attention U-Net."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.enter = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.ReLU())
        self.gate = Gate()
        self.head = nn.Conv2d(8, 2, 1, bias=False)
        nn.init.uniform_(self.head.weight, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.enter(x)
        deep = self.up(self.down(kept))
        return self.head(torch.cat([self.gate(kept, deep), deep], 1))


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_one = nn.Sequential(nn.Conv2d(4, 1, 1), nn.Sigmoid())

    def forward(self, kept: Tensor, deep: Tensor) -> Tensor:
        return kept * self.to_one(torch.relu(kept + deep))


def test_relevance_goes_through_the_gate_of_a_skip_connection():
    """All of it goes to what is gated; what a routes pass has marked is the same tensor wherever a call names it."""
    model = sx.SegmentationModel(
        AttentionGate(), {"name": "gated", "labels": ["background", "thing"], "spatial_dims": 2}
    )
    image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    target = {"region": np.ones(image.shape, bool)}
    flow = sx.information_flow(
        model, image, ["thing"], layers=["enter", "gate", "up", "head"], routes=True, **target
    )
    share = {layer: flow.tiles["thing", layer].relevance for layer in ("enter", "gate", "up", "head")}
    assert share["gate"] > 0.05
    assert share["gate"] + share["up"] == pytest.approx(1, abs=1e-4)  # the head has no bias
