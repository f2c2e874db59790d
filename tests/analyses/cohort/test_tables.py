"""The tables of a cohort beside those of objects and maps: what is asked, and what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import Tensor, nn

import napari_segxai as sx


class FirstOfTwo(nn.Module):
    """Draws the object where the first channel is bright; the second says nothing."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(2, 1, 1)
        with torch.no_grad():
            self.look.weight.copy_(torch.tensor([20.0, 0.0]).view(1, 2, 1, 1))
            self.look.bias.fill_(-10.0)

    def forward(self, x: Tensor) -> Tensor:
        logit = self.look(x)
        return torch.cat([torch.zeros_like(logit), logit], 1)


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    return sx.load_model(
        FirstOfTwo(), card=card(channels=["t1", "t2"], grid={"size": [16, 16]}, intensity=[{"divide": 255}])
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three cases of two channels; the bright square lies elsewhere in each, and the truth is that square."""
    out = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for k in range(3):
        first = np.zeros((16, 16), np.uint8)
        first[2 + 3 * k : 8 + 3 * k, 4:10] = 255
        second = random.integers(0, 255, (16, 16)).astype(np.uint8)
        for name, values in (("0000", first), ("0001", second)):
            place = out / "imagesTr" / f"c{k}_{name}.png"
            place.parent.mkdir(exist_ok=True)
            Picture.fromarray(values).save(place)
        (out / "labelsTr").mkdir(exist_ok=True)
        Picture.fromarray((first > 0).astype(np.uint8)).save(out / "labelsTr" / f"c{k}.png")
    return out


def test_flow_of_every_case(model, folder, tmp_path):
    found = sx.run_cohort(model, folder, methods=[], out=tmp_path / "out", flow={"causal": True})
    assert not found.failed
    assert found.maps == []
    image = sx.find_cases(folder)[0].read()
    alone = sx.information_flow(
        model, image, causal=True, truth=sx.read_image(folder / "labelsTr" / "c0.png")
    )
    own = [row for row in found.flow if row["case"] == "c0"]
    for row, expected in zip(own, alone.rows, strict=True):
        assert {key: row[key] for key in expected} == expected
        assert row["dice_truth"] is not None
        assert row["lost"] is not None
    assert len(found.flow) == 3 * len(own)
    assert sx.read_cohort(tmp_path / "out").flow == found.flow
    assert (tmp_path / "out" / "flow.csv").read_text().startswith("case,group,subject,label,layer,")
    assert not (tmp_path / "out" / "channels.csv").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"flow": {"method": "rise"}}, "an information flow of 'rise' cannot be made"),
        ({"flow": {"layers": ["nowhere"]}}, "nowhere"),
        ({"flow": {"ablation": "some"}}, "ablation 'some' is unknown"),
        ({"flow": {"score": "some"}}, "some"),
        ({"flow": {"windoww": 3}}, "windoww"),
        ({"channels": {"how": ["some"]}}, "how is 'some'"),
        ({"channels": {"how": "mean"}}, "how is a list of names"),
        ({"channels": {"how": []}}, "name at least one way"),
        ({"channels": {"repeats": 0}}, "repeats is 0"),
        ({"channels": {"repeat": 1}}, "repeat"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_the_work(model, folder, tmp_path, asked, words):
    with pytest.raises(sx.UserError, match=words):
        sx.run_cohort_steps(model, folder, out=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()
