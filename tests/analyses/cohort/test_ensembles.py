"""How far the members of an ensemble agree: measured of every object, and a baseline of reliability."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from helpers.cohorts import cohort
from helpers.networks import card
from helpers.nnunet import write_results
from PIL import Image as Picture
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.models.zoo.nnunet import MeanOfNetworks


class Above(nn.Module):
    """Draws what is brighter than a level."""

    def __init__(self, level: float):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.level - x, x - self.level], 1)


def of_members(*levels: float) -> sx.SegmentationModel:
    return sx.load_model(
        MeanOfNetworks([Above(level) for level in levels]), card=card(intensity=[{"divide": 255}])
    )


@pytest.fixture
def folder(tmp_path):
    """A case of 20 bright pixels and 10 less bright ones, and one in which nothing is drawn."""
    array = np.zeros((16, 16), np.uint8)
    array[0, :10] = array[1, :10] = 250
    array[2, :10] = 100
    for name, values in (("seen", array), ("dark", np.zeros_like(array))):
        Picture.fromarray(values).save(tmp_path / f"{name}.png")
    return tmp_path


def test_the_agreement_of_members_in_closed_form(folder, tmp_path):
    """Two members draw 20 pixels and one draws 30: two pairs of 2 * 20 / 50, and one of 1."""
    model = of_members(0.5, 0.6, 0.2)
    found = sx.run_cohort(model, folder, methods=["vanilla-gradient"], out=tmp_path / "out", device="cpu")
    agreement = {row["case"]: row["members_dice"] for row in found.objects}
    assert agreement == {"seen": pytest.approx((1 + 0.8 + 0.8) / 3), "dark": None}
    assert model.module.only is None
    assert {row["size_px"] for row in found.objects} == {0, 20}  # the mean of the three has the level .43
    alone = sx.run_cohort(
        of_members(0.5), folder, methods=["vanilla-gradient"], out=tmp_path / "one", device="cpu"
    )
    assert all("members_dice" not in row for row in alone.objects)


def test_a_member_that_draws_nothing_agrees_with_none(folder, tmp_path):
    found = sx.run_cohort(
        of_members(0.5, 2.0), folder, methods=["vanilla-gradient"], out=tmp_path / "out", device="cpu"
    )
    assert {row["case"]: row["members_dice"] for row in found.objects} == {"seen": 0, "dark": None}


def test_their_agreement_is_a_baseline_of_reliability():
    """It decides here, and the explanation says nothing."""
    random = np.random.default_rng(0)
    dice = random.uniform(0.8, 1, 80)
    objects = [
        {"case": f"c{k}", "size_px": 100 + k % 7, "confidence": random.random(), "entropy_bits": random.random(),
         "truth_dice": float(dice[k]), "members_dice": float(dice[k])}
        for k in range(80)
    ]  # fmt: skip
    maps = [
        {"case": f"c{k}", "n_dilations": int(random.integers(1, 5)), "ratio_image": random.random(), "dice_explained": random.random()}
        for k in range(80)
    ]  # fmt: skip
    found = sx.study(cohort(maps, objects), "reliability", repeats=2)
    rows = {row["features"]: row for row in found.rows}
    assert rows["members"]["auc"] > 0.99
    (difference,) = (row for row in found.tables["differences"] if row["against"] == "members")
    assert difference["high"] < 0
    without = [{key: value for key, value in row.items() if key != "members_dice"} for row in objects]
    assert "members" not in {
        row["features"] for row in sx.study(cohort(maps, without), "reliability", repeats=2).rows
    }


def test_the_folds_of_nnunet_through_windows_agree_as_their_own_predictions_do(tmp_path):
    """The agreement of the cohort is the Dice of what each fold draws when it is asked alone."""
    root = write_results(tmp_path / "results", folds=("fold_0", "fold_1"))
    array = np.random.default_rng(0).normal(40, 100, (10, 20, 18)).astype(np.float32)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    model, image = sx.load_model(root), sx.read_image(path)
    assert model.windows is not None
    found = sx.run_cohort(
        model, tmp_path / "data", methods=["seg-grad-cam"], out=tmp_path / "out", device="cpu", keep="tables"
    )
    grids = []
    for fold in ("fold_0", "fold_1"):
        alone = sx.load_model(root / fold)
        with alone.in_use("cpu"), torch.inference_mode():
            prepared = alone.prepare(image)
            inside = prepared.placement.inside()
            grids.append(
                torch.where(inside, alone.logits(prepared.tensor).argmax(1)[0], torch.tensor(0)).numpy()
            )
    for row in found.objects:
        k = model.label_index(row["label"])
        one, other = (grid == k for grid in grids)
        assert one.any() or other.any()
        assert row["members_dice"] == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
