"""Folders of nnU-Net's results, written as nnU-Net writes them, with untrained networks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_segxai.models.zoo.nnunet import PlainConvUNet, ResidualEncoderUNet

ROOT = "nnUNetTrainer__nnUNetPlans__3d_fullres"

LAYERS = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}

STAGES = {
    "n_stages": 2,
    "features_per_stage": [2, 4],
    "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
}

CONFIGURATION = {
    "patch_size": [8, 16, 16],
    "spacing": [2.0, 1.0, 1.0],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {**STAGES, **LAYERS},
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    },
}

DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1, "lesion": 2}}


def plans(configuration: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return plans.json, with changes to its one configuration and to itself."""
    numbers = {"mean": 40.0, "std": 100.0, "percentile_00_5": -150.0, "percentile_99_5": 250.0}
    return {
        "dataset_name": "Dataset007_Spheres",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": numbers},
        "configurations": {"3d_fullres": copy.deepcopy(CONFIGURATION) | (configuration or {})},
        **changes,
    }


def network(
    inputs: int = 1,
    outputs: int = 3,
    seed: int = 0,
    residual: bool = False,
    kind: type[nn.Module] | None = None,
    **changes: Any,
) -> nn.Module:
    """Return an untrained network of these plans."""
    kit = {
        **LAYERS,
        "conv_op": nn.Conv3d,
        "norm_op": nn.InstanceNorm3d,
        "nonlin": nn.LeakyReLU,
        **STAGES,
        **changes,
    }
    if residual:
        kit["n_blocks_per_stage"] = kit.pop("n_conv_per_stage")
    torch.manual_seed(seed)
    kind = kind or (ResidualEncoderUNet if residual else PlainConvUNet)
    return kind(input_channels=inputs, num_classes=outputs, **kit).eval()


def save_checkpoint(path: Path, module: nn.Module, **changes: Any) -> Path:
    """Write a checkpoint as nnU-Net does, with numbers of NumPy in its log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = {
        "network_weights": module.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5)],
            "train_losses": [np.float32(1.5)],
            "steps": [np.int64(2)],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 2,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 2),
        **changes,
    }
    torch.save(saved, path)
    return path


def write_results(
    folder: Path,
    *,
    folds: tuple[str, ...] = ("fold_0",),
    told: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    module: nn.Module | None = None,
    name: str = ROOT,
    **saved: Any,
) -> Path:
    """Write the folder of a configuration and return it."""
    root = folder / name
    root.mkdir(parents=True)
    (root / "plans.json").write_text(json.dumps(plans() if told is None else told))
    (root / "dataset.json").write_text(json.dumps(DATASET if dataset is None else dataset))
    for k, fold in enumerate(folds):
        save_checkpoint(root / fold / "checkpoint_final.pth", module or network(seed=k), **saved)
    return root
