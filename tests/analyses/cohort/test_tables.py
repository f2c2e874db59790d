"""The tables of a cohort beside those of objects and maps: what is asked, and what they hold."""

from __future__ import annotations

import csv
import gc
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import Tensor, nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.analyses.cohort.tables.units import in_one_unit
from napari_segxai.cli.app import app
from napari_segxai.metrics.functional.mass import mass_outside


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


def test_where_the_evidence_lies(model, folder, tmp_path):
    found = sx.run_cohort(model, folder, methods=["input-x-gradient"], out=tmp_path / "out")
    for row in found.maps:  # the network reads every pixel where it draws
        assert row["evidence_outside"] == row["evidence on background"] == 0
        assert row["evidence on object"] == 1
        assert row["evidence_distance_pixel"] is None


def test_mass_outside():
    """Evidence 3 in a pixel of the region, 1 each at 2, 4 and 12 mm from it; what is negative does not count."""
    map = np.zeros((1, 9))
    map[0, 0], map[0, [1, 2, 6]], map[0, 8] = 3, 1, -9
    region = np.arange(9)[None] == 0
    found = mass_outside(map, region, (1.0, 2.0))
    assert found == {"share": 0.5, "distance": 4.0, "reach": 12.0}
    assert mass_outside(region * 1.0, region) == {"share": 0.0, "distance": None, "reach": None}
    assert mass_outside(-map.clip(0), region) is None
    assert mass_outside(map, region & False) is None


def test_parameters_of_a_method_are_no_findings(model, folder, tmp_path):
    found = sx.run_cohort(
        model, folder, methods=["rise:masks=4", "smooth-grad:samples=2"], out=tmp_path / "out", keep="tables"
    )
    columns = {name for row in found.maps for name in row}
    assert not columns & {"masks", "samples"}
    assert "error" in columns
    assert "score_of_copies" in columns


