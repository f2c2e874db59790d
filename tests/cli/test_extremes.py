"""Numbers beyond all bounds, images of one pixel, an output that is full: a result, or one sentence and status 2."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers.forks import Fork
from helpers.networks import card
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.io.tables import write_csv


@pytest.fixture
def place(tmp_path):
    """A folder with a model of one 1 x 1 convolution and an image of one pixel."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(nn.Conv2d(1, 2, 1).state_dict(), tmp_path / "w.safetensors")
    write_card(tmp_path / "model.yaml")
    Image.new("L", (1, 1), 100).save(tmp_path / "one.png")
    return tmp_path


def write_card(path: Path, **grid: object) -> Path:
    fields = card(
        channels=["grey"],
        architecture="torch.nn:Conv2d",
        arguments={"in_channels": 1, "out_channels": 2, "kernel_size": 1},
        weights="w.safetensors",
        **({"grid": grid} if grid else {}),
    )
    path.write_text(yaml.safe_dump(fields))
    return path


def explain(place: Path, *more: str):
    common = ["--model", str(place), "--label", "object", "--region", "image", "--out", str(place / "out")]
    return CliRunner().invoke(app, ["explain", str(place / "one.png"), *common, *more])


def refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "rise", "-p", "masks=1e20"], ["masks", "or less"]),
        (["--method", "rise", "-p", f"masks={10**20}"], ["masks", "or less"]),
        (["--method", "rise", "-p", "masks=inf"], ["masks"]),
        (["--method", "vanilla-gradient", "--seed", "1e20"], ["--seed"]),
        (["--method", "vanilla-gradient", "--seed", str(10**20)], ["seed", "whole number from 0"]),
    ],
    ids=range(5),
)
def test_numbers_beyond_all_bounds_are_refused(place, more, words):
    refused(explain(place, *more), *words)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"size": [10**9, 10**9]}, ["size", "the most"]),
        ({"size": [10**30, 8]}, ["size", "the most"]),
        ({"size": [0, 0]}, ["size", "positive"]),
        ({"multiple": 10**9}, ["multiple", "the most"]),
        ({"multiple": 10**30}, ["multiple", "the most"]),
        ({"multiple": 0}, ["multiple", "1"]),
    ],
    ids=range(6),
)
def test_grids_beyond_all_bounds_are_refused(place, grid, words):
    write_card(place / "model.yaml", **grid)
    refused(explain(place, "--method", "vanilla-gradient"), *words)


@pytest.mark.parametrize("method", ["vanilla-gradient", "occlusion", "integrated-gradients", "misure"])
def test_an_image_of_one_pixel_is_explained_and_saved(place, method):
    result = explain(place, "--method", method)
    assert result.exit_code == 0, result.output
    saved = place / "out" / "saliency.nii.gz"
    assert sx.read_image(saved).array.size == 1


@pytest.mark.parametrize("method", ["rise", "lime"])
def test_cells_that_one_pixel_does_not_hold_are_refused(place, method):
    refused(explain(place, "--method", method), "cells", "1 x 1")


@pytest.mark.skipif(
    not (Path("/dev/full").exists() and hasattr(os, "fork")), reason="no device that is always full"
)
@pytest.mark.parametrize("json", [[], ["--json"]])
@pytest.mark.parametrize("buffering", [1, -1])
def test_a_full_standard_output_is_said(place, json, buffering):
    def child():
        torch.set_num_threads(1)
        with open("/dev/full", "w") as full:
            os.dup2(full.fileno(), 1)
        sys.stdout = open(1, "w", buffering=buffering, closefd=False)  # noqa: SIM115
        common = ["--model", str(place), "--label", "object", "--region", "image"]
        app(["channels", str(place / "one.png"), *common, *json])

    run = Fork(child, place / "said")
    assert run.wait() == 2
    lines = run.said.splitlines() if buffering == 1 else run.said.splitlines()[-1:]
    assert lines == ["napari-segxai: No space left on device."]


def command(place: Path, name: str, *more: str):
    common = ["--model", str(place), "--label", "object", "--region", "image"]
    return CliRunner().invoke(app, [name, str(place / "one.png"), *common, *more])


COMMANDS = {
    "compare": ["--methods", "vanilla-gradient", "--metrics", "insertion-dice"],
    "sweep": ["--method", "rise", "--grid", "masks=2,3"],
    "channels": [],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_too_full_is_said_before_the_work(place, monkeypatch, name):
    usage = shutil.disk_usage(place)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=0))
    for work in ("compare.api", "sweep.api", "channels.api"):
        monkeypatch.setattr(f"napari_segxai.analyses.{work}.finish", lambda *_: pytest.fail("the work began"))
    refused(command(place, name, *COMMANDS[name], "--out", str(place / "out")), "free")
    assert not (place / "out").exists()


def test_channels_are_saved_as_one_step_with_a_record(place):
    out = place / "out"
    result = command(place, "channels", "--how", "mean", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert str(out / "channels.csv") in result.stdout
    [row] = csv.DictReader((out / "channels.csv").open())
    assert row["channel"] == "grey"
    record = json.loads((out / "record.json").read_text())
    assert record["kind"] == "channel importance"
    assert (record["how"], record["model"]["name"], record["image"]["name"]) == ("mean", "planted", "one")
    assert list(record["files"]) == ["channels.csv"]
    refused(command(place, "channels", "--out", str(out)), "already holds an importance of channels")
    assert command(place, "channels", "--out", str(out), "--overwrite").exit_code == 0


def test_what_a_terminal_cannot_write_does_not_end_a_run(place):
    line = ["--model", str(place), "--label", "object", "--region", "image", "--out", str(place / "Höhe")]
    done = CliRunner(charset="ascii").invoke(
        app, ["compare", str(place / "one.png"), *line, *COMMANDS["compare"]]
    )
    assert done.exit_code == 0, done.output
    assert b"H\\xf6he" in done.stdout_bytes


def test_a_strangers_module_in_the_working_folder_is_not_taken_for_a_library(tmp_path):
    (tmp_path / "typer.py").write_text("raise SystemExit('ran')")
    line = [sys.executable, "-m", "napari_segxai", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, sx.__version__), done.stderr


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", "+cmd|x", "-2+3"])
def test_a_name_is_no_formula_of_a_spreadsheet(tmp_path, name):
    write_csv(tmp_path / "t.csv", [{"label": name, "value": -1.5}, {"label": "-3", "value": "+4"}])
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == [f"'{name},-1.5", "-3,+4"]
