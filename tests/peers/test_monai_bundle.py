"""MONAI bundles opened by MONAI's own parser and here: what the network gets, what it makes of it, and explanations through its windows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.registry import stored_card

bundle = pytest.importorskip("monai.bundle")

DATA = Path(__file__).parents[1] / "data" / "monai_bundle"

BUNDLES = ("ct", "mri", "photo")


def opened(name: str):
    """Return our model, the case, and MONAI's input, stitched logits and labels of it."""
    root = DATA / name
    path = next((root / "frozen").glob("case*"))
    image = sx.read_image(path)
    if name != "ct" and image.channel_axis is None:
        image = sx.Image(image.array, affine=image.affine, channel_axis=image.ndim - 1)
    parser = bundle.ConfigParser()
    parser.read_config(str(next((root / "configs").glob("inference.*"))))
    network = parser.get_parsed_content("network")
    saved = torch.load(root / "models/model.pt", weights_only=True)
    network.load_state_dict(saved.get("model", saved))
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    with torch.no_grad():
        logits = parser.get_parsed_content("inferer")(data["image"][None].as_tensor(), network.eval())[0]
    seen = data["image"]
    data["pred"] = type(seen)(logits, meta=seen.meta, applied_operations=seen.applied_operations)
    for one in parser.get_parsed_content("postprocessing").transforms:
        if type(one).__name__ != "SaveImaged":
            data = one(data)
    return sx.load_model(root), image, seen.as_tensor(), logits, np.asarray(data["pred"])


@pytest.mark.parametrize("name", BUNDLES)
def test_input_logits_and_labels(name):
    model, image, seen, theirs, labels = opened(name)
    assert model.has_layers
    prepared = model.prepare(image)
    torch.testing.assert_close(prepared.tensor[0], seen.float(), rtol=0, atol=1e-6)
    with torch.no_grad():
        logits = model.logits(prepared.tensor)[0]
    assert float((logits[-len(theirs) :] - theirs).abs().max()) <= 1e-5
    drawn = model.predict(image)
    labels = labels if model.overlapping else labels[0]
    np.testing.assert_array_equal(drawn, labels.T if name == "photo" else labels)


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("method", ["seg-grad-cam", "integrated-gradients"])
def test_explanations_go_through_its_windows(name, method):
    model, image, *_ = opened(name)
    found = sx.explain(
        model, image, model.labels[1], method, **({"steps": 4} if "integrated" in method else {})
    )
    assert found.map.shape == image.spatial_shape
    assert np.isfinite(found.map).all()
    assert np.abs(found.map).max() > 0


