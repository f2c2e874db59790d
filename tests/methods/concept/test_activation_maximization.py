"""Activation maximization: images of units of which the kernel is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import nn

import napari_segxai as sx
from napari_segxai.models.preprocessing.framed import place

SIDE, KERNEL = 48, 11


def gabor(angle: float) -> np.ndarray:
    y, x = np.mgrid[-5:6, -5:6]
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.exp(-(x**2 + y**2) / 12) * np.cos(2 * np.pi * along / 5)
    return (wave - wave.mean()).astype(np.float32)


KERNELS = np.stack([gabor(0), gabor(np.pi / 2), np.zeros((KERNEL, KERNEL), np.float32)])


class Filters(nn.Module):
    """Units 0 and 1 of `body` are Gabor kernels, unit 2 is nothing."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 3, KERNEL, padding=KERNEL // 2, bias=False)
        self.head = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.body.weight.copy_(torch.from_numpy(KERNELS)[:, None])

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    torch.manual_seed(0)
    return sx.load_model(Filters(), card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


PLANTED = {"c0": (12, 30), "c1": (33, 17), "c2": (20, 20)}
"""Where the pattern of unit 0 lies in each case: its middle."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cases")
    random = np.random.default_rng(0)
    for k, (name, (y, x)) in enumerate(PLANTED.items()):
        array = random.normal(128, 25, (SIDE, SIDE))
        array[y - 5 : y + 6, x - 5 : x + 6] = 128 + (90 + 10 * k) * KERNELS[0] / KERNELS[0].max()
        Picture.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(out / f"{name}.png")
    return out


ASKED = {"layer": "body", "units": "0, 1", "steps": 60, "side": 24, "patches": 3}


@pytest.fixture(scope="module")
def found(model, folder) -> sx.Survey:
    return sx.survey(model, folder, "activation-maximization", **ASKED)


def test_the_image_of_a_unit_is_its_kernel(found):
    rows = found.galleries[0].rows()
    for unit in (0, 1):
        made = rows[f"unit {unit}"][0].values
        assert made.shape == (KERNEL, KERNEL)  # what the unit sees, and no more
        change = made - np.median(found.galleries[0].pictures[0].values)
        change -= change.mean()
        kernel = KERNELS[unit]
        cosine = (change * kernel).sum() / np.linalg.norm(change) / np.linalg.norm(kernel)
        assert cosine > 0.9
    row = found.table[0]
    assert row["made"] > row["best"] > row["random"] > 0
    assert found.sentence.startswith("Of 2 units of body, 2 answer more to the image that was made")


def test_the_patches_are_those_that_were_planted(found):
    _, *patches = found.galleries[0].rows()["unit 0"]
    assert [patch.case for patch in patches] == ["c2", "c1", "c0"]  # the strongest first
    for patch in patches:
        assert patch.at == PLANTED[patch.case]
        assert np.corrcoef(patch.values.ravel(), KERNELS[0].ravel())[0, 1] > 0.95
    assert found.table[0]["case"] == "c2"
    assert float(patches[0].text.split(": ")[1]) == pytest.approx(found.table[0]["best"], rel=1e-2)
    assert {(one.case, one.name) for one in found.maps} >= {("c2", "unit 0 of body")}
    (map,) = [one for one in found.maps if one.name.startswith("unit 0")]
    assert np.unravel_index(map.array().argmax(), (SIDE, SIDE)) == PLANTED["c2"]


def test_it_stays_within_what_real_images_are(found, folder):
    values = np.stack([np.asarray(Picture.open(path)) for path in folder.iterdir()]) / 255
    made = found.galleries[0].rows()["unit 0"][0].values
    assert values.min() - 1e-6 <= made.min() < made.max() <= values.max() + 1e-6
    best = found.galleries[0].rows()["unit 0"][1].values
    sizes = [np.sqrt(((one - values.mean()) ** 2).mean()) for one in (made, best)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)  # but for what the range cuts off


def test_the_same_seed_makes_the_same_images(model, folder, found, tmp_path):
    again = sx.survey(model, folder, "activation-maximization", **ASKED)
    assert again.table == found.table
    for one, other in zip(again.galleries[0].pictures, found.galleries[0].pictures, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    planned = sx.plan_survey(model, folder, "activation-maximization", **ASKED).passes
    assert planned.forward >= found.record["passes"]["forward"]
    assert planned.backward >= found.record["passes"]["backward"] == 2 * 61
    found.save(tmp_path / "out")
    assert sx.load_survey(tmp_path / "out").galleries[0].as_json() == found.galleries[0].as_json()


def test_without_steps_the_cases_in_which_a_unit_is_strongest_are_told_alone(model, folder, found):
    asked = {**ASKED, "units": "0", "steps": 0}
    got = sx.survey(model, folder, "activation-maximization", **asked)
    assert [one.case for one in got.galleries[0].pictures] == ["c2", "c1", "c0"]
    assert (got.table[0]["made"], got.table[0]["best"]) == (None, found.table[0]["best"])
    assert [(one.case, one.name) for one in got.maps] == [("c2", "unit 0 of body")]
    assert got.sentence.startswith("Highest in the folder, of units of body: unit 0 ")
    planned = sx.plan_survey(model, folder, "activation-maximization", **asked).passes
    assert planned.backward == got.record["passes"]["backward"] == 1
    assert planned.forward >= got.record["passes"]["forward"]


def test_a_unit_that_never_answers_has_nothing_to_show(model, folder):
    found = sx.survey(model, folder, "activation-maximization", layer="body", units="2", steps=2, side=24)
    assert any("unit 2 answers the same everywhere" in one for one in found.warnings)
    assert (
        found.sentence == "No image excites a unit of body more than the folder's own patches and noise do."
    )


def test_units_that_are_none_are_refused(model, folder):
    with pytest.raises(sx.UserError, match="there is no unit 7 in network layer body; it has 3"):
        sx.survey(model, folder, "activation-maximization", layer="body", units="7")
    with pytest.raises(sx.UserError, match="give numbers of units with commas"):
        sx.plan_survey(model, folder, "activation-maximization", units="a")


AFFINE = np.array([[0, 0, 3.0, 0], [-2, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(("spatial_dims", "slice"), [(3, None), (2, 3)])
def test_the_index_of_a_cell_is_that_of_its_pixel(spatial_dims, slice):
    array = np.zeros((6, 8, 10), np.float32)
    array[2, 5, 7] = 1
    image = sx.Image(array, affine=AFFINE)
    network = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims](1, 2, 1)
    model = sx.load_model(network, card=card(spatial_dims))
    for index in [slice] if slice is None else range(model.slices(image)):
        placement = place(model.card, image, index)
        cells = np.argwhere(placement.turned(array))
        for cell in cells:
            assert placement.image_index(cell + 0.5) == (2, 5, 7)
        assert len(cells) == 1 or slice is not None
        box = tuple((1, n) for n in placement.turned_shape)  # a card may crop the image
        shape = tuple(n - 1 for n in placement.turned_shape)
        cropped = replace(placement, box=box, resampled_shape=shape, shape=shape)
        for cell in np.argwhere(cropped.cropped(placement.turned(array))):
            assert cropped.image_index(cell + 0.5) == (2, 5, 7)
