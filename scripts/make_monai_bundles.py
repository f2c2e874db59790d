"""Make the small MONAI bundles of tests/data/monai_bundle with MONAI itself, and freeze what it makes of a case.

Needs the environment of the peers (MONAI 1.6.1; `make test-peers` makes it); takes a minute on two cores:

    .venv-peers/bin/python scripts/make_monai_bundles.py tests/data/monai_bundle

`ct`: a volume, turned and resampled, a U-Net through Gaussian windows, softmax. `mri`: two channels with nothing around them, a SegResNet
through constant windows, two sigmoid outputs; its configuration is YAML. `photo`: a picture, resized, a U-Net without windows.
A bundle holds its configuration, its weights and its network as TorchScript, as `monai.bundle ckpt_export` writes it; ``frozen/`` holds the
case, and what the transforms, the inferer and the network make of it that MONAI's own parser builds from these files: `input`, `logits`, `labels`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript
from PIL import Image
from scipy.ndimage import gaussian_filter

STEPS = 150

COMMON: dict[str, Any] = {
    "imports": ["$import os", "$import glob"],
    "bundle_root": ".",
    "image_key": "image",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cpu')",
    "network": "$@network_def.to(@device)",
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': i} for i in glob.glob('*')]",
        "transform": "@preprocessing",
    },
    "checkpointloader": {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    },
    "evaluating": ["$@evaluator.run()"],
}


def chain(*transforms: dict[str, Any]) -> dict[str, Any]:
    """Return transforms as MONAI writes them."""
    return {"_target_": "Compose", "transforms": list(transforms)}


def step(name: str, keys: Any = "@image_key", **arguments: Any) -> dict[str, Any]:
    """Return one transform."""
    return {"_target_": name, "keys": keys, **arguments}


INVERT = step(
    "Invertd",
    "pred",
    transform="@preprocessing",
    orig_keys="@image_key",
    nearest_interp=False,
    to_tensor=True,
)
SAVE = step("SaveImaged", "pred", output_dir="@output_dir")

BUNDLES: dict[str, dict[str, Any]] = {
    "ct": {
        "labels": 3,
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": "$@labels",
            "channels": [4, 8, 12],
            "strides": [2, 2],
            "num_res_units": 1,
            "norm": "instance",
        },
        "preprocessing": chain(
            step("LoadImaged"),
            step("EnsureChannelFirstd"),
            step("Orientationd", axcodes="RAS"),
            step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
            step("ScaleIntensityRanged", a_min=-150, a_max=250, b_min=-1.0, b_max=1.0, clip=True),
            step("EnsureTyped"),
        ),
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [16, 16, 12],
            "sw_batch_size": 4,
            "overlap": 0.5,
            "mode": "gaussian",
        },
        "postprocessing": chain(
            step("Activationsd", "pred", softmax=True), INVERT, step("AsDiscreted", "pred", argmax=True), SAVE
        ),
    },
    "mri": {
        "modalities": ["T1", "T2"],
        "network_def": {
            "_target_": "monai.networks.nets.SegResNet",
            "in_channels": "$len(@modalities)",
            "out_channels": 2,
            "init_filters": 8,
            "blocks_down": [1, 1],
            "blocks_up": [1],
        },
        "preprocessing": chain(
            step("LoadImaged"),
            step("EnsureChannelFirstd", channel_dim=-1),
            step("CropForegroundd", source_key="@image_key"),
            step("NormalizeIntensityd", nonzero=True, channel_wise=True),
        ),
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.25},
        "postprocessing": chain(
            step("Activationsd", "pred", sigmoid=True),
            INVERT,
            step("AsDiscreted", "pred", threshold=0.5),
            SAVE,
        ),
    },
    "photo": {
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 2,
            "channels": [4, 8, 12],
            "strides": [2, 2],
            "norm": "batch",
        },
        "preprocessing": chain(
            step("LoadImaged"),
            step("EnsureChannelFirstd", channel_dim=-1),
            step("Resized", spatial_size=[48, 32], mode="bilinear"),
            step("ScaleIntensityd"),
        ),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": chain(INVERT, step("AsDiscreted", "pred", argmax=True), SAVE),
    },
}

CHANNELS = {"ct": ["CT"], "mri": ["T1", "T2"], "photo": ["R", "G", "B"]}
LABELS = {"ct": ["background", "organ", "lesion"], "mri": ["whole", "core"], "photo": ["background", "disc"]}


def balls(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image in [0, 1] with a ball in a ball, and its values 0, 1 and 2."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    center = np.array(shape) * random.uniform(0.4, 0.6, len(shape))
    far = np.linalg.norm(
        (grid - center.reshape(-1, *(1,) * len(shape))) / np.array(shape).reshape(-1, *(1,) * len(shape)),
        axis=0,
    )
    values = (far < 0.3).astype(np.uint8) + (far < 0.15)
    noise = gaussian_filter(random.normal(size=shape), 1)
    return 0.2 + 0.25 * values + 0.1 * noise / noise.std(), values


def case(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a file, channels last, and what is true."""
    if name == "ct":
        image, values = balls((30, 26, 18), seed)
        return np.round(600 * image - 250).astype(np.int16), values
    if name == "mri":
        image, values = balls((22, 24, 20), seed)
        both = np.stack([image, 1 - image], -1).clip(0.01)
        both[~_inside(values.shape)] = 0
        return np.round(1000 * both).astype(np.float32), values
    image, values = balls((40, 56), seed)
    return np.round(255 * np.stack([image, image**2, 1 - image], -1).clip(0, 1)).astype(np.uint8), values


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[tuple(slice(2, -3) for _ in shape)] = True
    return inside