TRANSFORMS = {
    "range": [("ScaleIntensityRanged", {"a_min": -100, "a_max": 300, "b_min": -1, "b_max": 2})],
    "range, clipped": [
        ("ScaleIntensityRanged", {"a_min": -100, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True})
    ],
    "minimum to maximum": [("ScaleIntensityd", {"minv": -1, "maxv": 3})],
    "channel by channel": [("ScaleIntensityd", {"channel_wise": True})],
    "factor": [("ScaleIntensityd", {"minv": None, "maxv": None, "factor": 0.5})],
    "z-score": [("NormalizeIntensityd", {})],
    "z-score of each": [("NormalizeIntensityd", {"channel_wise": True})],
    "z-score within": [("NormalizeIntensityd", {"nonzero": True})],
    "z-score within each": [("NormalizeIntensityd", {"nonzero": True, "channel_wise": True})],
    "given": [("NormalizeIntensityd", {"subtrahend": [1, 2], "divisor": [3, 4], "channel_wise": True})],
    "percentiles": [("ScaleIntensityRangePercentilesd", {"lower": 2, "upper": 97, "b_min": 0, "b_max": 1})],
    "percentiles of each, clipped": [
        (
            "ScaleIntensityRangePercentilesd",
            {"lower": 1, "upper": 99, "b_min": -1, "b_max": 1, "clip": True, "channel_wise": True},
        )
    ],
    "clipped percentiles": [("ClipIntensityPercentilesd", {"lower": 5, "upper": 95})],
    "shift": [("ShiftIntensityd", {"offset": 7})],
    "turned": [("Orientationd", {"axcodes": "PIR"})],
    "resampled": [
        ("Orientationd", {"axcodes": "LPS"}),
        ("Spacingd", {"pixdim": [1.3, 0.7, 2.1], "mode": "bilinear"}),
    ],
    "resampled to the nearest": [("Spacingd", {"pixdim": [1.9, 1.9, 1.9], "mode": "nearest"})],
    "one number": [("Spacingd", {"pixdim": 2})],
    "resampled, then scaled": [
        ("Spacingd", {"pixdim": [2, 1, 3]}),
        ("ScaleIntensityd", {}),
        ("NormalizeIntensityd", {}),
    ],
    "scaled, then resampled": [("ScaleIntensityd", {}), ("Spacingd", {"pixdim": [2, 1, 3]})],
    "resized": [("Resized", {"spatial_size": [8, 16, 12], "mode": "trilinear"})],
    "resized by areas": [("Resized", {"spatial_size": [8, 16, 4]})],
    "cropped": [("CropForegroundd", {"source_key": "image"}), ("Spacingd", {"pixdim": [2, 1, 3]})],
    "resampled, then cropped": [
        ("Spacingd", {"pixdim": [2, 1, 3]}),
        ("CropForegroundd", {"source_key": "image"}),
        ("ShiftIntensityd", {"offset": 7}),
    ],
    "scaled, then cropped": [
        ("Spacingd", {"pixdim": [1.1, 1, 2]}),
        ("ScaleIntensityRanged", {"a_min": 200, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True}),
        ("CropForegroundd", {"source_key": "image"}),
        ("DivisiblePadd", {"k": [8, 4, 6]}),
    ],
    "padded to a multiple": [("DivisiblePadd", {"k": 8})],
    "padded at the end": [("DivisiblePadd", {"k": [8, 4, 0], "method": "end", "value": 3})],
    "padded, then scaled": [
        ("SpatialPadd", {"spatial_size": [32, -1, 20]}),
        ("ScaleIntensityRanged", {"a_min": -100, "a_max": 300, "b_min": -1, "b_max": 2}),
    ],
    "mirrored": [("SpatialPadd", {"spatial_size": [24, 24, 20], "mode": "reflect"})],
    "repeated": [("BorderPadd", {"spatial_border": [1, 2, 3, 4, 5, 6], "mode": "edge"})],
    "a border": [("Spacingd", {"pixdim": 2}), ("BorderPadd", {"spatial_border": [4, 2, 3]})],
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """Two channels, oblique, with values below 0 and a rim of 0."""
    array = np.random.default_rng(0).normal(50, 100, (17, 20, 13, 2)).astype(np.float32)
    array[:3] = array[:, -2:] = array[..., :1, :] = 0
    angle = np.deg2rad(11)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([-1.2, 0.9, 2.5])
    affine[:3, 3] = (5, -60, 20)
    path = tmp_path_factory.mktemp("volume") / "case.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_make_the_same_input(name, volume, tmp_path):
    root = tmp_path / "bundle"
    shutil.copytree(DATA / "photo", root, ignore=shutil.ignore_patterns("frozen", "models"))
    (root / "models").mkdir()
    config = json.loads((root / "configs/inference.json").read_text())
    steps = [
        ("LoadImaged", {}),
        ("EnsureChannelFirstd", {"channel_dim": -1}),
        *TRANSFORMS[name],
        ("EnsureTyped", {}),
    ]
    config["preprocessing"]["transforms"] = [{"_target_": one, "keys": "image", **own} for one, own in steps]
    config["network_def"] |= {"spatial_dims": 3, "in_channels": 2}
    parser = bundle.ConfigParser(json.loads(json.dumps(config)))
    torch.save(parser.get_parsed_content("network").state_dict(), root / "models/model.pt")
    (root / "configs/inference.json").write_text(json.dumps(config))
    image = sx.read_image(volume)
    image = (
        sx.Image(image.array, affine=image.affine, channel_axis=3) if image.channel_axis is None else image
    )
    prepared = sx.load_model(root).prepare(image)
    theirs = parser.get_parsed_content("preprocessing")({"image": str(volume)})["image"].as_tensor()
    ours = prepared.tensor[0][
        (slice(None), *(slice(n) for n in theirs.shape[1:]))
    ]  # what the network needs besides
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=2e-6 * scale)


NETWORKS = {
    "UNet": {"channels": [4, 8], "strides": [2]},
    "Unet": {"channels": [4, 8], "strides": [2], "act": "PRELU", "norm": ["group", {"num_groups": 2}]},
    "monai.networks.nets.UNet": {"channels": [4, 8], "strides": [2], "num_res_units": 1},
    "monai.networks.nets.unet.UNet": {"channels": [4, 8], "strides": [2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 8, 4]},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1]},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
    },
    "VNet": {},
    "UNETR": {"img_size": [32, 32], "feature_size": 4, "hidden_size": 24, "mlp_dim": 32, "num_heads": 2},
    "SwinUNETR": {"img_size": [64, 64], "feature_size": 12},
    "HighResNet": {},
    "FlexibleUNet": {"backbone": "efficientnet-b0", "pretrained": False},
    "MedNeXt": {"init_filters": 4, "encoder_expansion_ratio": 2},
}


def bundle_of(root: Path, network: str, arguments: dict, dims: int) -> Path:
    """Write a bundle of random weights in YAML or JSON."""
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    size = [64 if "Swin" in network else 32] * dims
    config = {
        "network_def": {
            "_target_": network,
            "spatial_dims": dims,
            "in_channels": 1,
            "out_channels": 3,
            **arguments,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "ScaleIntensityd", "keys": "image"}],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": size, "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
        },
    }
    names = {"0": "background", "1": "a", "2": "b"}
    (root / "configs/metadata.json").write_text(
        json.dumps({"network_data_format": {"outputs": {"pred": {"channel_def": names}}}})
    )
    (root / "configs/inference.json").write_text(json.dumps(config))
    import inspect

    from monai.networks import nets

    found = getattr(nets, network.rpartition(".")[2])
    own = {k: v for k, v in arguments.items() if k in inspect.signature(found).parameters}
    torch.manual_seed(0)
    made = found(spatial_dims=dims, in_channels=1, out_channels=3, **own)
    torch.save(made.state_dict(), root / "models/model.pt")
    return root


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_monai_that_segment(network, tmp_path):
    root = bundle_of(tmp_path / "own", network, NETWORKS[network], 2)
    assert stored_card(root).architecture.startswith("monai.networks.nets")
    model = sx.load_model(root)
    image = sx.Image(np.random.default_rng(0).random((40, 36)).astype(np.float32))
    assert model.predict(image).shape == (40, 36)
    target = sx.Target("a", region="image")
    assert np.isfinite(sx.explain(model, image, target, "vanilla-gradient").map).all()
