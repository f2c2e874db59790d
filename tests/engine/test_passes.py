"""The passes of a record are those that the network ran: every image of a batch counts, not the batch."""

from __future__ import annotations

import pytest
from helpers.networks import LinearHead, card, planted_image

import napari_segxai as sx

PASSES = {
    "rise": ({"masks": 37}, {"forward": 38, "backward": 0}),
    "smooth-grad": ({"samples": 7}, {"forward": 8, "backward": 7}),
    "integrated-gradients": ({"steps": 9}, {"forward": 19, "backward": 9}),
    "seg-ablation-cam": ({}, {"forward": 1, "backward": 0, "suffix": 8}),
    "u-noise": ({"steps": 6}, {"forward": 47, "backward": 12}),
}  # fmt: skip


@pytest.mark.parametrize("method", PASSES)
def test_every_image_of_a_batch_is_counted(method):
    params, passes = PASSES[method]
    network, batches = LinearHead(), []
    model = sx.load_model(network, card=card(grid={"size": [32, 32]}))
    target = sx.Target("object", region="image")
    network.head.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    sx.explain(model, planted_image(), target, method, **params)  # looks at the network, too
    batches.clear()
    found = sx.explain(model, planted_image(), target, method, **params)
    assert max(batches) > 1
    assert sum(batches) == found.record.passes["forward"] + found.record.passes.get("suffix", 0)
    assert found.record.passes == passes
