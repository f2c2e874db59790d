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
    rod = next(row for row in found.table if row["case"] == "v0")
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


def test_directions(model, folder):
    found = sx.survey(model, folder, "cav", concepts="predicted", layers="body", removals=1, shuffles=20)
    (row,) = found.table
    assert (row["accuracy"], row["used"]) == (1, True)
    assert row["dice_lost"] == pytest.approx(1)
    shown = found.maps[0]
    drawn = model.predict(shown.image()) == 1
    assert (
        shown.array()[drawn].mean() > 0.6
    )  # 1 as with the concept, less at its edge, where cells are enlarged
    assert shown.array()[~drawn].mean() == pytest.approx(0, abs=0.2)


def test_automatic_concepts(model, folder):
    found = sx.survey(
        model, folder, "ace", layer="body", segments="60", clusters=2, removals=1, shuffles=20, most_cases=6
    )
    assert (
        max(row["on_label"] for row in found.table) > 0.4 > 0.1 > min(row["on_label"] for row in found.table)
    )
    assert "6 of 9 cases were looked at, chosen by chance" in " ".join(found.warnings)
    assert {0 <= one["axis_2"] < 10 for one in found.tables["pieces"]} == {True}


def test_a_graph_of_one_layer_ends_at_the_label(model, folder):
    found = sx.survey(model, folder, "concept-graph", layers="body", nodes=2, images=1, draws=1)
    units = {node["node"]: node["units"] for node in found.tables["nodes"]}
    edges = [row["start"] for row in found.table if row["edge"]]
    assert [units[node] for node in edges] == ["0 1"]
    assert {row["end"] for row in found.table} == {"object"}