def write(name: str, path: Path, array: np.ndarray) -> Path:
    """Write a case as a file; a volume is oblique, and its axes are not those of the network."""
    if name == "photo":
        Image.fromarray(array).save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    angle = np.deg2rad(7)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.1, 1.3, 1.7] if name == "ct" else [1, -1, 1.5])
    affine[:3, 3] = (12, -30, 5)
    nibabel.save(nibabel.Nifti1Image(array, affine), path.with_suffix(".nii.gz"))
    return path.with_suffix(".nii.gz")


def make(name: str, root: Path) -> None:
    """Make one bundle."""
    torch.manual_seed(0)
    for folder in ("configs", "models", "frozen"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    config = {**COMMON, **BUNDLES[name]}
    if name == "mri":
        (root / "configs/inference.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    else:
        (root / "configs/inference.json").write_text(json.dumps(config, indent=2) + "\n")
    outputs = config["network_def"]["out_channels"]
    inputs: dict[str, Any] = {"type": "image", "channel_def": dict(enumerate(CHANNELS[name]))}
    if name == "photo":
        inputs["spatial_shape"] = [48, 32]
    metadata = {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "name": f"balls in {name}",
        "task": "segmentation of synthetic balls",
        "description": "For tests alone.",
        "network_data_format": {
            "inputs": {"image": inputs},
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "channel_def": dict(enumerate(LABELS[name])),
                }
            },
        },
    }
    (root / "configs/metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    parser = ConfigParser(config)
    network, inferer = parser.get_parsed_content("network"), parser.get_parsed_content("inferer")
    preprocessing = parser.get_parsed_content("preprocessing")
    train(name, network, preprocessing, root)
    state = network.state_dict()
    torch.save({"model": state} if name == "mri" else state, root / "models/model.pt")
    network.eval()
    script = convert_to_torchscript(network)
    save_net_with_metadata(
        script, str(root / "models/model"), include_config_vals=False, meta_values=metadata
    )
    path = write(name, root / "frozen/case", case(name, 99)[0])
    data = preprocessing({"image": str(path)})
    with torch.no_grad():
        logits = inferer(data["image"][None].as_tensor(), network)[0]
    data["pred"] = type(data["image"])(
        logits, meta=data["image"].meta, applied_operations=data["image"].applied_operations
    )
    transforms = parser.get_parsed_content("postprocessing").transforms
    for one in transforms:
        if type(one).__name__ != "SaveImaged":
            data = one(data)
    labels = np.asarray(data["pred"]).astype(np.uint8)
    print(name, outputs, data["image"].shape, {int(k): int((labels == k).sum()) for k in np.unique(labels)})
    np.savez_compressed(
        root / "frozen/monai.npz", input=np.asarray(data["image"]), logits=logits.numpy(), labels=labels
    )


def train(name: str, network: torch.nn.Module, preprocessing: Any, root: Path) -> None:
    """Train for seconds on other cases, prepared by the bundle's own transforms."""
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    many = []
    for seed in range(4):
        array, values = case(name, seed)
        image = preprocessing({"image": str(write(name, root / "frozen/train", array))})["image"]
        path = write(
            "ct" if name != "photo" else name,
            root / "frozen/truth",
            values if name != "photo" else np.repeat(values[..., None], 3, -1),
        )
        if name == "mri":
            truth = torch.from_numpy(values[tuple(slice(2, -3) for _ in values.shape)])[None]
        else:
            parser = ConfigParser({**COMMON, **BUNDLES[name]})
            parser["preprocessing"]["transforms"] = [
                {**one, **({"mode": "nearest"} if "mode" in one else {})}
                for one in BUNDLES[name]["preprocessing"]["transforms"]
                if "Intensity" not in one["_target_"]
            ]
            truth = parser.get_parsed_content("preprocessing")({"image": str(path)})["image"][:1]
        many.append((image.as_tensor()[None].float(), torch.as_tensor(np.asarray(truth)).round().long()))
    for made in (*root.glob("frozen/train*"), *root.glob("frozen/truth*")):
        made.unlink()
    network.train()
    for k in range(STEPS):
        image, truth = many[k % len(many)]
        whole = [n // 4 * 4 for n in image.shape[2:]]
        cut = (slice(None), slice(None), *(slice(n) for n in whole))
        out, goal = network(image[cut]), truth[cut[1:]]
        if name == "mri":
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                out, torch.cat([goal > 0, goal > 1])[None].float()
            )
        else:
            loss = torch.nn.functional.cross_entropy(out, goal.clamp(max=out.shape[1] - 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(name, "loss", float(loss))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for each in BUNDLES:
        make(each, folder / each)
