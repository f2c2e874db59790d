"""Networks that draw with vectors of queries: the image goes along the map, not along the vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.odd_networks.roles import conv, loaded
from torch import nn

import napari_segxai as sx
from napari_segxai.models.zoo.transformers import semantic_map


class Queries(nn.Module):
    """The shape of MaskFormer: a U-Net makes a map, its deepest level the vectors that it is multiplied with."""

    def __init__(self, swapped: bool = False):
        super().__init__()
        self.swapped = swapped
        self.a, self.b, self.c = conv(1, 4), conv(4, 8), conv(8, 8)
        self.up, self.d1, self.features = nn.Upsample(scale_factor=2), conv(12, 8), nn.Conv2d(8, 6, 1)
        self.embed, self.mix = nn.Linear(8, 5 * 6), nn.Linear(6, 6)
        self.classes = nn.Linear(6, 3)

    def forward(self, x):
        pool = nn.functional.max_pool2d
        a = self.a(x).relu()
        b = self.b(pool(a, 2)).relu()
        c = self.c(b).relu()
        features = self.features(self.d1(torch.cat([self.up(c), a], 1)).relu())
        queries = self.mix(self.embed(c.mean((2, 3))).unflatten(1, (5, 6)).relu())
        if self.swapped:
            masks = features.flatten(2).transpose(1, 2) @ queries.transpose(1, 2)
            masks = masks.transpose(1, 2).unflatten(2, features.shape[2:])
        else:
            masks = torch.einsum("bqc,bchw->bqhw", queries, features)
        return semantic_map(self.classes(queries), masks)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_map_is_the_path_and_the_vectors_are_beside_it(swapped):
    model = loaded(Queries(swapped))
    assert model.roles.last == "d1"
    assert model.roles.head == "features"
    assert model.find_layer("bottleneck").name == "c"
    assert [(skip.source, skip.target) for skip in model.roles.skips] == [("a", "d1")]
    stages = {layer.name: layer.stage for layer in model.network_layers()}
    assert not {"mix", "embed", "classes"} & {
        name for name, stage in stages.items() if stage not in ("side", "unused")
    }


class HardMasks(nn.Module):
    """The shape of Mask2Former: masks of learned vectors, cut to yes and no, say where each vector then looks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.features = conv(1, 8), nn.Conv2d(8, 6, 1)
        self.queries = nn.Parameter(torch.randn(1, 5, 6))
        self.embed, self.classes = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        features = self.features(self.a(x).relu())
        queries = self.embed(self.queries)
        there = torch.einsum("bqc,bchw->bqhw", queries.expand(len(x), -1, -1), features) > 0
        seen = (there[:, :, None] * features[:, None]).mean((3, 4))
        queries = self.embed(queries + seen)
        return semantic_map(self.classes(queries), torch.einsum("bqc,bchw->bqhw", queries, features))


def test_what_does_not_depend_on_the_image_is_not_among_the_main_blocks_and_no_reason_to_refuse_a_flow():
    model = loaded(HardMasks())
    assert {layer.name: layer.reason for layer in model.network_layers()}["embed"] == (
        "does not depend on the image"
    )
    names = [layer.name for layer in model.outline]
    assert "embed" not in names
    assert {"a", "features", "embed@2"} <= set(names)
    image = np.random.default_rng(0).random((64, 64), np.float32)
    flow = sx.information_flow(model, image, ["object"], region="image", device="cpu")
    assert [layer.name for layer in flow.layers] == names
