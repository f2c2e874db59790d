"""Networks that draw with vectors of queries: the image goes along the map, not along the vectors."""

from __future__ import annotations

import pytest
import torch
from helpers.odd_networks.roles import conv, loaded
from torch import nn

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
