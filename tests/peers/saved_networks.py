"""Tiny networks of transformers and of segmentation-models-pytorch, as their users save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peers  # noqa: F401 - makes torchvision importable
import segmentation_models_pytorch as smp
import torch
import transformers as hf
from torch import nn

NAMES = {0: "background", 1: "liver", 2: "tumour"}
LABELS: dict[str, Any] = {"id2label": NAMES, "label2id": {name: k for k, name in NAMES.items()}}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
SWIN: dict[str, Any] = {
    **STAGES,
    "embed_dim": 16,
    "depths": [1] * 4,
    "num_heads": [1, 2, 4, 8],
    "window_size": 4,
}
VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 64,
}
QUERIES: dict[str, Any] = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_queries": 10, "encoder_layers": 1, "decoder_layers": 2,
    "num_attention_heads": 4, "encoder_feedforward_dim": 32, "dim_feedforward": 32}  # fmt: skip


def _upernet(backbone: Any) -> Any:
    return hf.UperNetForSemanticSegmentation(
        hf.UperNetConfig(backbone_config=backbone, hidden_size=32, auxiliary_in_channels=64, **LABELS)
    )


def _maskformer() -> Any:
    decoder = hf.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=10,
        encoder_attention_heads=4, decoder_attention_heads=4,
    )  # fmt: skip
    backbone = hf.MaskFormerSwinConfig(**SWIN, image_size=128)
    return hf.MaskFormerForInstanceSegmentation(
        hf.MaskFormerConfig(
            backbone_config=backbone,
            decoder_config=decoder,
            fpn_feature_size=32,
            mask_feature_size=32,
            **LABELS,
        )
    )


SEGFORMER: dict[str, Any] = {"depths": [1] * 4, "hidden_sizes": [8, 16, 32, 64], "decoder_hidden_size": 32, "num_attention_heads": [1, 2, 4, 8]}  # fmt: skip
SQUARE = {"height": 64, "width": 64}
EDGES = {"shortest_edge": 96, "longest_edge": 160}
CROPPED: dict[str, Any] = {
    "size": {"shortest_edge": 136},
    "crop_size": {"height": 128, "width": 128},
    "resample": 2,
}

NETWORKS = {
    "SegFormer": (
        lambda: hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**SEGFORMER, **LABELS)),
        lambda: hf.SegformerImageProcessor(size={"height": 128, "width": 160}),
    ),
    "UperNet, ConvNeXt": (
        lambda: _upernet(hf.ConvNextConfig(**STAGES, depths=[1] * 4, hidden_sizes=[8, 16, 64, 64])),
        lambda: hf.SegformerImageProcessor(size={"height": 128, "width": 128}),
    ),
    "UperNet, Swin": (
        lambda: _upernet(hf.SwinConfig(**SWIN, image_size=128)),
        lambda: hf.SegformerImageProcessor(size={"height": 128, "width": 128}),
    ),
    "DPT": (
        lambda: hf.DPTForSemanticSegmentation(
            hf.DPTConfig(**VIT, patch_size=16, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 16, 32, 32], fusion_hidden_size=16, **LABELS)
        ),
        lambda: hf.DPTImageProcessor(size=SQUARE),
    ),
    "BEiT": (
        lambda: hf.BeitForSemanticSegmentation(
            hf.BeitConfig(**VIT, patch_size=8, out_indices=[1, 2, 3, 4], use_relative_position_bias=True, **LABELS)
        ),
        lambda: hf.BeitImageProcessor(size=SQUARE),
    ),
    "Data2Vec": (
        lambda: hf.Data2VecVisionForSemanticSegmentation(
            hf.Data2VecVisionConfig(**VIT, patch_size=8, out_indices=[1, 2, 3, 4], **LABELS)
        ),
        lambda: hf.BeitImageProcessor(size=SQUARE),
    ),
    "MobileViT": (
        lambda: hf.MobileViTForSemanticSegmentation(
            hf.MobileViTConfig(hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], aspp_out_channels=16, **LABELS)
        ),
        lambda: hf.MobileViTImageProcessor(**CROPPED),
    ),
    "MobileViTV2": (
        lambda: hf.MobileViTV2ForSemanticSegmentation(
            hf.MobileViTV2Config(base_attn_unit_dims=[16, 24, 32], width_multiplier=0.25, aspp_out_channels=16, **LABELS)
        ),
        lambda: hf.MobileViTImageProcessor(**CROPPED),
    ),
    "MobileNetV2": (
        lambda: hf.MobileNetV2ForSemanticSegmentation(hf.MobileNetV2Config(depth_multiplier=0.25, **LABELS)),
        lambda: hf.MobileNetV2ImageProcessor(size={"shortest_edge": 100}, crop_size={"height": 96, "width": 96}),
    ),
    "Mask2Former": (
        lambda: hf.Mask2FormerForUniversalSegmentation(
            hf.Mask2FormerConfig(backbone_config=hf.SwinConfig(**SWIN, image_size=128), **QUERIES, **LABELS)
        ),
        lambda: hf.Mask2FormerImageProcessor(size=EDGES),
    ),
    "MaskFormer": (_maskformer, lambda: hf.MaskFormerImageProcessor(size=EDGES)),
}  # fmt: skip
"""What makes the network, and its image processor."""


def eomt() -> Any:
    """Make one without the masks of attention, which training takes away step by step."""
    config = hf.EomtConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=8, num_queries=10, num_blocks=2, **LABELS
    )  # fmt: skip
    network = hf.EomtForUniversalSegmentation(config)
    network.attn_mask_probs.zero_()
    return network


SMP: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Unet": ("Unet", "resnet18", {}),
    "Unet, one sigmoid": ("Unet", "efficientnet-b0", {"classes": 1, "activation": "sigmoid", "in_channels": 1}),
    "Unet, timm": ("Unet", "tu-mobilenetv3_small_050", {"classes": 1}),
    "UnetPlusPlus": ("UnetPlusPlus", "mobilenet_v2", {}),
    "FPN": ("FPN", "resnet18", {}),
    "DeepLabV3Plus": ("DeepLabV3Plus", "resnet18", {"aux_params": {"classes": 2}}),
    "MAnet, softmax": ("MAnet", "resnet18", {"activation": "softmax2d"}),
    "Segformer": ("Segformer", "mit_b0", {}),
}  # fmt: skip
"""Class, encoder and what else is given."""


def random_statistics(network: nn.Module) -> None:
    """Give batch normalisations statistics, so that activations neither vanish nor grow."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.3, 0.6)


def save_transformers(name: str, folder: Path) -> tuple[Any, Any]:
    """Save a network and its image processor; returns both."""
    torch.manual_seed(0)
    network, processor = (make() for make in NETWORKS[name])
    random_statistics(network)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return network, processor


def save_smp(name: str, folder: Path) -> Any:
    """Save a network of SMP; returns it."""
    torch.manual_seed(0)
    kind, encoder, more = SMP[name]
    network = getattr(smp, kind)(encoder, encoder_weights=None, **{"classes": 3, **more})
    random_statistics(network)
    network.eval().save_pretrained(folder)
    return network
