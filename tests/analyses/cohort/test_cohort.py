"""A cohort: every case of a folder, in a folder that is its own state."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.forks import Fork
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.hold import LOCK
from napari_segxai.analyses.cohort.jobs import job as jobs
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource
from napari_segxai.io import saving

FAST = ["misure:iterations=3:kernel=3", "vanilla-gradient"]


def picture(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(array.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images, two with a truth; one of them turned, so that its object lies elsewhere."""
    values = planted_image().array * 255
    for number, turned in enumerate((values, values.T, values[::-1])):
        picture(tmp_path / "data" / f"c{number}.png", turned)
    for number in (0, 1):
        picture(tmp_path / "data" / f"c{number}_label.png", np.zeros((32, 32)) + (values > 200))
    return tmp_path / "data"


@pytest.fixture
def model() -> sx.SegmentationModel:
    return sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))


@pytest.fixture
def done(monkeypatch) -> list[tuple[str, str]]:
    """Case and map of every job that is really done."""
    calls = []
    original = jobs.do

    def do(plan, case, job, *rest):
        calls.append((case.id, job.map))
        return original(plan, case, job, *rest)

    monkeypatch.setattr("napari_segxai.analyses.cohort.where.cases.do", do)
    return calls


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same(one: sx.Cohort, other: sx.Cohort) -> bool:
    timeless = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    return timeless(one.objects) == timeless(other.objects) and timeless(one.maps) == timeless(other.maps)


def test_what_is_found_of_every_case(folder, model, tmp_path):
    found = sx.run_cohort(
        model, folder, ["object"], FAST, out=tmp_path / "out", metrics=["dice-explained", "f1-mask"]
    )
    assert [(row["case"], row["label"]) for row in found.objects] == [(f"c{k}", "object") for k in range(3)]
    assert [(row["case"], row["map"]) for row in found.maps] == [
        (f"c{k}", name) for k in range(3) for name in ("misure", "vanilla-gradient")
    ]
    assert not found.failed
    assert found.missing == 0
    for k, row in enumerate(found.objects):
        image = sx.read_image(folder / f"c{k}.png")
        mask = model.predict(image) == 1
        assert row["size_px"] == mask.sum()
        assert row["area_pixel2"] == mask.sum()
        assert row["touches_border"] == bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())
        assert (row["confidence"] is None) == (not mask.any())
        if mask.any():
            assert 0.5 < row["confidence"] <= 1
            assert 0 <= row["entropy_bits"] < 1
        if k < 2:
            truth = np.asarray(Picture.open(folder / f"c{k}_label.png")) > 0
            assert row["truth_px"] == truth.sum()
            assert row["truth_dice"] == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
            wrong = sx.error_components(model, image, "object", truth)
            for kind in ("false-positive", "false-negative"):
                sizes = [one.pixels for one in wrong if one.error == kind]
                name = f"truth_{kind.replace('-', '_')}"
                assert row[f"{name}s"] == len(sizes)
                assert row[f"{name}_largest_px"] == max(sizes, default=0)
        else:
            assert "truth_dice" not in row
    for row in found.maps:
        image = sx.read_image(folder / f"{row['case']}.png")
        alone = sx.compare(
            model, image, "object", [FAST[row["map"] != "misure"]], metrics=["dice-explained"], controls=0
        )
        assert row["dice-explained"] == alone.rows[0]["value"]
        assert (row["f1-mask"] is not None) == (row["case"] != "c2")
        opened = found.explanation(row["case"], "object", row["map"])
        np.testing.assert_array_equal(opened.map, alone.maps[row["map"]])
    assert [row["case"] for row in rows(tmp_path / "out" / "objects.csv")] == ["c0", "c1", "c2"]
    table = rows(tmp_path / "out" / "maps.csv")
    assert float(table[0]["ratio_sufficient"]) == found.maps[0]["ratio_sufficient"]
    assert str(found) == "3 cases, 3 objects, 6 maps"


