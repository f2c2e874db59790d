"""The roles of network layers in published architectures, checked by hand against their code (docs/network_layers.md)."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES
from layer_roles import CHECKED, find_roles_of

from napari_segxai.models.introspection.modules import find_module, replace_first_tensor


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_roles(name):
    layers, roles, _, _ = find_roles_of(name)
    want = CHECKED[name]
    assert roles.bottlenecks == want.bottlenecks
    assert roles.last == want.last
    assert len({(skip.source, skip.stride) for skip in roles.skips}) == want.skips
    assert {layer.name for layer in layers if layer.aliases} <= {layer.name for layer in layers}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_output_depends_on_the_chosen_layers_and_not_on_unused_ones(name):
    layers, _, network, run = find_roles_of(name)
    x = torch.rand(1, *ARCHITECTURES[name].shape, generator=torch.Generator().manual_seed(0))
    chosen = [layer.name for layer in layers if layer.aliases]
    unused = [layer.name for layer in layers if layer.stage == "unused"][:2]
    with torch.no_grad():
        plain = run(x)
        for layer in (*chosen, *unused):
            changed = (_disturbed(network, run, x, layer) - plain).abs().max() > 0
            assert bool(changed) == (layer in chosen), layer


def _disturbed(network, run, x, layer):
    path, _, number = layer.partition("@")
    calls = 0

    def hook(_module, _args, out):
        nonlocal calls
        calls += 1
        if calls == int(number or 1):
            return replace_first_tensor(out, lambda t: t * 0.5 + torch.randn_like(t))
        return None

    handle = find_module(network, path).register_forward_hook(hook)
    try:
        return run(x)
    finally:
        handle.remove()
