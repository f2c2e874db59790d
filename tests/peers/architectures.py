"""Published segmentation networks with random weights, as their users build them.

Widths and depths are small where a constructor allows it: what a layer is for does not depend on them. Networks whose
source is no package are written out from their papers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peers  # noqa: F401 - makes torchvision importable
import torch
from torch import Tensor, nn

logging.getLogger("torch.distributed.elastic.multiprocessing.redirects").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Architecture:
    """How a network is built, and the image that it gets.

    Attributes
    ----------
    build
        Makes the network.
    shape
        (channels, *grid).
    labels
        Channels of its output.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    labels: int = 3


def _monai(name: str, *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import monai.networks.nets as nets

        return getattr(nets, name)(*args, **kwargs)

    return build


def _smp(name: str, encoder: str = "resnet18", **kwargs: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return getattr(smp, name)(encoder, encoder_weights=None, classes=3, **kwargs)

    return build


def _torchvision(name: str, **kwargs: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision.models import segmentation

        make = getattr(segmentation, name)
        return make(weights=None, weights_backbone=None, num_classes=3, **kwargs)

    return build


def _transformers(name: str, config: str, **kwargs: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        return getattr(transformers, name)(getattr(transformers, config)(num_labels=3, **kwargs))

    return build


def _upernet(backbone: str, **kwargs: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        inner = getattr(transformers, backbone)(
            out_features=["stage1", "stage2", "stage3", "stage4"], **kwargs
        )
        config = transformers.UperNetConfig(
            backbone_config=inner,
            num_labels=3,
            hidden_size=32,
            use_auxiliary_head=True,
            auxiliary_in_channels=64,
        )
        return transformers.UperNetForSemanticSegmentation(config)

    return build


def _of_queries(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import saved_networks

        from napari_segxai.models.zoo import transformers as zoo

        made = saved_networks.eomt() if name == "EoMT" else saved_networks.NETWORKS[name][0]()
        network = getattr(zoo, type(made).__name__)(made.config)
        network.load_state_dict(made.state_dict())
        return network

    return build


def _nnunet(name: str, deep_supervision: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from dynamic_network_architectures.architectures import unet

        common: dict[str, Any] = {
            "input_channels": 1,
            "n_stages": 4,
            "features_per_stage": (8, 16, 32, 64),
            "conv_op": nn.Conv3d,
            "kernel_sizes": 3,
            "strides": (1, 2, 2, 2),
            "num_classes": 3,
            "n_conv_per_stage_decoder": 2 if name == "PlainConvUNet" else 1,
            "conv_bias": True,
            "norm_op": nn.InstanceNorm3d,
            "norm_op_kwargs": {"affine": True},
            "nonlin": nn.LeakyReLU,
            "deep_supervision": deep_supervision,
        }
        per_stage = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
        return getattr(unet, name)(**common, **{per_stage: 2})

    return build


def double(a: int, b: int) -> nn.Sequential:
    """Return the double convolution of a U-Net."""
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())


class SmallUNet(nn.Module):
    """A U-Net of two levels, as tutorials write it."""

    def __init__(self, inputs: int = 1, labels: int = 3, width: int = 8):
        super().__init__()
        self.enc1, self.enc2 = double(inputs, width), double(width, 2 * width)
        self.bottleneck = double(2 * width, 4 * width)
        self.up2, self.dec2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), double(4 * width, 2 * width)
        self.up1, self.dec1 = nn.ConvTranspose2d(2 * width, width, 2, 2), double(2 * width, width)
        self.out = nn.Conv2d(width, labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pool = nn.functional.max_pool2d
        e1 = self.enc1(x)
        e2 = self.enc2(pool(e1, 2))
        d2 = self.dec2(torch.cat([self.up2(self.bottleneck(pool(e2, 2))), e2], 1))
        return self.out(self.dec1(torch.cat([self.up1(d2), e1], 1)))


class WNet(nn.Module):
    """Two U-Nets in series; the second sees the image and what the first one drew."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SmallUNet(1, 3), SmallUNet(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([self.first(x).softmax(1), x], 1))


class TwiceUNet(nn.Module):
    """One U-Net that refines its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.u = SmallUNet(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.u(torch.cat([x, torch.zeros_like(x).expand(-1, 3, -1, -1)], 1))
        return self.u(torch.cat([x, first.softmax(1)], 1))


class MeshNet(nn.Sequential):
    """Dilated convolutions at full resolution (Fedorov et al. 2017)."""

    def __init__(self, width: int = 8):
        parts: list[nn.Module] = []
        for k, dilation in enumerate((1, 1, 2, 4, 8, 16, 8, 4, 1)):
            parts.append(nn.Conv3d(1 if k == 0 else width, width, 3, padding=dilation, dilation=dilation))
            parts += [nn.BatchNorm3d(width), nn.ReLU()]
        super().__init__(*parts, nn.Conv3d(width, 3, 1))


class ESPNet(nn.Module):
    """The shape of ESPNet (Mehta et al. 2018): sums and concatenations of dilated branches, light decoder."""

    class Block(nn.Module):
        def __init__(self, a: int, b: int, stride: int = 1):
            super().__init__()
            n = b // 4
            self.reduce = nn.Conv2d(
                a, n, 3 if stride > 1 else 1, stride=stride, padding=1 if stride > 1 else 0
            )
            self.branches = nn.ModuleList(nn.Conv2d(n, n, 3, padding=d, dilation=d) for d in (1, 2, 4, 8))
            self.act = nn.PReLU(b)

        def forward(self, x: Tensor) -> Tensor:
            y = self.reduce(x)
            out = [branch(y) for branch in self.branches]
            for k in range(1, 4):
                out[k] = out[k] + out[k - 1]
            return self.act(torch.cat(out, 1))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.level2, self.level2b = self.Block(16, 32, 2), self.Block(32, 32)
        self.level3, self.level3b = self.Block(32, 64, 2), self.Block(64, 64)
        self.score3, self.score2 = nn.Conv2d(64, 3, 1), nn.Conv2d(32, 3, 1)
        self.up3, self.up2 = nn.ConvTranspose2d(3, 3, 2, 2), nn.ConvTranspose2d(3, 3, 2, 2)
        self.mix = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.PReLU(8))
        self.conv = nn.Sequential(nn.Conv2d(24, 8, 3, padding=1), nn.PReLU(8))
        self.up2b, self.classifier = nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        s = self.stem(x)
        e2 = self.level2b(self.level2(s))
        e3 = self.level3b(self.level3(e2))
        y = self.mix(torch.cat([self.up3(self.score3(e3)), self.score2(e2)], 1))
        return self.classifier(self.conv(torch.cat([self.up2b(y), s], 1)))


class LinkNet(nn.Module):
    """LinkNet (Chaurasia and Culurciello 2017): skip connections are added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, 2 * a, 3, stride=2, padding=1), nn.BatchNorm2d(2 * a), nn.ReLU())
            for a in (8, 16, 32)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * a, a, 2, 2), nn.BatchNorm2d(a), nn.ReLU())
            for a in (32, 16, 8)
        )
        self.final = nn.ConvTranspose2d(8, 3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for block in self.encoder:
            maps.append(block(maps[-1]))
        y = maps.pop()
        for block in self.decoder:
            y = block(y) + maps.pop()
        return self.final(y)


class Cellpose(nn.Module):
    """The shape of Cellpose (Stringer et al. 2021): the mean of the deepest map, a style, shifts what the decoder makes."""

    def __init__(self, width: int = 8):
        super().__init__()
        normed = lambda a, b: nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 3, padding=1))
        self.down0, self.down1, self.down2 = (
            normed(2, width),
            normed(width, 2 * width),
            normed(2 * width, 4 * width),
        )
        self.style = nn.Linear(4 * width, 2 * width)
        self.up1, self.up0 = normed(4 * width, 2 * width), normed(2 * width, width)
        self.output = normed(width, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool, larger = nn.functional.max_pool2d, nn.functional.interpolate
        a = self.down0(x)
        b = self.down1(pool(a, 2))
        c = self.down2(pool(b, 2))
        style = nn.functional.avg_pool2d(c, c.shape[-2:]).flatten(1)
        style = style / (style**2).sum(1, keepdim=True) ** 0.5
        y = self.up1(larger(c, scale_factor=2)) + b + self.style(style)[:, :, None, None]
        return self.output(self.up0(larger(y, scale_factor=2)) + a), style


class AsWideAsLabels(nn.Module):
    """A U-Net whose last decoder block has as many channels as there are labels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallUNet(1, 3, width=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SameWidthThroughout(nn.Module):
    """Every map has the channels of the output; the resolution falls and rises once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.d1 = nn.ConvTranspose2d(3, 3, 2, 2)
        self.head = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.d1(self.b(self.a(x).relu()).relu()).relu())


SEGFORMER: dict[str, Any] = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 32, 64],
    "decoder_hidden_size": 32,
    "num_attention_heads": [1, 2, 4, 8],
}

ARCHITECTURES = {
    "MONAI UNet": Architecture(_monai("UNet", 2, 1, 3, (8, 16, 32), (2, 2), num_res_units=2), (1, 64, 64)),
    "MONAI UNet 3D": Architecture(_monai("UNet", 3, 1, 3, (4, 8, 16, 32), (2, 2, 2)), (1, 32, 32, 32)),
    "MONAI BasicUNet": Architecture(_monai("BasicUNet", 3, 1, 3, (8, 8, 16, 32, 64, 8)), (1, 32, 32, 32)),
    "MONAI BasicUNetPlusPlus": Architecture(
        _monai("BasicUNetPlusPlus", 2, 1, 3, (8, 8, 16, 32, 64, 8)), (1, 64, 64)
    ),
    "MONAI AttentionUnet": Architecture(_monai("AttentionUnet", 2, 1, 3, (8, 16, 32), (2, 2)), (1, 64, 64)),
    "MONAI SegResNet": Architecture(
        _monai("SegResNet", 3, 8, 1, 3, blocks_down=(1, 2, 2, 2)), (1, 32, 32, 32)
    ),
    "MONAI SegResNetDS": Architecture(
        _monai("SegResNetDS", 3, 8, 1, 3, blocks_down=(1, 2, 2, 2)), (1, 32, 32, 32)
    ),
    "MONAI VNet": Architecture(_monai("VNet", 3, 1, 3), (1, 32, 32, 32)),
    "MONAI DynUNet": Architecture(
        _monai("DynUNet", 3, 1, 3, [3] * 4, [1, 2, 2, 2], [2, 2, 2], filters=[4, 8, 16, 32]), (1, 32, 32, 32)
    ),
    "MONAI DynUNet, deep supervision": Architecture(
        _monai(
            "DynUNet",
            3,
            1,
            3,
            [3] * 4,
            [1, 2, 2, 2],
            [2, 2, 2],
            filters=[4, 8, 16, 32],
            deep_supervision=True,
        ),
        (1, 32, 32, 32),
    ),
    "MONAI UNETR": Architecture(
        _monai("UNETR", 1, 3, (32, 32, 32), feature_size=4, hidden_size=48, mlp_dim=96, num_heads=4),
        (1, 32, 32, 32),
    ),
    "MONAI SwinUNETR": Architecture(_monai("SwinUNETR", 1, 3, feature_size=12, spatial_dims=2), (1, 64, 64)),
    "MONAI SwinUNETR 3D": Architecture(_monai("SwinUNETR", 1, 3, feature_size=12), (1, 64, 64, 64)),
    "MONAI FlexibleUNet": Architecture(
        _monai("FlexibleUNet", 3, 3, "efficientnet-b0", decoder_channels=(32, 16, 16, 8, 8)), (3, 64, 64)
    ),
    "MONAI HighResNet": Architecture(_monai("HighResNet", 3, 1, 3), (1, 32, 32, 32)),
    "nnU-Net PlainConvUNet": Architecture(_nnunet("PlainConvUNet"), (1, 32, 32, 32)),
    "nnU-Net PlainConvUNet, deep supervision": Architecture(_nnunet("PlainConvUNet", True), (1, 32, 32, 32)),
    "nnU-Net ResidualEncoderUNet": Architecture(_nnunet("ResidualEncoderUNet"), (1, 32, 32, 32)),
    "SMP Unet": Architecture(_smp("Unet"), (3, 64, 64)),
    "SMP Unet, EfficientNet": Architecture(_smp("Unet", "efficientnet-b0"), (3, 64, 64)),
    "SMP Unet, MobileNetV2": Architecture(_smp("Unet", "mobilenet_v2"), (3, 64, 64)),
    "SMP UnetPlusPlus": Architecture(_smp("UnetPlusPlus"), (3, 64, 64)),
    "SMP UnetPlusPlus, timm": Architecture(_smp("UnetPlusPlus", "tu-resnet18"), (3, 64, 64)),
    "SMP Linknet": Architecture(_smp("Linknet"), (3, 64, 64)),
    "SMP FPN": Architecture(_smp("FPN"), (3, 64, 64)),
    "SMP MAnet": Architecture(_smp("MAnet"), (3, 64, 64)),
    "SMP PAN": Architecture(_smp("PAN"), (3, 128, 128)),
    "SMP PSPNet": Architecture(_smp("PSPNet"), (3, 64, 64)),
    "SMP DeepLabV3": Architecture(_smp("DeepLabV3"), (3, 64, 64)),
    "SMP DeepLabV3Plus": Architecture(_smp("DeepLabV3Plus"), (3, 64, 64)),
    "SMP Segformer": Architecture(_smp("Segformer", "mit_b0"), (3, 128, 128)),
    "SMP UPerNet": Architecture(_smp("UPerNet"), (3, 128, 128)),
    "torchvision FCN": Architecture(_torchvision("fcn_resnet50"), (3, 64, 64)),
    "torchvision DeepLabV3": Architecture(_torchvision("deeplabv3_resnet50", aux_loss=True), (3, 64, 64)),
    "torchvision LR-ASPP": Architecture(_torchvision("lraspp_mobilenet_v3_large"), (3, 64, 64)),
    "transformers SegFormer": Architecture(
        _transformers("SegformerForSemanticSegmentation", "SegformerConfig", **SEGFORMER), (3, 128, 128)
    ),
    "transformers UperNet, ConvNeXt": Architecture(
        _upernet("ConvNextConfig", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 64, 64]), (3, 128, 128)
    ),
    "transformers UperNet, Swin": Architecture(
        _upernet("SwinConfig", embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8]), (3, 128, 128)
    ),
    "transformers DPT": Architecture(
        _transformers(
            "DPTForSemanticSegmentation",
            "DPTConfig",
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=96,
            image_size=64,
            patch_size=8,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 16, 32, 32],
            fusion_hidden_size=16,
        ),
        (3, 64, 64),
    ),
    "transformers MobileViT": Architecture(
        _transformers("MobileViTForSemanticSegmentation", "MobileViTConfig", image_size=128), (3, 128, 128)
    ),
    "transformers MobileNetV2": Architecture(
        _transformers(
            "MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", depth_multiplier=0.35, image_size=64
        ),
        (3, 64, 64),
    ),
    "transformers BEiT": Architecture(
        _transformers(
            "BeitForSemanticSegmentation",
            "BeitConfig",
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=96,
            image_size=64,
            patch_size=8,
            out_indices=[1, 2, 3, 4],
            pool_scales=[1, 2, 3, 6],
        ),
        (3, 64, 64),
    ),
    "transformers MaskFormer": Architecture(_of_queries("MaskFormer"), (3, 96, 128)),
    "transformers Mask2Former": Architecture(_of_queries("Mask2Former"), (3, 96, 128)),
    "transformers EoMT": Architecture(_of_queries("EoMT"), (3, 64, 64)),
    "W-Net": Architecture(WNet, (1, 64, 64)),
    "U-Net called twice": Architecture(TwiceUNet, (1, 64, 64)),
    "MeshNet": Architecture(MeshNet, (1, 24, 24, 24)),
    "ESPNet-like": Architecture(ESPNet, (3, 64, 64)),
    "LinkNet": Architecture(LinkNet, (3, 64, 64)),
    "Cellpose-like": Architecture(Cellpose, (2, 64, 64)),
    "U-Net as wide as its labels": Architecture(AsWideAsLabels, (1, 64, 64)),
    "same width throughout": Architecture(SameWidthThroughout, (1, 64, 64)),
}
