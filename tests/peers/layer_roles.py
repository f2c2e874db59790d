"""What the layers of published architectures are for, as a reader of their code would say, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from architectures import ARCHITECTURES
from torch import Tensor, nn

from napari_segxai.models.introspection.layers import NetworkLayer, list_layers
from napari_segxai.models.introspection.roles import Roles
from napari_segxai.models.introspection.trace import trace_pass

PAGE = Path(__file__).parents[2] / "docs" / "network_layers.md"


@dataclass(frozen=True)
class Checked:
    """What was found right by hand.

    Attributes
    ----------
    bottlenecks, last
        Names of the layers.
    skips
        Number of layers from which skip connections leave.
    remark
        Where one can be of another opinion.
    """

    bottlenecks: tuple[str, ...]
    last: str
    skips: int
    remark: str = ""


DEEP = "no decoder: resolution rises after the last layer only, which is said; the end of the encoder is a choice as good"

CHECKED = {
    "MONAI UNet": Checked(("model.1.submodule.1.submodule",), "model.2.0", 1),
    "MONAI UNet 3D": Checked(("model.1.submodule.1.submodule.1.submodule",), "model.1", 2),
    "MONAI BasicUNet": Checked(("down_4",), "upcat_1", 4),
    "MONAI BasicUNetPlusPlus": Checked(("conv_4_0",), "upcat_0_4", 9),
    "MONAI AttentionUnet": Checked(("model.1.submodule.1.submodule",), "model.1.merge", 2),
    "MONAI SegResNet": Checked(("down_layers.3",), "act_mod", 3),
    "MONAI SegResNetDS": Checked(("encoder.layers.3.blocks",), "up_layers.2.blocks", 3),
    "MONAI VNet": Checked(("down_tr256",), "up_tr32", 4),
    "MONAI DynUNet": Checked(("bottleneck",), "upsamples.2", 3),
    "MONAI DynUNet, deep supervision": Checked(("bottleneck",), "upsamples.2", 3),
    "MONAI UNETR": Checked(("vit.blocks.11",), "decoder2", 4),
    "MONAI SwinUNETR": Checked(("encoder10",), "decoder1", 5),
    "MONAI SwinUNETR 3D": Checked(("encoder10",), "decoder1", 5),
    "MONAI FlexibleUNet": Checked(("encoder._blocks.6",), "decoder", 4),
    "MONAI HighResNet": Checked((), "blocks.10", 0),
    "nnU-Net PlainConvUNet": Checked(("encoder.stages.3",), "decoder.stages.2", 3),
    "nnU-Net PlainConvUNet, deep supervision": Checked(("encoder.stages.3",), "decoder.stages.2", 3),
    "nnU-Net ResidualEncoderUNet": Checked(("encoder.stages.3",), "decoder.stages.2", 3),
    "SMP Unet": Checked(("encoder.layer4",), "decoder.blocks.4", 4),
    "SMP Unet, EfficientNet": Checked(("encoder._blocks.15",), "decoder", 4),
    "SMP Unet, MobileNetV2": Checked(("encoder.features.17",), "decoder", 4),
    "SMP UnetPlusPlus": Checked(("encoder.layer4",), "decoder.blocks.x_0_4", 9),
    "SMP UnetPlusPlus, timm": Checked(("encoder.model.layer4",), "decoder.blocks.x_0_4", 9),
    "SMP Linknet": Checked(("encoder.layer4",), "decoder.blocks.4", 4),
    "SMP FPN": Checked(
        ("decoder.seg_blocks.0.block.0.block",),
        "decoder",
        4,
        "the end of the encoder (`decoder.p5`) is a choice as good: the pyramid leaves the lowest resolution twice; one of the skip connections is its second branch",
    ),
    "SMP MAnet": Checked(
        ("decoder.blocks.0.hl_conv",), "decoder.blocks.4", 4, "`decoder.center` is a choice as good"
    ),
    "SMP PAN": Checked(("decoder.gau3",), "decoder.gau1", 2, "`decoder.fpa` is a choice as good"),
    "SMP PSPNet": Checked(("decoder.psp",), "decoder.conv", 0, DEEP),
    "SMP DeepLabV3": Checked(("decoder",), "decoder", 0, DEEP),
    "SMP DeepLabV3Plus": Checked(("decoder.aspp",), "decoder", 1),
    "SMP Segformer": Checked(("encoder.block4",), "decoder", 3),
    "SMP UPerNet": Checked(("decoder.psp",), "decoder.fusion_block", 3),
    "torchvision FCN": Checked(("classifier.2",), "classifier.2", 0, DEEP),
    "torchvision DeepLabV3": Checked(("classifier.3",), "classifier.3", 0, DEEP),
    "torchvision LR-ASPP": Checked(("backbone.15",), "classifier.cbr", 1),
    "transformers SegFormer": Checked(("segformer.stages.3",), "decode_head.activation", 3),
    "transformers UperNet, ConvNeXt": Checked(("decode_head.bottleneck",), "decode_head.fpn_bottleneck", 3),
    "transformers UperNet, Swin": Checked(("decode_head.bottleneck",), "decode_head.fpn_bottleneck", 3),
    "transformers DPT": Checked(
        ("neck.fusion_stage.layers.0.residual_layer2",),
        "head.head.2",
        3,
        "all tokens have one resolution; the lowest one is made after them, in the decoder",
    ),
    "transformers MobileViT": Checked(("segmentation_head.aspp",), "segmentation_head.aspp", 0, DEEP),
    "transformers MobileNetV2": Checked(
        ("segmentation_head.conv_projection",), "segmentation_head.conv_projection", 0, DEEP
    ),
    "transformers BEiT": Checked(("decode_head.psp_bottleneck",), "decode_head.fpn_bottleneck", 3),
    "transformers MaskFormer": Checked(
        ("model.pixel_level_module.decoder.fpn.stem",),
        "model.pixel_level_module.decoder.fpn.layers.2",
        3,
        "masks of queries are drawn on the last map; the queries, and what they read, are beside the path",
    ),
    "transformers Mask2Former": Checked(
        ("model.pixel_level_module.encoder.swin.encoder.layers.3.blocks.0",),
        "model.pixel_level_module.decoder.layer_1",
        3,
        "as MaskFormer",
    ),
    "transformers EoMT": Checked(
        ("layers.1",),
        "upscale_block.block.1.activation",
        0,
        "all tokens have one resolution; from the layer on in which the queries join them, their place cannot be told",
    ),
    "W-Net": Checked(("first.bottleneck", "second.bottleneck"), "second.dec1", 5),
    "U-Net called twice": Checked(("u.bottleneck", "u.bottleneck@2"), "u.dec1@2", 5),
    "MeshNet": Checked((), "26", 0),
    "ESPNet-like": Checked(("level3b",), "conv", 2),
    "LinkNet": Checked(("encoder.2",), "decoder.2", 3, "the sum with the last skip connection has no module"),
    "Cellpose-like": Checked(
        ("down2",),
        "output.1",
        2,
        "the style, the mean of the deepest map, shifts all places alike: beside the path",
    ),
    "U-Net as wide as its labels": Checked(("net.bottleneck",), "net.dec1", 2),
    "same width throughout": Checked(("b",), "d1", 0),
}


def _pick(out: Any) -> Tensor:
    while not isinstance(out, Tensor):
        values = getattr(out, "logits", None)
        if values is None:
            values = next(iter(out.values())) if isinstance(out, dict) else out[0]
        out = values
    return out[:, 0] if out.ndim == 6 else out  # MONAI stacks the maps of a deep supervision


@lru_cache(maxsize=2)
def find_roles_of(
    name: str,
) -> tuple[tuple[NetworkLayer, ...], Roles, nn.Module, Callable[[Tensor], Tensor]]:
    """Build an architecture and tell what its layers are for."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    network = architecture.build().eval()
    for module in network.modules():  # weights of zero, as some begin with, would hide what depends on what
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 1 and not parameter.any():
                nn.init.uniform_(parameter, -0.1, 0.1)
    run = lambda x: _pick(network(x))
    layers, roles = list_layers(trace_pass(network, run, torch.rand(1, *architecture.shape)), {})
    return layers, roles, network, run


def write_page() -> None:
    """Write docs/network_layers.md."""
    rows = [
        "| network | bottleneck | last map before the labels | skip connections leave from | remark |",
        "|---|---|---|---|---|",
    ]
    for name, checked in CHECKED.items():
        _, roles, _, _ = find_roles_of(name)
        skips = dict.fromkeys(f"{skip.source} (1/{skip.stride:.3g})" for skip in roles.skips)
        bottom = ", ".join(f"`{b}`" for b in roles.bottlenecks) or f"none; instead `{roles.middle}`"
        told = [*roles.notes, *([checked.remark] if checked.remark else [])]
        rows.append(
            f"| {name} | {bottom} | `{roles.last}` | {', '.join(skips) or 'none'} | {'; '.join(told)} |"
        )
    before, _, after = PAGE.read_text().partition("<!-- table -->")
    after = after.partition("<!-- end of table -->")[2]
    PAGE.write_text(before + "<!-- table -->\n" + "\n".join(rows) + "\n<!-- end of table -->" + after)


if __name__ == "__main__":
    write_page()
