"""Folders of results that are not as a run left them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.io.saving import check_file, ready_folder


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    return sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("a", "b"):
        Picture.fromarray((planted_image().array * 255).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def done(model, data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "out"
    sx.run_cohort(model, data, None, ["vanilla-gradient"], out=out)
    return out


@pytest.fixture
def out(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    told = json.loads(path.read_text())
    how(told)
    path.write_text(json.dumps(told))


def test_what_a_newer_version_wrote_is_not_replaced(model, data, out):
    change(out / "record.json", lambda told: told.update(schema=99))
    before = (out / "record.json").read_bytes()
    with pytest.raises(
        sx.UserError, match="a cohort of a newer version of this program, which this one would replace"
    ):
        sx.run_cohort(model, data, None, ["vanilla-gradient"], out=out)
    assert (out / "record.json").read_bytes() == before
    with pytest.raises(sx.UserError, match="saved by a newer version of this program; update"):
        sx.read_cohort(out)


@pytest.mark.parametrize("schema", [True, 1.0, "1", None, 0])
def test_another_schema_is_not_this_one(model, data, out, schema):
    change(out / "record.json", lambda told: told.update(schema=schema))
    with pytest.raises(sx.UserError, match="saved by an older version of this program; make it again"):
        sx.read_cohort(out)


@pytest.mark.parametrize("word", ["id", "folder"])
def test_no_case_counts_twice(out, word):
    def twice(told: dict[str, Any]) -> None:
        told["cases"][1][word] = told["cases"][0][word]

    change(out / "record.json", twice)
    with pytest.raises(sx.UserError, match=f"two cases have one {word}"):
        sx.read_cohort(out)


@pytest.mark.parametrize(
    "how",
    [
        lambda told: told["rows"][0].update(case="b"),
        lambda told: told["rows"][0].pop("label"),
        lambda told: told["rows"][0].update(label=None),
        lambda told: told.update(rows=[]),
    ],
)
def test_rows_that_are_not_those_of_their_case_are_made_again(model, data, out, how):
    whole = sx.read_cohort(out)
    change(out / "cases" / "a" / "objects" / "job.json", how)
    found = sx.read_cohort(out)
    assert [row["case"] for row in found.objects] == ["b"]
    assert found.missing == 1
    again = sx.run_cohort(model, data, None, ["vanilla-gradient"], out=out)
    assert again.objects == whole.objects
    assert again.missing == 0


def test_maps_that_are_not_there_say_why(model, data, out, tmp_path):
    change(
        out / "cases" / "a" / "maps" / "object" / "vanilla-gradient" / "job.json",
        lambda told: told["rows"][0].update(error="no memory"),
    )
    with pytest.raises(
        sx.UserError, match=r"the map vanilla-gradient of object of a could not be made \(no memory\)"
    ):
        sx.read_cohort(out).explanation("a", "object")
    shutil.rmtree(out / "cases" / "b")
    with pytest.raises(sx.UserError, match="the map vanilla-gradient of object of b is not there yet; run"):
        sx.read_cohort(out).explanation("b", "object")
    bare = sx.run_cohort(model, data, None, ["vanilla-gradient"], out=tmp_path / "bare", keep="tables")
    with pytest.raises(sx.UserError, match="bare kept tables alone, and no maps: run it again"):
        bare.explanation("a", "object")


def test_what_is_asked_for_does_not_take_the_place_of_results(out, tmp_path):
    before = {name: (out / name).read_bytes() for name in ("objects.csv", "maps.csv", "record.json")}
    with pytest.raises(sx.UserError, match="holds a cohort, whose files are left alone; name another folder"):
        sx.write_report(out, tmp_path / "r.html", tables=out)
    with pytest.raises(sx.UserError, match=r"maps\.csv is a file of a cohort; name another file"):
        sx.write_report(out, tmp_path / "r.html", anonymous=True, key=out / "maps.csv")
    command = ["cohort", "study", str(out), "averages", "--out", str(out / "objects.csv")]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert {name: (out / name).read_bytes() for name in before} == before
    assert not (tmp_path / "r.html").exists()


def test_report_and_key_are_two_files(out, tmp_path):
    with pytest.raises(sx.UserError, match="to be both report and key"):
        sx.write_report(out, tmp_path / "r.html", anonymous=True, key=tmp_path / "deep" / ".." / "r.html")
    (tmp_path / "note.txt").touch()
    with pytest.raises(sx.UserError, match="cannot be written"):
        sx.write_report(out, tmp_path / "r.html", tables=tmp_path / "note.txt" / "tables")


def test_a_record_of_another_program_is_none_of_ours(tmp_path):
    (tmp_path / "record.json").write_text("[]")
    (tmp_path / "r.pdf").touch()
    check_file(tmp_path / "r.pdf")
    assert ready_folder(tmp_path) == tmp_path
