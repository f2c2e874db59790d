"""The command line: what it writes, what it prints, how it fails."""

from __future__ import annotations

import json
import os
import sys
from inspect import signature

import nibabel as nib
import numpy as np
import pytest
import typer
from helpers.forks import Fork
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource

HEAD = str(resource("sample_data/images/t1_head.nii.gz"))
TRIANGLE = str(resource("sample_data/images/triangle_1.png"))


def run(*args: str):
    return CliRunner().invoke(app, list(args))


def explain(*args: str):
    return run("explain", *args)


@pytest.mark.skipif(not (hasattr(os, "fork") and os.path.exists("/dev/full")), reason="needs a full device")
def test_what_cannot_be_printed_is_one_line(tmp_path):
    """What the system refuses, a full disk say, is told as any other mistake is."""

    def child():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        app(["models"])

    run = Fork(child, tmp_path / "printed", tmp_path / "said")
    assert run.wait() == 2
    assert (tmp_path / "said").read_text() == "napari-segxai: No space left on device.\n"


def test_help_and_version():
    assert "explain" in run("--help").stdout
    assert run("--version").stdout.strip() == sx.__version__


def test_listings_are_a_list_of_objects():
    methods = json.loads(run("methods", "--json").stdout)
    assert {"misure", "rise", "seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"} <= {
        m["name"] for m in methods
    }
    for method in methods:
        assert {"name", "family", "question", "needs", "spatial_dims", "parameters", "passes"} <= set(method)
        for parameter in method["parameters"]:
            assert {"name", "type", "default", "bounds", "unit", "help"} <= set(parameter)
    models = json.loads(run("models", "--json").stdout)
    assert {"brain-extraction", "brain-tissue", "selfie", "triangle"} <= {m["name"] for m in models}
    for model in models:
        assert {"name", "labels", "spatial_dims", "channels", "license", "provenance"} <= set(model)
    layers = json.loads(run("layers", "triangle", "--json").stdout)
    assert {
        "name",
        "type",
        "stage",
        "shape",
        "order",
        "reason",
        "aliases",
        "convolution",
        "elsewhere",
    } == set(layers[0])
    for listing in (["models"], ["layers", "triangle"]):
        assert run(*listing).stdout.strip()
    text = run("methods").stdout
    assert text.startswith("Start here: ")
    questions = ["What did it need to see?", "Where is the evidence?", "Which network layer?", "What if?"]
    places = [text.index(f"\n{question}\n") for question in questions]
    assert places == sorted(places)
    assert places[0] < text.index("\nmisure  (") < places[1]


def test_a_volume_comes_back_with_the_inputs_grid_and_affine(tmp_path):
    out = tmp_path / "out"
    done = explain(
        HEAD,
        "--model",
        "brain-extraction",
        "--label",
        "brain",
        "--method",
        "seg-hires-grad-cam",
        "--out",
        str(out),
    )
    assert done.exit_code == 0, done.output
    source = nib.load(HEAD)
    for name in ("saliency", "prediction"):
        written = nib.load(out / f"{name}.nii.gz")
        assert written.shape == source.shape
        np.testing.assert_array_equal(written.affine, source.affine)
        assert written.header["sform_code"] == source.header["sform_code"]
    record = json.loads((out / "record.json").read_text())
    assert record["method"] == "seg-hires-grad-cam"
    native = nib.load(out / "saliency_native.nii.gz")
    assert native.shape == (3, 3, 3)
    corners = [
        np.array([[-0.5, -0.5, -0.5, 1], [*(np.array(n.shape) - 0.5), 1]]) @ n.affine.T
        for n in (native, source)
    ]
    np.testing.assert_allclose(*corners, atol=1e-3)  # both cover the same extent of the world


def test_a_2d_image_comes_back_as_nifti_and_as_pictures(tmp_path):
    out = tmp_path / "out"
    done = explain(
        TRIANGLE, "--model", "triangle", "--label", "triangle", "-p", "iterations=5", "--out", str(out)
    )
    assert done.exit_code == 0, done.output
    for name in (
        "saliency",
        "sufficient_region",
        "minimally_sufficient_region",
        "dilation_stages",
        "prediction",
    ):
        assert (out / f"{name}.nii.gz").exists()
        assert (out / f"{name}.tif").exists() or (out / f"{name}.png").exists()
    table = (out / "dilation_stages.csv").read_text().splitlines()
    assert table[0].startswith("stage,dilations,radius,dice")
    assert "dice_explained" in done.stdout


