"""Cohorts of networks that do not always answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture
from torch import Tensor, nn

import napari_segxai as sx


class Silent(nn.Module):
    """Returns what is no number where an image is dark."""

    def __init__(self, value: float = torch.nan):
        super().__init__()
        self.inner, self.value = planted_model().module, value

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return torch.where(x.amax((1, 2, 3), keepdim=True) > 0.5, out, out * 0 + self.value)


class Normalizing(nn.Module):
    """Divides by the range of the image, as networks do that normalize by themselves: a constant image has none."""

    def __init__(self):
        super().__init__()
        self.inner = planted_model().module

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return self.inner(low + (high - low) * ((x - low) / (high - low)))


@pytest.fixture
def folder(tmp_path) -> Path:
    values = planted_image().array
    for name, array in {"bright": values, "dark": values / 4}.items():
        Picture.fromarray((array * 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
        Picture.fromarray((values > 0.8).astype(np.uint8)).save(tmp_path / f"{name}_label.png")
    return tmp_path


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_not_counted_as_background(folder, tmp_path, value):
    model = sx.load_model(Silent(value), card=card(intensity=[{"divide": 255}]))
    found = sx.run_cohort(
        model, folder, None, ["misure:iterations=2:kernel=3", "vanilla-gradient"], out=tmp_path / "out",
        metrics=["dice-explained"], flow=True, channels={"how": ["mean"]},
    )  # fmt: skip
    errors = {row["case"]: row["error"] for row in found.objects}
    assert errors["bright"] == ""
    assert "returns values that are not numbers at 100.0% of the pixels of dark" in errors["dark"]
    assert "truth_dice" not in next(row for row in found.objects if row["case"] == "dark")
    assert {row["case"] for row in found.failed} == {"dark"}
    assert len(found.failed) == 5
    with pytest.raises(sx.UserError, match=r"that are not numbers at 100\.0%"):
        model.predict(sx.read_image(folder / "dark.png"))


def test_a_single_pixel_without_a_number_is_told():
    class Hole(Silent):
        def forward(self, x: Tensor) -> Tensor:
            out = self.inner(x).clone()
            if float(x.mean()) < 0.4:  # the image, not the example of the dry run
                out[:, :, 0, 0] = torch.nan
            return out

    model, image = sx.load_model(Hole(), card=card()), planted_image()
    with pytest.raises(sx.UserError, match=r"at 0\.1% of the pixels of planted"):
        sx.explain(model, image, "object", "vanilla-gradient")


def test_infinity_against_a_label_is_an_answer():
    class Forbidden(Silent):
        def forward(self, x: Tensor) -> Tensor:
            out = self.inner(x).clone()
            if float(x.mean()) < 0.4:  # the image, not the example of the dry run
                out[:, 1, :4] = -torch.inf
            return out

    image = planted_image()
    found = sx.load_model(Forbidden(), card=card()).predict(image)
    assert not found[:4].any()
    assert found[16:26, 6:16].all()


def test_a_channel_whose_loss_cannot_be_told():
    found = sx.channel_importance(
        sx.load_model(Normalizing(), card=card()), planted_image(), "object", how="mean"
    )
    assert found.rows[0]["dice_drop"] == 1
    assert found.rows[0]["probability_drop"] is None
    assert any("no numbers where a channel is spoiled" in said for said in found.warnings)
    assert "–" in str(found)


def test_a_network_that_ends_the_program_fails_its_case_alone(folder, tmp_path):
    class Leaving(Silent):
        def forward(self, x: Tensor) -> Tensor:
            if 0 < float(x.max()) < 0.5:
                raise SystemExit("nothing to see")
            return self.inner(x)

    model = sx.load_model(Leaving(), card=card(intensity=[{"divide": 255}]))
    found = sx.run_cohort(model, folder, None, ["vanilla-gradient"], out=tmp_path / "out")
    assert {row["case"] for row in found.failed} == {"dark"}
    assert {row["error"] for row in found.failed} == {"SystemExit: nothing to see"}
    assert [row["case"] for row in found.maps if not row["error"]] == ["bright"]
