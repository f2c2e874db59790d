"""Methods for folders on volumes, whose voxels are longer along one axis and which need padding."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn

import napari_segxai as sx


class Blobs(nn.Module):
    """Draws what is bright, at half of the resolution; `body` says bright and dark."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool3d(2), nn.Conv3d(1, 4, 1), nn.ReLU())
        self.head = nn.Conv3d(4, 2, 1)
        with torch.no_grad():
            self.body[1].weight.copy_(torch.tensor([1.0, 0.5, -1.0, 0.0]).view(4, 1, 1, 1, 1))
            self.body[1].bias.copy_(torch.tensor([-0.5, -0.25, 0.3, 0.0]))
            self.head.weight.copy_(torch.tensor([[0.0] * 4, [20.0, 0, 0, 0]]).view(2, 4, 1, 1, 1))
            self.head.bias.copy_(torch.tensor([0.0, -3.0]))

    def forward(self, x):
        return nn.functional.interpolate(self.head(self.body(x)), scale_factor=2)


@pytest.fixture(scope="module")
def model():
    return sx.load_model(Blobs(), card=card(spatial_dims=3, grid={"multiple": 2}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright boxes in volumes of 13 x 12 x 10 voxels of 1 x 1 x 2 mm; in one of them it is a rod."""
    out, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    for k in range(9):
        array = rng.uniform(0, 0.3, (13, 12, 10)).astype(np.float32)
        y, x = 2 * rng.integers(0, 3, 2)
        box = (
            (slice(y, y + 4), slice(x, x + 4), slice(2, 6)) if k else (slice(2, 6), slice(2, 6), slice(0, 10))
        )
        array[box] = rng.uniform(0.8, 1)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), out / f"v{k}.nii.gz")
    return out


def test_concepts_by_factors(model, folder):
    found = sx.survey(model, folder, "nmf-concepts", layer="body", factors=2, examples=2, designs=4)
    first, second = found.table
    assert first["dice_lost"] == 1
    assert second["dice_lost"] == pytest.approx(0, abs=0.01)
    one = next(one for one in found.maps if one.name == f"concept {first['concept']}")
    bright = one.image().array > 0.5
    assert one.array().shape == bright.shape
    assert one.array()[bright].mean() > 5 * one.array()[~bright].mean()


def test_examples(model, folder):
    found = sx.survey(model, folder, "nearest-examples", layers="body", prototypes=2, criticisms=1)
    rod = found.table[0]
    drawn = model.predict(next(one for one in found.maps if one.case == "v0").image()) == 1
    assert rod["role"] == "criticism 1"
    assert rod["size"] == pytest.approx(2 * drawn.sum())  # mm3
    box = next(row for row in found.table if row["role"] == "prototype 1")
    assert box["elongation"] == pytest.approx(4)  # 2 x 2 x 4 voxels are left of it, of 1 x 1 x 2 mm
    assert rod["elongation"] > 6


def test_emergent_language(model, folder):
    found = sx.survey(model, folder, "emergent-language", layer="body", steps=20)
    assert {row["about"] for row in found.table} == {
        "size",
        "elongation",
        "brightness",
        "axis 0",
        "axis 1",
        "axis 2",
    }
    assert found.galleries[0].pictures[0].values.shape == (12, 12)