def test_the_same_numbers_as_in_python(tmp_path):
    out = tmp_path / "out"
    args = ["-p", "masks=60", "-p", "keep=0.4", "--seed", "7", "--out", str(out)]
    done = explain(TRIANGLE, "--model", "triangle", "--label", "triangle", "--method", "rise", *args)
    assert done.exit_code == 0, done.output
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    ex = sx.explain(model, image, "triangle", "rise", seed=7, masks=60, keep=0.4)
    import tifffile

    np.testing.assert_array_equal(tifffile.imread(out / "saliency.tif"), ex.map)


def test_presets_and_json(tmp_path):
    args = [
        "--method",
        "rise",
        "-p",
        "preset=hasany",
        "-p",
        "masks=5",
        "--json",
        "--out",
        str(tmp_path / "out"),
    ]
    done = explain(TRIANGLE, "--model", "triangle", "--label", "triangle", *args)
    record = json.loads(done.stdout)
    assert record["parameters"]["score"] == "dice"
    assert record["parameters"]["masks"] == 5


def test_regions(tmp_path):
    base = [TRIANGLE, "--model", "triangle", "--label", "triangle", "--method", "seg-hires-grad-cam"]
    mask = np.zeros((112, 112), np.uint8)
    mask[20:60, 20:60] = 1
    import skimage.io

    skimage.io.imsave(tmp_path / "mask.png", mask * 255, check_contrast=False)
    maps = []
    for k, region in enumerate(["image", "40,40", str(tmp_path / "mask.png")]):
        out = tmp_path / str(k)
        done = explain(*base, "--region", region, "--out", str(out))
        assert done.exit_code == 0, done.output
        maps.append(json.loads((out / "record.json").read_text())["target"]["region"])
    assert [region["kind"] for region in maps] == ["image", "point", "drawn"]
    assert maps[1]["at"] == [40, 40]
    assert maps[2]["pixels"] == 1600


def test_a_region_stored_in_another_order_is_turned(tmp_path):
    source = nib.load(HEAD)
    mask = np.zeros(source.shape, np.uint8)
    mask[40:60, 50:70, 20:30] = 1
    image = nib.Nifti1Image(mask, source.affine)
    nib.save(nib.as_closest_canonical(image), tmp_path / "mask.nii.gz")
    from napari_segxai.io.regions import read_region

    np.testing.assert_array_equal(read_region(tmp_path / "mask.nii.gz", sx.read_image(HEAD)), mask > 0)
    shifted = source.affine.copy()
    shifted[:3, 3] += 50
    nib.save(nib.Nifti1Image(mask, shifted), tmp_path / "far.nii.gz")
    with pytest.raises(sx.UserError, match="mm away"):
        read_region(tmp_path / "far.nii.gz", sx.read_image(HEAD))


