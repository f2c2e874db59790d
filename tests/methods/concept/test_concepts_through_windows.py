"""Methods for folders of cases, of a network that sees images through windows.

The network is local and has no normalisation, and the windows lie on its cells: what windows return is what one pass returns, so
that every method has to find the same.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from helpers.replayed import ask
from PIL import Image as Picture
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.primitives.whole_activations import each_block, whole_activations


class Local(nn.Module):
    """Draws what is bright, at half of the resolution: (N, 1, *grid) -> (N, 2, *grid)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 4, 1), nn.ReLU())
        self.later = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.body[1].weight.copy_(torch.tensor([1.0, 0.5, -1.0, 0.2]).view(4, 1, 1, 1))
            self.body[1].bias.copy_(torch.tensor([-0.5, -0.25, 0.3, 0.0]))
            self.later[0].weight.copy_(torch.eye(4)[:, :, None, None])
            self.later[0].bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0] * 4, [20.0, 0, 0, 0]]).view(2, 4, 1, 1))
            self.head.bias.copy_(torch.tensor([0.0, -3.0]))

    def forward(self, x):
        return nn.functional.interpolate(self.head(self.later(self.body(x))), scale_factor=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright boxes, and the masks of them."""
    out, rng = tmp_path_factory.mktemp("local"), np.random.default_rng(0)
    for name in ("images", "box"):
        (out / name).mkdir()
    for k in range(8):
        array, mask = rng.uniform(0, 0.3, (24, 24)), np.zeros((24, 24), np.uint8)
        y, x = 2 * rng.integers(0, 8, 2)
        mask[y : y + 4 + 2 * (k % 3), x : x + 6] = 1
        array[mask > 0] = rng.uniform(0.7, 1, int(mask.sum()))
        Picture.fromarray((255 * array).astype(np.uint8)).save(out / "images" / f"c{k}.png")
        Picture.fromarray(mask).save(out / "box" / f"c{k}.png")
    return out


def model_of(**windows) -> sx.SegmentationModel:
    return sx.SegmentationModel(
        Local(),
        card(intensity=[{"scale_shift": [1 / 255, 0.0]}], **({"windows": windows} if windows else {})),
    )


ASKED = {
    "network-dissection": {"layers": "body,later"},
    "cav": {"layers": "body,later", "removals": 2, "shuffles": 20, "concepts": "predicted"},
    "ace": {"layer": "body", "segments": "12", "clusters": 4, "shuffles": 20, "removals": 1},
    "nmf-concepts": {"layer": "body", "factors": 2, "examples": 2, "designs": 2},
    "nearest-examples": {"layers": "body"},
    "bottleneck-map": {"layer": "body"},
    "emergent-language": {"layer": "body", "steps": 5},
    "concept-graph": {"layers": "body,later", "nodes": 4, "images": 3, "draws": 1},
    "segmentation-ability": {"layers": "body,later"},
    "activation-maximization": {"layer": "body", "units": "0", "steps": 4, "patches": 2, "side": 8},
}


@pytest.mark.parametrize("method", ASKED)
def test_windows_say_of_a_folder_what_one_pass_says(method, folder):
    if method in ("cav", "ace", "nmf-concepts", "nearest-examples", "bottleneck-map"):
        pytest.importorskip("sklearn")
    plain, windowed = (
        sx.survey(model, folder / "images", method, **ASKED[method])
        for model in (model_of(), model_of(size=[8, 8], overlap=0.5))
    )
    assert plain.table
    assert len(windowed.table) == len(plain.table)
    for one, other in zip(plain.table, windowed.table, strict=True):
        for name, value in one.items():
            if method == "activation-maximization" and name not in ("unit", "best"):
                continue  # images are made on the grid of a window
            assert other[name] == (
                pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value
            ), name
    for one, other in zip(plain.maps, windowed.maps, strict=True):
        np.testing.assert_allclose(other.array(), one.array(), atol=1e-4)


def test_values_that_are_not_finite_are_told_before_anything_is_handed_over(monkeypatch):
    """In no layer, whichever sweep over the windows it belongs to."""

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.aside = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1)
            nn.init.constant_(self.aside.bias, torch.nan)

        def forward(self, x):
            first = self.first(x)
            return first[:, :2] + 0 * torch.nan_to_num(self.aside(first))

    question = ask(Aside(), windows={"size": [32, 12]})
    monkeypatch.setattr("napari_segxai.engine.tiles.MOST_BYTES", 4 * 32 * 32)  # a channel
    handed = []
    with pytest.raises(sx.UserError, match="network layer aside returns values that are not finite"):
        each_block(question, ["first", "aside"], lambda *found: handed.append(found), finite=True)
    assert not handed
    each_block(
        question,
        ["first", "aside"],
        lambda k, channels, one: handed.append((k, channels.start, one.shape[1])),
    )
    assert handed == [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 1), (1, 1, 1)]


def test_activations_of_windows_are_averaged_where_they_overlap():
    """A network that normalises: each window says something else of the same cell, and the weighted mean counts."""
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.InstanceNorm2d(3), nn.Conv2d(3, 2, 1))
    question = ask(network, windows={"size": [32, 12], "overlap": 0.5, "mirror": [1]})
    [found] = whole_activations(question, ["1"])
    x, tiling = question.input, question.model.tiling((32, 32))
    total = torch.zeros(3, 32, 32)
    with torch.no_grad():
        for corner in tiling.corners:
            seen = x[(..., *tiling.place(corner))]
            both = network[:2](seen) + network[:2](seen.flip(3)).flip(3)
            total[(slice(None), *tiling.place(corner))] += both[0] / 2 * tiling.importance
    torch.testing.assert_close(found[0], total / tiling.total(tiling.everywhere))
    torch.testing.assert_close(question.logits, question.model.logits(x))  # found on the way


IN_BLOCKS = sorted(set(ASKED) - {"concept-graph", "segmentation-ability"})


@pytest.mark.parametrize("method", IN_BLOCKS)
def test_what_is_too_much_to_be_held_is_looked_at_channel_by_channel(method, folder, monkeypatch):
    if method in ("cav", "ace", "nmf-concepts", "nearest-examples", "bottleneck-map"):
        pytest.importorskip("sklearn")
    model = model_of(size=[8, 8], overlap=0.5)
    kept = sx.survey(model, folder / "images", method, **ASKED[method])
    # One and a half channels of 12 x 12 cells, 4 bytes each.
    monkeypatch.setattr("napari_segxai.engine.tiles.MOST_BYTES", 6 * 144)
    again = sx.survey(model, folder / "images", method, **ASKED[method])
    assert again.failed == {}
    assert len(again.table) == len(kept.table)
    for one, other in zip(kept.table, again.table, strict=True):
        for name, value in one.items():
            assert other[name] == (
                pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value
            ), name
    if method == "nmf-concepts":  # the amounts of factors in a cell take all of its channels
        assert not again.maps
        assert any("maps are left out" in said for said in again.record["warnings"])
        return
    for one, other in zip(kept.maps, again.maps, strict=True):
        np.testing.assert_allclose(other.array(), one.array(), atol=1e-5)


def test_layers_that_are_needed_as_a_whole_are_looked_at_one_by_one_or_refused(folder, monkeypatch):
    model = model_of(size=[8, 8], overlap=0.5)
    kept = sx.survey(model, folder / "images", "segmentation-ability", layers="body,later")
    monkeypatch.setattr("napari_segxai.engine.tiles.MOST_BYTES", 4 * 4 * 144)  # one layer
    again = sx.survey(model, folder / "images", "segmentation-ability", layers="body,later")
    assert [row["ability"] for row in again.table] == pytest.approx([row["ability"] for row in kept.table])
    refused = sx.survey(model, folder / "images", "concept-graph", **ASKED["concept-graph"])
    assert any("or fewer network layers, or a smaller image" in said for said in refused.failed.values())
