"""What cannot be saved is refused before the work, and what was worked out is not lost."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from helpers.files.saving import belongs_together, full
from helpers.networks import planted_image, planted_model
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.core.errors import UserError
from napari_segxai.datasets.resources import resource
from napari_segxai.io import saving
from napari_segxai.io.held import RECORD

TRIANGLE = str(resource("sample_data/images/triangle_1.png"))


COMMANDS = {
    "explain": ["--label", "triangle", "--method", "seg-grad-cam"],
    "flow": ["--layers", "decoder1"],
    "compare": ["--label", "triangle", "--methods", "seg-grad-cam", "--metrics", "pps"],
    "sweep": [
        *("--label", "triangle", "--method", "seg-grad-cam", "--metrics", "pps"),
        *("--grid", "layer=decoder1,decoder2"),
    ],
}


def run(command: str, *args: str):
    return CliRunner().invoke(app, [command, TRIANGLE, "--model", "triangle", *COMMANDS[command], *args])


def one_sentence(done, hint: str) -> None:
    assert done.exit_code == 2, (done.output, done.exception)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert hint in done.stderr
    assert not done.stdout


@pytest.fixture
def no_work(monkeypatch):
    """Fail as soon as a network is asked for anything."""

    def never(*_, **__):
        pytest.fail("the work has begun")

    monkeypatch.setattr("napari_segxai.models.segmentation.SegmentationModel.logits", never)
    monkeypatch.setattr("napari_segxai.models.segmentation.SegmentationModel.prepare", never)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_saved_is_refused_before_the_work(command, tmp_path, no_work, monkeypatch):
    (tmp_path / "file").write_text("mine")
    one_sentence(run(command, "--out", str(tmp_path / "file")), "is a file, not a folder")
    one_sentence(run(command, "--out", str(tmp_path / "file" / "below")), "is a file, not a folder")
    one_sentence(run(command, "--out", str(tmp_path / ("n" * 300))), "File name too long")
    if os.path.isdir("/proc/self"):
        one_sentence(run(command, "--out", "/proc/self/out"), "cannot be written")
    for name in ("record", "taken"):
        (tmp_path / name).mkdir()
    (tmp_path / "record" / RECORD).mkdir()
    one_sentence(
        run(command, "--out", str(tmp_path / "record"), "--overwrite"), "is not a record of this program"
    )
    sure = {"explain": "saliency.nii.gz", "flow": "flow.svg"}.get(command, "table.csv")
    (tmp_path / "taken" / sure).write_text("mine")
    for extra in ([], ["--overwrite"]):
        one_sentence(run(command, "--out", str(tmp_path / "taken"), *extra), f"holds {sure}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    if command in ("explain", "compare"):
        one_sentence(run(command, "--out", str(tmp_path / "new")), "MB, but only 5e-06 MB are free")
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    one_sentence(run(command, "--out", str(tmp_path / "new")), "No space left on device")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "record", "taken"]
    assert (tmp_path / "taken" / sure).read_text() == "mine"


def test_a_label_or_tile_given_twice_is_refused_before_the_work(tmp_path, no_work):
    out = ["--out", str(tmp_path / "out")]
    one_sentence(run("explain", "--label", "triangle", *out), "--label 'triangle' is given twice")
    one_sentence(run("flow", "--label", "triangle", "--label", "triangle", *out), "is given twice")
    one_sentence(run("flow", "--tile", "triangle:nowhere", *out), "not a LABEL:LAYER")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fills_during_the_work_is_one_sentence(command, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_sync", full)
    one_sentence(run(command, "--out", str(tmp_path / "out")), "No space left on device")
    assert not list(tmp_path.iterdir())


def test_what_comes_in_the_way_during_the_work_does_not_cost_the_result(tmp_path, monkeypatch):
    out, real = tmp_path / "out", sx.explain_all

    def explain_all(*args, **kwargs):
        found = real(*args, **kwargs)
        out.mkdir()
        (out / "saliency.tif").write_text("mine")
        return found

    monkeypatch.setattr(sx, "explain_all", explain_all)
    done = run("explain", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert f"The results are in {tmp_path / 'out-2'}." in done.stderr
    assert belongs_together(tmp_path / "out-2", {}) == "seg-grad-cam"
    assert (out / "saliency.tif").read_text() == "mine"


def test_a_check_that_fails_does_not_cost_the_result(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise UserError("this check cannot be made.")

    monkeypatch.setattr("napari_segxai.checks.run.check", fails)
    done = run("explain", "--check", "other-seed", "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "this check cannot be made." in done.stderr
    assert belongs_together(tmp_path / "out", {}) == "seg-grad-cam"


def test_weights_of_a_noise_network_are_refused_before_the_training(tmp_path, no_work):
    (tmp_path / "w.safetensors").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        sx.explain(
            planted_model(), planted_image(), "object", "u-noise", weights=str(tmp_path / "w.safetensors")
        )
