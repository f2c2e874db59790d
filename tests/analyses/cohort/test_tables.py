"""The tables of a cohort beside those of objects and maps: what is asked, and what they hold."""

from __future__ import annotations

import shutil
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


def test_channels_of_every_case(model, folder, tmp_path):
    found = sx.run_cohort(
        model, folder, methods=[], out=tmp_path / "out", channels={"repeats": 2}, keep="tables"
    )
    assert not found.failed
    assert len(found.channels) == 3 * 5 * 2
    of = {(row["case"], row["how"], row["channel"]): row for row in found.channels}
    squares = [np.asarray(Picture.open(folder / "labelsTr" / f"c{k}.png")) > 0 for k in range(3)]
    for k in range(3):
        for how in ("permutation", "mean", "between", "shapley"):
            useless = of[f"c{k}", how, "t2"]
            assert useless["dice_drop"] == useless["probability_drop"] == useless["truth_dice_drop"] == 0
        for how in ("mean", "shapley"):  # without the first channel nothing is drawn
            assert of[f"c{k}", how, "t1"]["dice_drop"] == of[f"c{k}", how, "t1"]["truth_dice_drop"] == 1
        others = [squares[j] for j in range(3) if j != k]
        lost = [1 - 2 * (squares[k] & one).sum() / (squares[k].sum() + one.sum()) for one in others]
        assert of[f"c{k}", "between", "t1"]["dice_drop"] == pytest.approx(np.mean(lost))
        assert of[f"c{k}", "between", "t1"]["dice_std"] == pytest.approx(np.std(lost))
        assert of[f"c{k}", "ability", "t1"]["ability"] == 1  # this channel is the truth
        assert of[f"c{k}", "ability", "t1"]["truth_ability"] == 1
        assert of[f"c{k}", "ability", "t2"]["ability"] < 0.5
    alone = sx.channel_importance(model, sx.find_cases(folder)[1].read(), "object", repeats=2)
    for row in alone.rows:
        own = of["c1", "permutation", row["channel"]]
        assert {key: own[key] for key in row} == row


def test_a_case_of_another_grid_lends_no_channel(model, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    free = sx.load_model(FirstOfTwo(), card=card(channels=["t1", "t2"], intensity=[{"divide": 255}]))
    for name in ("0000", "0001"):
        Picture.fromarray(np.full((8, 8), 255, np.uint8)).save(data / "imagesTr" / f"c2_{name}.png")
    (data / "labelsTr" / "c2.png").unlink()
    found = sx.run_cohort(free, data, methods=[], out=tmp_path / "out", channels={"how": ["between"]})
    of = {(row["case"], row["channel"]): row for row in found.channels}
    assert of["c0", "t1"]["dice_drop"] > 0
    assert of["c0", "t1"]["dice_std"] is None  # of one other case alone
    assert of["c2", "t1"]["dice_drop"] is None
    assert "no other case that was looked at lies on the same model grid" in of["c2", "t1"]["warnings"]


def test_channels_are_examined_again_when_a_case_that_lends_them_changes(model, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    ask = lambda how: sx.run_cohort(model, data, methods=[], out=tmp_path / how, channels={"how": [how]})
    before = {how: ask(how).channels for how in ("between", "mean")}
    Picture.fromarray(np.full((16, 16), 255, np.uint8)).save(data / "imagesTr" / "c2_0000.png")
    own = lambda rows: [row for row in rows if row["case"] == "c0"]
    assert own(ask("between").channels) != own(before["between"])
    assert own(ask("mean").channels) == own(before["mean"])