def test_what_is_there_is_not_done_again(folder, model, tmp_path, done):
    ask = lambda methods=FAST, **more: sx.run_cohort(
        model, folder, ["object"], methods, out=tmp_path / "out", **more
    )
    first = ask()
    assert len(done) == 9
    done.clear()
    assert same(ask(), first)
    assert not done
    picture(folder / "c1.png", planted_image().array * 250)
    ask()
    assert done == [("c1", ""), ("c1", "misure"), ("c1", "vanilla-gradient")]
    done.clear()
    more = ask([*FAST, "seg-grad-cam:layer=mix"])
    assert done == [(f"c{k}", "seg-grad-cam") for k in range(3)]
    done.clear()
    fewer = ask(FAST[1:])  # what is asked no longer is in no table, but is there when it is asked again
    assert not done
    assert {row["map"] for row in fewer.maps} == {"vanilla-gradient"}
    assert same(ask([*FAST, "seg-grad-cam:layer=mix"]), more)
    assert not done
    ask(seed=1)
    assert len(done) == 6
    done.clear()
    with sx_weights(model):
        ask(seed=1)
    assert len(done) == 9


class sx_weights:
    """While open, one weight of a model is another."""

    def __init__(self, model):
        self.weight = next(model.module.parameters()).data

    def __enter__(self):
        self.before = self.weight.clone()
        self.weight += 1e-3

    def __exit__(self, *_):
        self.weight.copy_(self.before)


def test_a_case_that_fails_is_a_row_and_is_tried_again(folder, model, tmp_path, done):
    (folder / "c1.png").write_bytes(b"no picture")
    picture(folder / "c0_label.png", np.full((32, 32), 7))
    found = sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out")
    failed = {(row["case"], row.get("map")): row["error"] for row in found.failed}
    assert set(failed) == {("c0", None), ("c1", None), ("c1", "misure"), ("c1", "vanilla-gradient")}
    assert "7" in failed["c0", None]
    assert "c1.png" in failed["c1", "misure"]
    assert [row["error"] == "" for row in found.maps] == [True, True, False, False, True, True]
    with pytest.raises(sx.UserError, match=r"could not be made \(.*c1\.png"):
        found.explanation("c1", "object", "misure")
    done.clear()
    picture(folder / "c1.png", planted_image().array * 255)
    picture(folder / "c0_label.png", np.zeros((32, 32)))
    found = sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out")
    assert not found.failed
    assert {case for case, _ in done} == {"c0", "c1"}


