"""MONAI bundles of tests: those that MONAI made, and one of this package's network that is changed at will."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.partial_card import CardIncomplete
from napari_segxai.models.zoo.unet import UNet

DATA = Path(__file__).parents[1] / "data" / "monai_bundle"

BUNDLES = ("ct", "mri", "photo")


def case(name: str) -> sx.Image:
    """The case that was frozen beside a bundle."""
    image = sx.read_image(next((DATA / name / "frozen").glob("case*")))
    if name != "ct" and image.channel_axis is None:
        image = sx.Image(image.array, affine=image.affine, channel_axis=image.ndim - 1)
    return image


def change(root: Path, **keys) -> Path:
    """Write other keys into a copy's configuration."""
    path = root / "configs/inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return root


def facts_of(root: Path) -> dict:
    return json.loads((root / "configs/metadata.json").read_text())


def about(root: Path, **keys) -> Path:
    """Write other keys into a copy's metadata."""
    path = root / "configs/metadata.json"
    path.write_text(json.dumps({**facts_of(root), **keys}))
    return root


def refused(path: Path, **how) -> str:
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(path, **how)
    text = str(caught.value)
    assert "\n" not in text
    return text


def asked(path: Path, **how) -> dict[str, str]:
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(path, **how)
    return caught.value.missing


def make_own(tmp_path: Path) -> Path:
    """A bundle with a network of this package, which needs no MONAI: JSON, two labels, weights in the way of MONAI."""
    root = tmp_path / "own"
    shutil.copytree(DATA / "photo", root, ignore=shutil.ignore_patterns("frozen", "models"))
    (root / "models").mkdir()
    network = UNet(3, 2, (4, 8))
    torch.save({"model": network.state_dict()}, root / "models/model.pt")
    target = "napari_segxai.models.zoo.unet.UNet"
    shape = {"image": {"channel_def": {"0": "r", "1": "g", "2": "b"}, "spatial_shape": [48, 32]}}
    about(root, network_data_format={**facts_of(root)["network_data_format"], "inputs": shape})
    return change(
        root,
        network_def={"_target_": target, "in_channels": 3, "out_channels": "@outputs", "features": [4, 8]},
        outputs=2,
    )
