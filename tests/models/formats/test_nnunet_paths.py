"""Folders of nnU-Net as they are passed on: without folders of folds, and those of its first version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.nnunet import write_results

import napari_segxai as sx


def refusal(path: Path) -> str:
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(path)
    return str(caught.value)


def test_a_checkpoint_may_lie_beside_its_plans(tmp_path):
    folder = write_results(tmp_path / "Dataset007_Spheres")
    root = tmp_path / "my organ model"
    root.mkdir()
    for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
        shutil.copy(folder / name, root)
    for path in (root, root / "checkpoint_final.pth", root / "plans.json"):
        model = sx.load_model(path)
        assert model.sha256 == sx.load_model(folder).sha256
        assert model.name == "Spheres 3d_fullres (fold checkpoint_final)"
    (root / "checkpoint_final.pth").rename(root / "best.pth")
    assert sx.load_model(root / "best.pth").labels == ("background", "organ", "lesion")
    assert "has no fold" in refusal(root)


def test_a_folder_of_nnunet_1_is_named(tmp_path):
    root = tmp_path / "Task007_Organ" / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (root / "fold_0").mkdir(parents=True)
    (root / "fold_0" / "model_final_checkpoint.model").write_bytes(b"x")
    (root / "plans.pkl").write_bytes(b"x")
    for path in (root, root / "fold_0", root.parent):
        assert "plans.pkl is of nnU-Net 1, which is not read" in refusal(path)