def test_maps_know_their_image_from_every_folder(folder, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sx.run_cohort(model, folder.name, ["object"], FAST[1:], out="out")
    monkeypatch.chdir("/")
    found = sx.read_cohort(tmp_path / "out").explanation("c0", "object")
    assert found.record.image["path"] == str(folder / "c0.png")


def test_parts_make_the_whole(folder, model, tmp_path):
    asked = (model, folder, ["object"], FAST)
    whole = sx.run_cohort(*asked, out=tmp_path / "whole")
    half = sx.run_cohort(*asked, out=tmp_path / "parts", shard=(1, 2))
    assert half.missing == 3
    assert same(sx.run_cohort(*asked, out=tmp_path / "parts", shard=(2, 2)), whole)
    assert same(sx.read_cohort(tmp_path / "parts"), whole)
    with pytest.raises(sx.UserError, match="shard 3 of 2: there are 3 cases"):
        sx.run_cohort(*asked, out=tmp_path / "parts", shard=(3, 2))


def test_tables_alone(folder, model, tmp_path):
    found = sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out", keep="tables")
    assert len(found.maps) == 6
    kept = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert kept == {"objects.csv", "maps.csv", "left_out.csv", "columns.csv", "record.json", "job.json", LOCK}


def test_stopped_between_two_jobs(folder, model, tmp_path, done):
    steps = sx.run_cohort_steps(model, folder, ["object"], FAST, out=tmp_path / "out")
    for step in steps:
        if step.note.startswith("case 2"):
            break
    steps.close()
    kept = step.partial()
    assert len(kept.maps) == len(rows(tmp_path / "out" / "maps.csv")) == 2
    done.clear()
    found = sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out")
    assert not [case for case, _ in done if case == "c0"]
    assert found.missing == 0


def test_steps_grow_to_their_total(folder, model, tmp_path):
    steps = list(sx.run_cohort_steps(model, folder, ["object"], FAST, out=tmp_path / "out"))
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert {step.total for step in steps} == {done[-1]}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
def test_killed_in_mid_run(tmp_path):
    images = resource("sample_data/images")
    for number in range(6):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{number}.png").write_bytes((images / "triangle_1.png").read_bytes())
    out = tmp_path / "out"

    def cohort() -> None:
        torch.set_num_threads(1)  # threads of OpenMP do not come along
        asked = {"labels": ["triangle"], "methods": ["misure:iterations=5"], "device": "cpu"}
        sx.run_cohort("triangle", tmp_path / "data", **asked, out=out)

    run = Fork(cohort, tmp_path / "said")
    deadline = time.monotonic() + 120
    while len(list(out.glob("cases/*/maps/*/*/record.json"))) < 2:
        assert os.waitpid(run.pid, os.WNOHANG) == (0, 0), run.said
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    there = sx.read_cohort(out)
    assert 2 <= len(there.maps) < 6
    before = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/*/**/record.json")}
    again = Fork(cohort, tmp_path / "said")
    assert again.wait() == 0, again.said
    found = sx.read_cohort(out)
    assert (len(found.objects), len(found.maps), found.missing) == (6, 6, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_folder_that_another_run_is_writing(folder, model, tmp_path):
    asked = {"model": model, "cases": folder, "labels": ["object"], "methods": FAST, "out": tmp_path / "out"}
    going = sx.run_cohort_steps(**asked)
    next(going)
    for shard in ((1, 1), (1, 2)):
        with pytest.raises(sx.UserError, match="another run is writing to"):
            sx.run_cohort(**asked, shard=shard)
    going.close()
    one = sx.run_cohort_steps(**asked, shard=(1, 2))
    next(one)
    with pytest.raises(sx.UserError, match="another run is writing to"):
        sx.run_cohort(**asked, shard=(1, 2))
    sx.run_cohort(**asked, shard=(2, 2))
    one.close()


def test_folders_that_hold_something_else(folder, model, tmp_path):
    sx.explain(model, sx.read_image(folder / "c0.png"), "object", "vanilla-gradient").save(tmp_path / "one")
    with pytest.raises(sx.UserError, match="holds an explanation; name another folder for the cohort"):
        sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "one")
    with pytest.raises(sx.UserError, match="holds an explanation, not a cohort"):
        sx.read_cohort(tmp_path / "one")
    with pytest.raises(sx.UserError, match="there is no such folder"):
        sx.read_cohort(tmp_path / "nothing")
    with pytest.raises(sx.UserError, match="holds no cohort; name the folder"):
        sx.read_cohort(folder)
    sx.run_cohort(model, folder, ["object"], FAST[1:], out=tmp_path / "out", shard=(1, 3))
    record = tmp_path / "out" / "record.json"
    told = json.loads(record.read_text())
    for change, words in (
        ({"schema": 99}, "a newer version of this program; update"),
        ({"cases": [{**told["cases"][0], "folder": "../.."}]}, "lies outside the folder"),
        ({"jobs": [{**told["jobs"][0], "place": "/etc"}]}, "lies outside the folder"),
        ({"cases": []}, "cases"),
    ):
        record.write_text(json.dumps({**told, **change}))
        with pytest.raises(sx.UserError, match=words):
            sx.read_cohort(tmp_path / "out")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"labels": ["liver"]}, "has no label 'liver'"),
        ({"labels": []}, "name at least one label and one method"),
        ({"methods": []}, "name at least one label and one method"),
        ({"methods": ["nothing"]}, "nothing"),
        ({"methods": ["rise:maks=3"]}, "maks"),
        ({"metrics": ["nothing"]}, "nothing"),
        ({"keep": "some"}, "keep"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_the_work(folder, model, tmp_path, asked, words):
    with pytest.raises(sx.UserError, match=words):
        sx.run_cohort_steps(
            model, folder, **{"labels": ["object"], "methods": FAST, "out": tmp_path / "out", **asked}
        )
    assert not (tmp_path / "out").exists()


def test_too_little_room_is_said_before_the_work(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_segxai.io.saving.least_size", lambda image, maps: 2**60)
    with pytest.raises(
        sx.UserError, match=r"need at least 3221225472.0 GiB, but only .* or keep tables alone"
    ):
        sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("cases/*"))


def test_a_job_that_a_stranger_wrote_is_done_again(folder, model, tmp_path):
    sx.run_cohort(model, folder, ["object"], FAST[1:], out=tmp_path / "out")
    kept = next((tmp_path / "out" / "cases").rglob("maps/**/job.json"))
    facts = json.loads(kept.read_text())
    whole = facts["rows"][0]
    for rows in (
        [{}],
        [{**whole, "error": 3}],
        [{**whole, "label": ["x"]}],
        [[["error", ""], ["case", "c0"]]],
    ):
        kept.write_text(json.dumps({**facts, "rows": rows}))
        assert "1 job to do" in str(sx.read_cohort(tmp_path / "out"))
    assert sx.run_cohort(model, folder, ["object"], FAST[1:], out=tmp_path / "out").missing == 0


def test_a_folder_that_cannot_be_made_is_named(folder, model, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "odd" / LOCK).mkdir(parents=True)
    for place in ("file", "file/below", "odd"):
        with pytest.raises(sx.UserError, match=r"folder of the cohort|another folder"):
            sx.run_cohort(model, folder, ["object"], FAST[1:], out=tmp_path / place)


def test_maps_that_need_no_truth_are_made_without_one_that_cannot_be_used(folder, model, tmp_path):
    (folder / "c0_label.png").write_bytes(b"no picture")
    picture(folder / "c1_label.png", np.full((32, 32), 7))
    found = sx.run_cohort(
        model, folder, ["object"], FAST[1:], out=tmp_path / "out", metrics=["deletion-dice", "f1-mask"]
    )
    assert [(row["case"], "map" in row) for row in found.failed] == [("c0", False), ("c1", False)]
    assert [row["deletion-dice"] is not None for row in found.maps[:2]] == [True] * 2
    assert [row["f1-mask"] for row in found.maps] == [None] * 3
    words = [row["warnings"] for row in found.maps]
    assert "the truth, which cannot be used" in words[0]
    assert "c0_label.png" in words[0]
    assert "7" in words[1]
    assert "truth" not in words[2]


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_folder_that_is_removed_in_mid_run_ends_it(folder, model, tmp_path):
    asked = {"model": model, "cases": folder, "labels": ["object"], "methods": FAST, "out": tmp_path / "out"}
    going = sx.run_cohort_steps(**asked)
    next(going)
    shutil.rmtree(tmp_path / "out")
    other = sx.run_cohort_steps(**asked)
    next(other)
    with pytest.raises(sx.UserError, match="was removed or exchanged while the cohort was written"):
        list(going)
    list(other)
    assert sx.read_cohort(tmp_path / "out").missing == 0


def test_a_disk_that_is_full_in_mid_run(folder, model, tmp_path, monkeypatch):
    """The file system is stood in for: the fourth record finds no room."""
    original, done = saving.complete, []

    def complete(place, facts):
        done.append(place)
        if len(done) == 5:  # the tables, three jobs, and then
            raise OSError(28, "No space left on device")
        return original(place, facts)

    monkeypatch.setattr(saving, "complete", complete)
    ask = lambda: sx.run_cohort(model, folder, ["object"], FAST, out=tmp_path / "out")
    with pytest.raises(sx.UserError, match="No space left on device"):
        ask()
    assert not list((tmp_path / "out").rglob(saving.STAGE))
    there = sx.read_cohort(tmp_path / "out")
    assert (len(there.objects), len(there.maps), len(there.failed)) == (1, 2, 0)
    assert ask().missing == 0


def test_what_is_left_out_is_said_by_the_run_as_well(folder, tmp_path):
    picture(folder / "gone_label.png", np.zeros((8, 8)))
    asked = [
        "cohort",
        "run",
        str(folder),
        "--model",
        "triangle",
        "--methods",
        "nothing",
        "--out",
        str(tmp_path / "out"),
    ]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 2
    assert "left out: gone_label.png is a truth without an image" in shown.stderr
