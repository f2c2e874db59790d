"""Numbers beyond all bounds, images of one pixel, an output that is full: a result, or one sentence and status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from networks import card
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli import app


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_full_standard_output_is_said(place, json):
    command = [
        "channels",
        str(place / "one.png"),
        "--model",
        str(place),
        "--label",
        "object",
        "--region",
        "image",
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "napari_segxai", *command, *json],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["napari-segxai: No space left on device."]
