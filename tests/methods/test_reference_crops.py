"""Reference crops of l-crp: planted spots in a folder of images, whose shares of the score are known."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import tifffile
from helpers.networks import card
from helpers.relevance import BrightOrDark
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.cli.app import app

SIZE = 16
BRIGHT, DARK = (3, 12), (12, 3)


def spots(bright: float, dark: float) -> np.ndarray:
    array = np.zeros((SIZE, SIZE), np.float32)
    array[BRIGHT], array[DARK] = bright, -dark
    return array


FOLDER = {"a": (1, 1), "b": (3, 9), "c": (0, 1), "d": (2, 1), "nothing": (0, 0)}
"""By image how bright and how dark its spots are."""

SHARES = {"d": 4 / 5, "a": 2 / 3, "b": 6 / 15}
"""Of the score, that the bright channel carries."""


@pytest.fixture(scope="module")
def model():
    return sx.load_model(BrightOrDark(), card=card(grid={"size": [SIZE, SIZE]}))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "references"
    place.mkdir()
    for name, (bright, dark) in FOLDER.items():
        tifffile.imwrite(place / f"{name}.tif", spots(bright, dark))
    return place


def ask(model, folder, **params):
    target = sx.Target("object", region="image", reduction="sum")
    image = sx.Image(spots(1, 0.5))
    return sx.explain(model, image, target, "l-crp", layer="look", rule="z-plus", references=folder, **params)


def test_crops_are_ordered_by_share_and_lie_where_the_channel_is_strongest(model, folder):
    found = ask(model, folder)
    galleries = {one.name: one.rows() for one in found.galleries}
    bright = galleries["relevance"]["channel 0"]
    assert [one.case for one in bright] == list(SHARES)
    assert [float(one.text.split()[0]) for one in bright] == pytest.approx(list(SHARES.values()), rel=1e-2)
    assert all(one.at == BRIGHT for one in bright)
    assert all(one.values.max() == FOLDER[one.case][0] for one in bright)
    assert [one.case for one in galleries["relevance"]["channel 1"]] == ["c", "b", "a", "d"]
    active = galleries["activation"][
        "channel 0"
    ]  # the most active is not where most of the score rests on it
    assert [one.case for one in active] == ["b", "d", "a"]
    dark = galleries["activation"]["channel 1"]
    assert [(one.case, one.at) for one in dark] == [(name, DARK) for name in ("b", "a", "c", "d")]


def test_the_folder_is_passed_over_once_and_that_is_told_before(model, folder):
    target = sx.Target("object", region="image", reduction="sum")
    asked = {"layer": "look", "rule": "z-plus", "references": folder}
    plan = ExplanationPlan.make(model, sx.Image(spots(1, 0.5)), target, "l-crp", channels=2, **asked)
    found = ask(model, folder, channels=2)
    assert (plan.passes.forward, plan.passes.backward) == (1 + 5 + 5, 1 + 5 + 5)
    again = 4  # images of which crops by relevance are kept: for the maps below them
    assert found.record.passes["forward"] == 1 + len(FOLDER) + again
    assert found.record.passes["backward"] == 1 + 4 + again  # where nothing is drawn, nothing is carried back
    assert found.record.passes["suffix"] <= plan.passes.suffix
    assert found.record.parameters["references"] == str(folder)
    same = sx.explain(
        model, sx.Image(spots(1, 0.5)), target, "l-crp", layer="look", rule="z-plus", channels=2
    )
    assert (same.map == found.map).all()
    assert same.galleries == ()


def test_below_each_crop_is_what_reaches_it_through_its_channel_alone(model, folder):
    rows = {one.name: one.rows() for one in ask(model, folder).galleries}["relevance"]
    for channel in (0, 1):
        crops, maps = rows[f"channel {channel}"], rows[f"through channel {channel} alone"]
        assert [(one.case, one.at) for one in maps] == [(one.case, one.at) for one in crops]
        for crop, map in zip(crops, maps, strict=True):
            assert map.values.shape == (*crop.values.shape, 3)
            seen = np.argwhere(map.values.min(-1) < 0.99)  # what is not white
            assert len(seen) == 1  # the spot of this channel, and nothing of the other
            assert crop.values[tuple(seen[0])] != 0


def test_what_is_drawn_nowhere_gives_words(model, folder):
    for name in FOLDER:
        tifffile.imwrite(folder / f"{name}.tif", spots(0, 0))
    found = ask(model, folder)
    assert found.galleries == ()
    assert (
        "object is drawn in none of the reference images, so that there are no crops."
        in found.record.warnings
    )


def test_a_channel_that_carries_nothing_elsewhere_gives_words(model, folder):
    for name in FOLDER:
        tifffile.imwrite(folder / f"{name}.tif", spots(1, 0))
    found = ask(model, folder)
    assert list(found.galleries[0].rows()) == ["channel 0", "through channel 0 alone"]
    assert any(one.startswith("channel 1 of look carries nothing") for one in found.record.warnings)


class InVolumes(BrightOrDark):
    """The same in 3D."""

    def __init__(self):
        super().__init__()
        for name in ("look", "head"):
            flat = getattr(self, name)
            deep = nn.Conv3d(flat.in_channels, flat.out_channels, 1, bias=False)
            deep.weight = nn.Parameter(flat.weight.detach()[..., None].clone())
            setattr(self, name, deep)


def test_crops_of_volumes_are_planes_and_know_their_place(tmp_path):
    for k, (bright, dark) in enumerate([(1, 1), (3, 9), (2, 1)]):
        array = np.zeros((12, 14, 10), np.float32)
        array[3, 10, 2 + k], array[8, 4, 7] = bright, -dark
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 2, 1.0])), tmp_path / f"v{k}.nii.gz")
    model = sx.load_model(InVolumes(), card=card(spatial_dims=3, orientation="RAS"))
    target = sx.Target("object", region="image", reduction="sum")
    image = sx.read_image(tmp_path / "v0.nii.gz")
    asked = {"layer": "look", "rule": "z-plus", "references": tmp_path}
    found = sx.explain(model, image, target, "l-crp", **asked)
    crops = found.galleries[1].rows()["channel 0"]
    assert [(one.case, one.at) for one in crops] == [(f"v{k}", (3, 10, 2 + k)) for k in (1, 2, 0)]
    assert all(
        one.values.ndim == 2 and one.values.max() == bright
        for one, bright in zip(crops, (3, 2, 1), strict=True)
    )


def test_an_image_that_cannot_be_read_is_told_and_the_others_count(model, folder):
    (folder / "z.tif").write_bytes(b"no picture")
    found = ask(model, folder)
    assert len(found.galleries[0].rows()["channel 0"]) == 3
    assert any("1 of 6 reference images could not be used; z: " in one for one in found.record.warnings)


def test_a_folder_without_readable_images_is_one_sentence(model, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(sx.UserError, match="holds no case that could be read"):
        ask(model, empty)
    (empty / "a.tif").write_bytes(b"no picture")
    with pytest.raises(sx.UserError, match=r"empty holds no image that planted can be shown; .*misnamed\?$"):
        ask(model, empty)
    with pytest.raises(sx.UserError, match="is not there"):
        ask(model, tmp_path / "nowhere")
    with pytest.raises(sx.UserError, match=r"references is 7; it has to be the path of a folder\."):
        ask(model, 7)


def test_checks_do_without_the_folder(model, folder):
    found = ask(model, folder)
    shutil.rmtree(folder)
    (verdict,) = sx.check(found, model, checks=["other-seed"])
    assert verdict.passed


def test_the_command_takes_a_folder(folder, tmp_path):
    image, out = folder / "d.tif", tmp_path / "out"
    given = ["explain", str(image), "--model", "triangle", "--label", "triangle", "--out", str(out)]
    refused = CliRunner().invoke(app, [*given, "--method", "misure", "--references", str(folder)])
    assert refused.exit_code != 0
    assert "misure has no parameter 'references'" in refused.output + str(refused.exception)
    done = CliRunner().invoke(
        app,
        [*given, "--method", "l-crp", "-p", "channels=1", "--references", str(folder), "--region", "image"],
    )
    assert done.exit_code == 0, done.output
    record = json.loads((out / "record.json").read_text())
    assert record["parameters"]["references"] == str(folder)
    assert record["passes"]["forward"] == 1 + len(FOLDER)
