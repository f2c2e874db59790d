"""Comparing methods on the command line."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource


def test_the_command_line_gives_the_same_numbers(tmp_path):
    image = resource("sample_data/images/triangle_1.png")
    common = [str(image), "--model", "triangle", "--label", "triangle"]
    run = CliRunner().invoke
    out = run(app, ["compare", *common, "--methods", "seg-grad-cam,rise:masks=10", "--metrics", "pps,ips", "--out",
                    str(tmp_path / "c"), "--json", "--seed", "3", "-o", "binarize=0.3"])  # fmt: skip
    assert out.exit_code == 0, out.output
    table = json.loads(out.output)
    found = sx.compare(
        "triangle", sx.read_image(image), "triangle", ["seg-grad-cam", "rise:masks=10"], metrics="pps,ips", seed=3,
        binarize=0.3,
    )  # fmt: skip
    assert [row["pps"] for row in table] == [row["pps"] for row in found.table]
    assert (tmp_path / "c" / "comparison.png").exists()
    again = run(app, ["compare", *common, "--methods", "rise", "--out", str(tmp_path / "c")])
    assert again.exit_code == 2
    out = run(
        app,
        [
            "sweep",
            *common,
            "--method",
            "rise",
            "--grid",
            "masks=4,8",
            "--metrics",
            "ips",
            "--out",
            str(tmp_path / "s"),
        ],
    )
    assert out.exit_code == 0, out.output
    assert "ips" not in out.output or "table.csv" in out.output
    out = run(app, ["metrics"])
    assert "dice-explained" in out.output
    out = run(
        app,
        [
            "explain",
            *common,
            "--label",
            "background",
            "--method",
            "rise",
            "-p",
            "masks=4",
            "--out",
            str(tmp_path / "e"),
        ],
    )
    assert out.exit_code == 0, out.output
    assert {path.name for path in (tmp_path / "e").iterdir()} == {"triangle", "background"}
    assert nib.load(tmp_path / "e" / "triangle" / "saliency.nii.gz").shape[:2] == (112, 112)


def test_the_command_line_says_why_numbers_are_missing_and_what_was_done_to_the_truth(tmp_path):
    picture = sx.read_image(resource("sample_data/images/triangle_1.png"))
    array = np.repeat(picture.array.astype(np.float32)[..., None], 2, -1)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii.gz")
    moved = np.eye(4)
    moved[0, 3] = 1
    nib.save(nib.Nifti1Image((array > 0).astype(np.uint8), moved), tmp_path / "truth.nii.gz")
    call = [
        "compare",
        str(tmp_path / "scan.nii.gz"),
        "--model",
        "triangle",
        "--label",
        "triangle",
        "--slice",
        "1",
    ]
    call += [
        "--methods",
        "seg-grad-cam,vanilla-gradient",
        "--metrics",
        "ana,srm,f1-mask,insertion-dice,f1-box",
    ]
    call += ["-o", "steps=3"]
    run = CliRunner().invoke
    out = run(app, [*call, "--out", str(tmp_path / "a")])
    assert out.exit_code == 0, out.output
    table = out.output[out.output.index("insertion-dice") :].splitlines()
    assert [line for line in table if line.startswith("–")] == [
        "– no noise model was given. (ana, srm; seg-grad-cam, vanilla-gradient)",
        "– no truth was given. (f1-mask, f1-box; seg-grad-cam, vanilla-gradient)",
        "– random orders go through insertion and deletion alone.",
    ]
    noise = tmp_path / "noise.safetensors"
    volume = sx.read_image(tmp_path / "scan.nii.gz")
    small = {"steps": 1, "batch": 1, "depth": 1, "channels": 2, "weights": str(noise), "slice": 1}
    sx.explain("triangle", volume, "triangle", "u-noise", **small)
    call += ["--truth", str(tmp_path / "truth.nii.gz"), "--noise-model", str(noise), "--controls", "0"]
    out = run(app, [*call, "--out", str(tmp_path / "b")])
    assert out.exit_code == 0, out.output
    last = out.output.splitlines()
    assert not any(line.startswith("–") for line in last)
    assert "⚠ the truth truth lies on another grid than scan" in out.output
    out = run(app, [*call, "--out", str(tmp_path / "c"), "--json"])
    row = json.loads(out.stdout)[0]
    assert row["ana"] > 0
    assert row["f1-mask"] is not None
    assert "the truth truth lies on another grid" in out.stderr
    call[call.index("triangle", 5)] = "background"
    out = run(app, [*call, "--out", str(tmp_path / "d")])
    assert out.exit_code == 2
    assert "trained for label" in out.output