MISTAKES = {
    "no such file": (["nowhere.nii.gz", "--model", "triangle", "--label", "triangle"], "nowhere.nii.gz"),
    "no such model": ([TRIANGLE, "--model", "triangel", "--label", "triangle"], "'triangle'"),
    "no such label": ([TRIANGLE, "--model", "triangle", "--label", "tringle"], "'triangle'"),
    "no such method": (
        [TRIANGLE, "--model", "triangle", "--label", "triangle", "--method", "misur"],
        "'misure'",
    ),
    "no such parameter": (
        [TRIANGLE, "--model", "triangle", "--label", "triangle", "-p", "iteration=3"],
        "'iterations'",
    ),
    "bad value": ([TRIANGLE, "--model", "triangle", "--label", "triangle", "-p", "tau=2"], "1 or less"),
    "no pair": ([TRIANGLE, "--model", "triangle", "--label", "triangle", "-p", "tau"], "NAME=VALUE"),
    "3D model, 2D image": ([TRIANGLE, "--model", "brain-extraction", "--label", "brain"], "3D"),
    "channels": ([TRIANGLE, "--model", "selfie", "--label", "person"], "channel"),
    "no such layer": (
        [
            TRIANGLE,
            "--model",
            "triangle",
            "--label",
            "triangle",
            "--method",
            "seg-grad-cam",
            "-p",
            "layer=bottelneck",
        ],
        "'bottleneck'",
    ),
    "no such device": ([TRIANGLE, "--model", "triangle", "--label", "triangle", "--device", "tpu"], "'tpu'"),
    "pixel outside": (
        [TRIANGLE, "--model", "triangle", "--label", "triangle", "--region", "500,3"],
        "(500, 3)",
    ),
    "needless slice": ([TRIANGLE, "--model", "triangle", "--label", "triangle", "--slice", "3"], "slice"),
    "bad score": ([TRIANGLE, "--model", "triangle", "--label", "triangle", "--score", "odds"], "'odds'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line_with_status_2(mistake, tmp_path):
    args, hint = MISTAKES[mistake]
    done = explain(*args, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert hint in lines[0]
    assert "Traceback" not in done.output
    assert not (tmp_path / "out" / "record.json").exists()


def test_results_are_not_overwritten_unless_asked(tmp_path):
    args = [
        TRIANGLE,
        "--model",
        "triangle",
        "--label",
        "triangle",
        "--method",
        "seg-grad-cam",
        "--out",
        str(tmp_path),
    ]
    assert explain(*args).exit_code == 0
    again = explain(*args)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert explain(*args, "--overwrite").exit_code == 0


def test_the_demonstration_without_display_or_xvfb_says_what_to_install(monkeypatch, tmp_path):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.platform", "linux")
    done = run("demo", "--out", str(tmp_path))
    assert done.exit_code == 2
    assert "xvfb" in done.stderr


def test_a_frame_of_an_image_without_time_and_an_empty_region_are_refused(tmp_path):
    import skimage.io

    base = [TRIANGLE, "--model", "triangle", "--label", "triangle", "--out", str(tmp_path / "out")]
    done = explain(*base, "--frame", "3")
    assert done.exit_code == 2
    assert "time axis" in done.stderr
    skimage.io.imsave(tmp_path / "none.png", np.zeros((112, 112), np.uint8), check_contrast=False)
    done = explain(*base, "--region", str(tmp_path / "none.png"))
    assert done.exit_code == 2
    assert "region is empty" in done.stderr


def test_colours_are_not_taken_for_slices():
    model = sx.load_model("triangle")
    with pytest.raises(sx.UserError, match="channel_axis=2"):
        sx.explain(model, np.zeros((64, 64, 3), np.uint8), "triangle", "seg-grad-cam")


def test_what_cannot_be_trusted_is_said():
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    ex = sx.explain(model, image, "triangle", "misure", iterations=3)
    assert any("nothing could be pruned" in warning for warning in ex.record.warnings)
    ex = sx.explain(sx.load_model("brain-extraction"), sx.read_image(HEAD), "brain", "seg-hires-grad-cam")
    assert any("3 x 3 x 3 cells" in warning for warning in ex.record.warnings)
    black = sx.Image(np.zeros((112, 112), np.uint8), name="black")
    ex = sx.explain(model, black, sx.Target("triangle", region="image"), "seg-hires-grad-cam")
    assert any("all values" in warning for warning in ex.record.warnings)


def test_network_layers_may_be_listed_with_spaces():
    from napari_segxai.cli.flow import _layers

    assert [_layers(text) for text in (None, "", "all", " all ", "a, b@2 ,c")] == [
        None, None, "all", "all", ["a", "b@2", "c"],
    ]  # fmt: skip


def test_a_command_takes_what_its_function_takes_by_a_plain_value():
    functions = {
        "explain": sx.explain, "compare": sx.compare, "sweep": sx.sweep, "flow": sx.information_flow, "channels": sx.channel_importance,
    }  # fmt: skip
    otherwise = {
        "params",
        "parameters",
        "options",
        "labels",
        "progress",
        "target",
        "maps",
        "component",
    }  # --error KIND:NUMBER
    commands = typer.main.get_command(app).commands
    for name, function in functions.items():
        lacks = set(signature(function).parameters) - {one.name for one in commands[name].params}
        assert not lacks - otherwise, name


def test_errors_are_listed_with_the_numbers_by_which_one_is_asked_about(tmp_path):
    truth = str(resource("sample_data/images/triangle_1_truth.png"))
    asked = (TRIANGLE, "--model", "triangle", "--label", "triangle", "--truth", truth)
    found = json.loads(run("errors", *asked, "--json").stdout)
    largest = found[0]
    assert largest["number"] == 1
    told = run("errors", *asked, "--most", "1").stdout.splitlines()
    assert told[0].startswith(f"{largest['error']}:1 ")
    assert told[0].endswith(f"at {largest['center'][0]}, {largest['center'][1]}")
    kinds = {one["error"] for one in found}
    assert len(told) == len(kinds) + 1
    assert told[-1].startswith(f"{len(found)} error(s) of 'triangle'")
    assert ("smaller ones not listed" in told[-1]) == (len(found) > len(kinds))


def test_a_parameter_of_a_method_that_is_given_as_an_option_is_answered_with_how():
    said = explain(
        TRIANGLE, "--model", "triangle", "--label", "triangle", "--out", "x", "--layer", "last"
    ).stderr
    assert "layer is a parameter of methods: -p layer=VALUE." in said
    assert "-p" not in explain(TRIANGLE, "--modle", "triangle").stderr
