"""Networks of MONAI through windows: the gradient beside that of the graph of all windows together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_segxai.models.windows.rule import Windows
from napari_segxai.models.windows.stitch import stitch
from napari_segxai.models.windows.tiling import Tiling

nets = pytest.importorskip("monai.networks.nets")

KINK = 5e-3
"""By how much a gradient in float32 may be off: where a value before a (leaky) ReLU lies so near to 0 that rounding decides its sign."""

DEEP = {
    "kernel_size": [3] * 4,
    "strides": [1, 2, 2, 2],
    "upsample_kernel_size": [2] * 3,
    "filters": [4, 8, 16, 32],
}

NETWORKS = {
    "DynUNet": DEEP,
    "DynUNet, residual": {**DEEP, "res_block": True},
    "DynUNet, smooth": {**DEEP, "act_name": "swish"},
    "DynUNet, batch norm": {**DEEP, "norm_name": "batch"},
    "UNet": {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    found = getattr(nets, name.partition(",")[0])
    return found(spatial_dims=3, in_channels=1, out_channels=3, **NETWORKS[name]).eval()


def gradient(network: nn.Module, x: Tensor, *, stitched: bool, batch: int = 1) -> Tensor:
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
        out = stitch(network, leaf, tiling, batch=lambda gradients: batch)
    (found,) = torch.autograd.grad(out[0, 1, 4:12, 8:16, 8:20].mean(), [leaf])
    return found.double()


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_all_windows_together(name):
    """In float64 to 1e-12, in float32 to rounding, from which the graph of all windows may itself be far: see `KINK`."""
    network, x = made(name), torch.rand(1, 1, 16, 24, 32, generator=torch.Generator().manual_seed(1))
    exact = [gradient(network.double(), x.double(), stitched=stitched) for stitched in (False, True)]
    assert float(exact[1].abs().max()) > 0
    assert apart(*exact) < 1e-12
    ours, theirs = (gradient(network.float(), x, stitched=stitched) for stitched in (False, True))
    assert apart(ours, theirs) < 1e-5
    assert apart(ours, exact[1]) < KINK


def test_what_several_windows_at_once_change_is_the_sign_of_values_at_a_kink():
    """A batch is rounded otherwise: by 1e-3 of DynUNet's gradient in a smooth image, though the logits differ by 1e-6; not where its activation is smooth."""
    coarse = torch.rand(1, 1, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    x = nn.functional.interpolate(coarse, (16, 24, 32), mode="trilinear")
    off = {}
    for name in ("DynUNet", "DynUNet, smooth"):
        network = made(name)
        exact = gradient(network.double(), x.double(), stitched=True)
        off[name] = apart(gradient(network.float(), x, stitched=False, batch=4), exact)
    assert off["DynUNet"] < KINK
    assert off["DynUNet, smooth"] < 2e-5
