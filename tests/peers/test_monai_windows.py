"""Networks of MONAI through windows: the gradient beside that of the graph of all windows together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_segxai.models.windows.rule import Windows
from napari_segxai.models.windows.stitch import stitch
from napari_segxai.models.windows.tiling import Tiling

nets = pytest.importorskip("monai.networks.nets")

ROUNDING = 2e-4
"""In float32, behind an instance norm over the eight cells of a bottleneck."""

DEEP = {
    "kernel_size": [3] * 4,
    "strides": [1, 2, 2, 2],
    "upsample_kernel_size": [2] * 3,
    "filters": [4, 8, 16, 32],
}

NETWORKS = {
    "DynUNet": DEEP,
    "DynUNet, residual": {**DEEP, "res_block": True},
    "DynUNet, batch norm": {**DEEP, "norm_name": "batch"},
    "UNet": {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    found = getattr(nets, name.partition(",")[0])
    return found(spatial_dims=3, in_channels=1, out_channels=3, **NETWORKS[name]).eval()


def gradient(network: nn.Module, x: Tensor, *, stitched: bool) -> Tensor:
    """Of a mean logit in a box: window by window, or through the graph of all of them."""
    tiling = Tiling(Windows(size=(16, 16, 16)), tuple(x.shape[2:]))
    leaf = x.clone().requires_grad_(True)
    if stitched:
        out = torch.zeros(1, 3, *x.shape[2:], dtype=x.dtype)
        for corner in tiling.corners:
            place = (..., *tiling.place(corner))
            whole = torch.zeros_like(out)
            whole[place] = network(leaf[place]) * tiling.importance.to(x)
            out = out + whole
        out = out / tiling.total(tiling.everywhere).to(x)
    else:
        out = stitch(network, leaf, tiling)
    (found,) = torch.autograd.grad(out[0, 1, 4:12, 8:16, 8:20].mean(), [leaf])
    return found.double()


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_all_windows_together(name):
    """To rounding: in float64 to 1e-12; in float32 it is no further from that than the graph of all windows is."""
    network, x = made(name), torch.rand(1, 1, 16, 24, 32, generator=torch.Generator().manual_seed(1))
    exact = [gradient(network.double(), x.double(), stitched=stitched) for stitched in (False, True)]
    assert float(exact[1].abs().max()) > 0
    assert apart(*exact) < 1e-12
    ours, theirs = (gradient(network.float(), x, stitched=stitched) for stitched in (False, True))
    assert apart(ours, exact[1]) < max(3 * apart(theirs, exact[1]), 1e-6)
    assert apart(theirs, exact[1]) < ROUNDING
