"""Networks that are trained by scripts of this project."""

from __future__ import annotations

import sys

import train_brain_tissue
import train_triangle
from safetensors.torch import load_file

from napari_segxai.models.card import read_card
from samples.builder import Builder
from samples.sources import FASHION_CREDIT, MNI_CREDIT, NILEARN_DATA


def build_triangle_network(builder: Builder, train: bool) -> None:
    folder = builder.out / "models" / "triangle"
    if train:
        train_triangle.build(builder.out / "glyphs.npz", folder)
    what = "trained by scripts/train_triangle.py on glyphs.npz"
    credit = ("BSD-3-Clause, trained on MIT data", f"this project; {FASHION_CREDIT}")
    register(builder, "triangle", ("train images", "train labels"), what, *credit)


def build_tissue_network(builder: Builder, train: bool) -> None:
    if train:
        train_brain_tissue.build(builder.sources / NILEARN_DATA, builder.out / "models" / "brain-tissue")
    what = "trained by scripts/train_brain_tissue.py"
    credit = ("BSD-3-Clause, trained on MNI ICBM data", f"this project; {MNI_CREDIT}")
    register(builder, "brain-tissue", ("mni t1", "mni gm", "mni wm"), what, *credit)


def register(builder: Builder, name: str, made_of: tuple[str, ...], what: str, *credit: str) -> None:
    """Register a trained network that is there."""
    folder = builder.out / "models" / name
    if not (folder / "weights.safetensors").is_file():
        sys.exit(f"{folder} holds no trained network; run with --train.")
    load_file(folder / "weights.safetensors")
    read_card(folder / "model.yaml")
    builder.write(f"models/{name}/weights.safetensors", None, made_of, what, *credit)
    builder.write(f"models/{name}/model.yaml", None, (), "written by the same script", "BSD-3-Clause", "-")
