"""The project's own networks of nnU-Net are those of dynamic_network_architectures, name by name and number by number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_segxai.models.zoo import nnunet

LAYERS = {
    "conv_bias": True,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}
FLAT = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "strides": [1, 2, [2, 1]], "kernel_sizes": 3}
DEEP = {
    "conv_op": nn.Conv3d,
    "norm_op": nn.InstanceNorm3d,
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
}
COMMON = {
    "input_channels": 2,
    "num_classes": 3,
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "n_conv_per_stage_decoder": [2, 1],
}

CASES = {
    "plain 3D": ("PlainConvUNet", {**DEEP, "n_conv_per_stage": [2, 2, 1]}),
    "plain 2D": ("PlainConvUNet", {**FLAT, "n_conv_per_stage": 2}),
    "norm last": ("PlainConvUNet", {**FLAT, "n_conv_per_stage": 1, "nonlin_first": True}),
    "dropout": (
        "PlainConvUNet",
        {**FLAT, "n_conv_per_stage": 1, "dropout_op": nn.Dropout2d, "dropout_op_kwargs": {"p": 0.3}},
    ),
    "batch norm": ("PlainConvUNet", {**DEEP, "n_conv_per_stage": 1, "norm_op": nn.BatchNorm3d}),
    "residual 3D": ("ResidualEncoderUNet", {**DEEP, "n_blocks_per_stage": [1, 3, 2]}),
    "residual 2D": ("ResidualEncoderUNet", {**FLAT, "n_blocks_per_stage": 2, "stem_channels": 5}),
    "residual up and down": ("ResidualUNet", {**DEEP, "n_blocks_per_stage": [1, 3, 2]}),
    "bottlenecks": (
        "ResidualEncoderUNet",
        {**DEEP, "n_blocks_per_stage": 2, "block": "BottleneckD", "bottleneck_channels": [2, 3, 4]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_same_names_and_same_numbers(name):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    from dynamic_network_architectures.building_blocks import residual

    kind, arguments = CASES[name]
    arguments = {**COMMON, **LAYERS, **arguments}
    theirs, ours = dict(arguments), dict(arguments)
    if block := arguments.get("block"):
        theirs["block"], ours["block"] = getattr(residual, block), getattr(nnunet, block)
    torch.manual_seed(0)
    other = getattr(unet, kind)(**theirs).eval()
    own = getattr(nnunet, kind)(**ours).eval()
    own.load_state_dict(other.state_dict())
    assert list(own.state_dict()) == list(other.state_dict())
    x = torch.randn(
        2, 2, *([8, 16, 12] if arguments["conv_op"] is nn.Conv3d else [16, 12]), requires_grad=True
    )
    found, expected = own(x), other(x)
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    for one, two in zip(
        torch.autograd.grad((found * weights).sum(), [x]),
        torch.autograd.grad((expected * weights).sum(), [x]),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
