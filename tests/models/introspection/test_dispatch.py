"""Watching the operations of a pass, without and with torch's compiler."""

import subprocess
import sys

import numpy as np
import torch
from helpers.networks import card
from torch import nn

import napari_segxai as sx


def test_a_model_loads_without_the_compiler():
    code = (
        "import sys, napari_segxai as sx; sx.load_model('triangle').network_layers();"
        " sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_compiler_leaves_modes_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)).eval()
    image = np.random.default_rng(0).random((32, 32), np.float32)
    kinds = []

    def backend(graph, example):
        kinds.append({node.target for node in graph.graph.nodes if node.op == "call_function"})
        return graph.forward

    maps = [
        sx.explain(sx.load_model(network, card=card()), image, "object", "guided-backprop").map
        for network in (module, nn.Sequential(torch.compile(module, backend=backend)))
    ]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5, atol=1e-7)
    assert kinds
    compiled = {str(target) for kind in kinds for target in kind}
    assert not any(name.startswith("aten.") for name in compiled), compiled  # what only a mode sees


def test_of_a_network_that_is_compiled_as_a_whole_the_network_is_taken():
    def backend(graph, example):
        raise AssertionError("was compiled")

    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    model = sx.load_model(torch.compile(module, backend=backend), card=card())
    assert [layer.name for layer in model.network_layers()] == ["0", "1", "2"]
    image = np.random.default_rng(0).random((32, 32), np.float32)
    plain = sx.explain(sx.load_model(module, card=card()), image, "object", "lrp").map
    np.testing.assert_array_equal(sx.explain(model, image, "object", "lrp").map, plain)
