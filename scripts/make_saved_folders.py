"""Make the folders of tests/data/huggingface and tests/data/smp, with the packages themselves: tiny networks with random weights.

usage: python scripts/make_saved_folders.py (in an environment with transformers, segmentation-models-pytorch and torchvision)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
import transformers as hf
from torch import nn

DATA = Path(__file__).parents[1] / "tests" / "data"

LABELS: dict[str, Any] = {
    "id2label": {0: "background", 1: "liver", 2: "tumour"},
    "label2id": {"background": 0, "liver": 1, "tumour": 2},
}

SEGFORMER: dict[str, Any] = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [4, 4, 8, 8],
    "decoder_hidden_size": 8,
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
    "sr_ratios": [4, 2, 1, 1],
}


def random_statistics(network: nn.Module) -> None:
    """Give batch normalisations statistics, so that activations neither vanish nor grow."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.1, 0.3)


def save(name: str, network: Any, processor: Any, *, weights: bool = False) -> None:
    """Save a network of transformers and its image processor; of most the settings alone."""
    folder = DATA / "huggingface" / name
    random_statistics(network)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    if not weights:
        (folder / "model.safetensors").unlink()


def main() -> None:
    """Make all folders."""
    torch.manual_seed(0)
    save(
        "segformer",
        hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**SEGFORMER, **LABELS)),
        hf.SegformerImageProcessor(size={"height": 64, "width": 96}),
        weights=True,
    )
    save(
        "mobilevit",
        hf.MobileViTForSemanticSegmentation(
            hf.MobileViTConfig(
                hidden_sizes=[8, 8, 8], neck_hidden_sizes=[4] * 7, aspp_out_channels=4, **LABELS
            )
        ),
        hf.MobileViTImageProcessor(
            size={"shortest_edge": 544}, crop_size={"height": 512, "width": 512}, resample=2
        ),
    )
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = hf.SwinConfig(out_features=stages, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2])
    save(
        "mask2former",
        hf.Mask2FormerForUniversalSegmentation(
            hf.Mask2FormerConfig(
                backbone_config=backbone,
                hidden_dim=8,
                num_attention_heads=2,
                encoder_layers=1,
                decoder_layers=2,
                **LABELS,
            )
        ),
        hf.Mask2FormerImageProcessor(),
    )
    save(
        "dpt",
        hf.DPTForSemanticSegmentation(
            hf.DPTConfig(
                hidden_size=8,
                num_hidden_layers=4,
                num_attention_heads=2,
                backbone_out_indices=[0, 1, 2, 3],
                intermediate_size=8,
                neck_hidden_sizes=[4] * 4,
                fusion_hidden_size=4,
                **LABELS,
            )
        ),
        hf.DPTImageProcessor(size={"height": 384, "width": 384}),
    )
    network = smp.Unet("resnet18", encoder_weights=None, classes=3, in_channels=1)
    network.save_pretrained(DATA / "smp" / "unet")
    for name in ("README.md", "model.safetensors"):
        (DATA / "smp" / "unet" / name).unlink()


if __name__ == "__main__":
    main()