def test_parquet(model, folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out"
    found = sx.run_cohort(
        model, folder, methods=["input-x-gradient"], metrics=["f1-mask"], out=out, parquet=True, keep="tables"
    )
    held = parquet.read_table(out / "objects.parquet")
    assert held.to_pylist() == found.objects
    kinds = {field.name: str(field.type) for field in held.schema}
    assert kinds["case"] == "string"
    assert kinds["size_px"] == "int64"
    assert kinds["touches_border"] == "bool"
    assert kinds["confidence"] == "double"
    maps = parquet.read_table(out / "maps.parquet").schema
    assert maps.field("f1-mask").metadata[b"better"] == b"higher"
    assert maps.field("evidence_distance_pixel").metadata[b"unit"] == b"pixel"
    assert str(maps.field("evidence_distance_pixel").type) == "double"  # though no cell holds a number
    with (out / "columns.csv").open(newline="") as file:
        told = {(row["table"], row["column"]): row for row in csv.DictReader(file)}
    assert told["objects", "truth_dice"]["better"] == "higher"
    assert told["objects", "area_pixel2"]["unit"] == "pixel²"
    assert told["maps", "f1-mask"]["meaning"]
    assert describe("f1-mask above chance").meaning.startswith("whether the map is better")
    assert describe("f1-mask chance").meaning.startswith("mean of what random maps")
    assert {row["table"] for row in told.values()} == {"objects", "maps"}
    run = lambda *args: CliRunner().invoke(app, ["cohort", "collect", str(out), *args])
    for path in out.glob("*.parquet"):
        path.unlink()
    assert run().exit_code == 0  # the record says that parquet was asked for
    assert sorted(path.name for path in out.glob("*.parquet")) == ["maps.parquet", "objects.parquet"]


def test_parquet_without_its_package(model, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(sx.UserError, match=r'pip install "napari-segxai\[cohort\]"'):
        sx.run_cohort(model, folder, methods=["input-x-gradient"], out=tmp_path / "out", parquet=True)
    assert not (tmp_path / "out").exists()


def test_lengths_in_one_unit():
    rows = [
        {"case": "a", "volume_mm3": 2.0},
        {"case": "b", "volume_um3": 3e9},
        {"case": "c", "volume_pixel3": 7.0},
    ]
    assert in_one_unit(rows) == [
        {"case": "a", "volume_mm3": 2.0},
        {"case": "b", "volume_mm3": pytest.approx(3.0)},
        {"case": "c", "volume_pixel3": 7.0},
    ]
    alone = [{"area_um2": 3.0}, {"area_um2": None}]
    assert in_one_unit(alone) is alone


def test_a_flow_that_was_kept_is_opened(model, folder, tmp_path):
    found = sx.run_cohort(model, folder, methods=[], out=tmp_path / "out", flow=True)
    kept = tmp_path / "out" / "cases" / "c1" / "flow"
    assert not (kept / "flow.png").exists()
    opened = sx.load_flow(kept)
    own = [row for row in found.flow if row["case"] == "c1"]
    assert [row["dice"] for row in opened.rows] == [row["dice"] for row in own]


class Sigmoids(nn.Module):
    """Draws what is bright as one label, and what is very bright as another, within it."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.look.weight.fill_(20.0)
            self.look.bias.copy_(torch.tensor([-6.0, -14.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.look(x)


def test_overlapping_labels_of_a_2d_model_on_volumes(tmp_path):
    """All four tables of a sigmoid model that sees volumes slice by slice; the flow and the channels are of the largest slice."""
    values = np.zeros((8, 8, 5), np.float32)
    values[2:6, 2:6, 1] = 0.5
    values[1:7, 1:7, 3] = 0.5
    values[3:5, 3:5, 3] = 1.0
    data = tmp_path / "data"
    data.mkdir()
    for k in range(2):
        nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), data / f"v{k}.nii.gz")
    model = sx.load_model(
        Sigmoids(),
        card=card(labels=["background", "outer", "inner"], activation="sigmoid", grid={"multiple": 1}),
    )
    found = sx.run_cohort(
        model,
        data,
        methods=["input-x-gradient"],
        out=tmp_path / "out",
        flow=True,
        channels={"how": ["mean", "ability", "between"]},
    )
    assert not found.failed
    sizes = {(row["case"], row["label"]): row["size_px"] for row in found.objects}
    assert sizes["v0", "outer"] == 16 + 36
    assert sizes["v0", "inner"] == 4
    assert found.objects[0]["volume_mm3"] == 52 * 12
    image = sx.find_cases(data)[0].read()
    drawn = [(model.predict(image, slice=k)[0]).sum() for k in range(model.slices(image))]
    assert {row["slice"] for row in (*found.flow, *found.channels)} == {int(np.argmax(drawn))}
    inner = next(row for row in found.maps if (row["case"], row["label"]) == ("v0", "inner"))
    assert inner["evidence on outer"] == inner["evidence on inner"] == 1  # labels overlap
    outer = next(row for row in found.channels if row["label"] == "outer" and row["how"] == "mean")
    assert outer["dice_drop"] == pytest.approx(0.28)  # filled with its mean, the whole slice is drawn


def test_metrics_of_a_2d_model_on_volumes(tmp_path):
    """All slices are explained, and metrics are of the one in which the label is largest."""
    random = np.random.default_rng(0)
    for k in range(2):
        values = random.uniform(0, 0.3, (8, 9, 5, 2)).astype(np.float32)  # the fourth axis is channels
        values[2:6, 2:6, 1, 0] = values[2:5, 2:6, 3, 0] = 1
        truth = (values[..., 0] > 0.5).astype(np.uint8)
        for folder, held in (("images", values), ("labels", truth)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            nib.save(
                nib.Nifti1Image(held, np.diag([1.0, 1, 2, 1])), tmp_path / "data" / folder / f"v{k}.nii.gz"
            )
    flat = sx.load_model(FirstOfTwo(), card=card(channels=["t1", "t2"], grid={"multiple": 1}))
    found = sx.run_cohort(
        flat, tmp_path / "data", methods=["input-x-gradient"], metrics=["f1-mask", "dice-explained"], out=tmp_path / "out", flow=True, channels=True,
    )  # fmt: skip
    assert not found.failed
    assert {row["slice"] for table in (found.maps, found.flow, found.channels) for row in table} == {3}
    row, kept = found.maps[0], found.explanation("v0", "object")
    assert (kept.map[:, :, 3] != 0).any()  # which is another slice than the one that is measured
    image, truth = (
        sx.find_cases(tmp_path / "data")[0].read(),
        sx.read_image(tmp_path / "data/labels/v0.nii.gz"),
    )
    alone = sx.evaluate(
        flat,
        {"map": kept.map},
        image,
        "object",
        metrics=["f1-mask", "dice-explained"],
        truth=truth,
        slice=3,
        controls=0,
    )
    assert {one["metric"]: one["value"] for one in alone.rows} == {
        name: row[name] for name in ("f1-mask", "dice-explained")
    }
    of = {(row["how"], row["channel"]): row for row in found.channels}
    assert of["mean", "t1"]["truth_dice_drop"] == of["shapley", "t1"]["dice_drop"] == 1


def test_memory_stays_flat(model, folder, tmp_path):
    """After twenty more cases as many images and tensors are alive as before, and no more."""
    data = tmp_path / "imagesTr"
    data.mkdir()
    for k in range(30):
        for name in ("0000", "0001"):
            shutil.copy(folder / "imagesTr" / f"c{k % 3}_{name}.png", data / f"d{k:02}_{name}.png")
    steps = sx.run_cohort_steps(
        model, tmp_path, methods=["input-x-gradient"], metrics=["dice-explained"], out=tmp_path / "out", flow=True, channels={"how": ["mean", "between"], "repeats": 1}, keep="tables",
    )  # fmt: skip
    alive = {}
    for step in steps:
        case = step.note.split(",")[0]
        if case in ("case 9 of 30", "case 29 of 30") and case not in alive:
            gc.collect()
            alive[case] = sum(type(one) in (sx.Image, Tensor) for one in gc.get_objects())
    first, last = alive.values()
    assert last <= first
