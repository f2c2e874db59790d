"""Copy as Python: a script that is copied makes the same numbers in a process that knows nothing of the window."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from helpers.networks import LinearHead, card
from helpers.scripts import boxed, network, volume
from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core import orientation
from napari_segxai.core.progress import finish
from napari_segxai.gui.manifest.reader import read_volumes
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import python_of

WHOLE = sx.Target("object", "image")


@pytest.fixture
def copy(tmp_path):
    """Explain, and return the map and the script; files that it needs lie in tmp_path."""

    def make(model, image, target, method="vanilla-gradient", paths=(), **asked):
        job = ExplanationPlan.make(model, image, target, method, device="cpu", **asked)
        explanation, files = finish(explanation_steps(job)), ScriptFiles(paths)
        text = python_of(explanation, job, files)
        if files.wanted:
            assert "..." in text
            files.save_in(tmp_path, image.name)
            text = python_of(explanation, job, files)
        assert "..." not in text
        assert "viewer" not in text
        return explanation, text, files

    return make


def layer_of(path: str) -> ImageLayer:
    [(data, kwargs, _)] = read_volumes(path)
    return ImageLayer(data, **kwargs)


def test_every_kind_of_image_and_region(tmp_path, copy, stored, run_scripts):
    rng, cases, made = np.random.default_rng(0), {}, {}

    def case(name: str, model, image, target=WHOLE, enable=lambda text: text, **asked) -> ScriptFiles:
        explanation, text, files = copy(model, image, target, **asked)
        assert explanation.map.any(), name
        cases[name], made[name] = enable(text), explanation
        return files

    three, flat, colors = stored(3), network(2), network(2, 3)

    def trusting(text: str) -> str:
        code = str(tmp_path / "model 3 1" / "net.py")
        [warning] = [line for line in text.splitlines() if code in line]
        assert warning.startswith("# This model runs the Python module net in")
        line, enabled = [line for line in text.splitlines() if "sx.load_model(" in line]
        assert enabled == f"# {line[:-1]}, trust=True)"
        return text.replace(line, "", 1).replace(enabled, enabled.removeprefix("# "))

    def at_hand(ndim: int, inputs: int = 1):
        sizes = f"{ndim}, 4, inputs={inputs}"

        def make(text: str) -> str:
            assert "# The network, a LinearHead, was made in a script or in the console, and no file" in text
            path = str(Path(__file__).parents[2] / "helpers")
            own = f"import sys\nsys.path.append({path!r})\nimport networks\nnetwork = networks.LinearHead({sizes})"
            return text.replace("network = make_network()", own)

        return make

    # a volume that is stored in another order than it is shown in, with regions in the axes that are shown
    scan = sx.image_of_layer(layer_of(volume(tmp_path / "scan.nii.gz")))
    assert scan.spatial_shape == (6, 7, 5)
    files = case(
        "volume", three, scan, sx.Target("object", sx.Point((1, 5, 4)), score="probability"), trusting
    )
    assert not files.wanted
    case("component", three, scan, sx.Target("object", sx.Component((1, 5, 4)), reduction="sum"), trusting)
    case("box", three, scan, sx.Target("object", sx.Box((1, 2, 0), (3, 6, 3))), trusting)
    files = case("drawn", three, scan, sx.Target("object", boxed((6, 7, 5))), trusting)
    assert [path.name for path in files.written] == ["region.nii.gz"]
    case("slice", flat, scan, sx.Target("object", boxed((6, 7, 5))), at_hand(2), slice=2)

    case("sagittal", flat, scan.across(2), sx.Target("object", boxed((6, 7, 5))), at_hand(2), slice=2)
    assert "slice=2, axis=2" in cases["sagittal"]

    # a time point, and four sequences in the place of time
    series = layer_of(volume(tmp_path / "series.nii", (7, 6, 5, 3)))
    files = case("frame", three, sx.image_of_layer(series, frame=2), enable=trusting)
    assert "series.nii').frame(2)" in cases["frame"]
    assert not files.wanted
    sequences = sx.read_image(volume(tmp_path / "sequences.nii.gz", (7, 6, 5, 4)), channel_axis=3)
    case("sequences", network(3, 4), sequences, enable=at_hand(3, 4))
    assert "channel_axis=3" in cases["sequences"]

    # a volume that was moved, or changed, since it was read is not the file's any more
    moved = layer_of(volume(tmp_path / "moved.nii.gz"))
    moved.translate = moved.translate + 5.3
    resampling = network(3, grid={"spacing": [1.7] * 3})
    files = case("moved", resampling, sx.image_of_layer(moved), enable=at_hand(3))
    assert [path.name for path in files.written] == ["image.nii.gz"]
    changed = layer_of(volume(tmp_path / "changed.nii.gz"))
    changed.data = changed.data * 2
    files = case(
        "changed", three, sx.image_of_layer(changed), sx.Target("object", boxed((6, 7, 5))), trusting
    )
    assert [path.name for path in files.written] == ["image.nii.gz", "region.nii.gz"]

    # layers without a file: plain, with a spacing, with channels, of odd types and shapes
    plain = ImageLayer(rng.random((3, 20, 18)), name="of numbers", scale=(2, 0.3, 0.3), units="um")
    files = case(
        "without file",
        network(3),
        sx.image_of_layer(plain),
        sx.Target("object", boxed((3, 20, 18))),
        at_hand(3),
    )
    written = sx.read_image(files.written[0])  # the file keeps what the layer says of its size
    assert (written.spacing, written.units) == ((2, 0.3, 0.3), "um")
    numbers = sx.image_of_layer(plain).across(1)
    case("across", flat, numbers, sx.Target("object", boxed((3, 20, 18))), at_hand(2), slice=4)
    lone = [ImageLayer(rng.random((20, 18), np.float32), name=f"stain {k}") for k in range(3)]
    joined = sx.join_channels([sx.image_of_layer(layer) for layer in lone])
    case("joined", colors, joined, WHOLE, at_hand(2, 3))
    integers = ImageLayer(rng.integers(0, 2**40, (20, 18)), name="integers")
    case("integers", flat, sx.image_of_layer(integers), sx.Target("object", boxed((20, 18))), at_hand(2))
    many = ImageLayer(rng.random((3, 20, 18), np.float32), name="channels")
    image = sx.image_of_layer(many, channels=3)
    assert image.channel_axis == 0
    case("channels", colors, image, sx.Target("object", boxed((20, 18))), at_hand(2, 3))
    rgb = ImageLayer(rng.integers(0, 255, (20, 18, 3), np.uint8), rgb=True, name="rgb")
    case("rgb", colors, sx.image_of_layer(rgb), WHOLE, at_hand(2, 3))

    # files that napari's own reader opened
    tifffile.imwrite(tmp_path / "stack.tif", rng.random((4, 20, 18), np.float32), photometric="minisblack")
    stack = ImageLayer(tifffile.imread(tmp_path / "stack.tif"), name="stack", scale=(3, 1, 1))
    files = case(
        "stack", network(3), sx.image_of_layer(stack), enable=at_hand(3), paths=[str(tmp_path / "stack.tif")]
    )
    assert not files.wanted
    assert f"sx.read_image({str(tmp_path / 'stack.tif')!r})" in cases["stack"]

    # TorchScript with its card beside it
    torch.jit.script(LinearHead(2, 4)).save(str(tmp_path / "net.pt"))
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card()))
    script = sx.load_model(tmp_path / "net.pt")
    case(
        "torchscript",
        script,
        sx.image_of_layer(integers),
        method="rise",
        masks=5,
        seed=7,
        precision="float32",
    )
    assert "precision='float32'" in cases["torchscript"]

    found = run_scripts(cases)
    for name, explanation in made.items():
        image = explanation.image
        ours, theirs = explanation.map, found[name]["map"]
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
            # with the axes of the file: turn them to those that are shown
            file = sx.read_image(image.path)
            theirs = sx.Image(theirs, affine=file.affine)
            theirs = orientation.apply(theirs.array, theirs.to_display)
        np.testing.assert_array_equal(theirs, ours, err_msg=name)


@pytest.fixture
def docks(viewer, stored, wait):
    """A layer without a file, a drawn region, a truth, and docks with a model from a folder."""
    rng = np.random.default_rng(1)
    viewer.add_image(rng.random((20, 18), np.float32), name="drawn on", scale=(0.3, 0.4), units="um")
    for name, mask in (("where", boxed((20, 18))), ("true", rng.random((20, 18)) > 0.6)):
        layer = viewer.add_labels(mask.astype(np.uint8), name=name)
        layer.scale, layer.units = (0.3, 0.4), "um"
    viewer.layers.selection.active = viewer.layers["drawn on"]
    model = stored(2)

    def open_(name: str):
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
        panel.model_box.open(model.path, trust=True)
        form = panel.fields
        form.region_box.combo.setCurrentText("where")
        if form.label_box is not None:
            form.label_box.setCurrentText("object")
        if form.truth_box is not None:
            form.truth_box.setCurrentText("true")
        wait(lambda: panel.model_box.entry.model is not None)
        return panel

    return open_


def test_every_dock(viewer, docks, wait, tmp_path, run_scripts, monkeypatch):
    texts, ours = {}, {}

    def run(panel, start=None) -> None:
        wait(lambda: panel.run_bar.run.isEnabled())
        (start or panel.run_bar.run.click)()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running, 120)
        assert not panel.run_bar.status.styleSheet(), panel.run_bar.status.text()

    asked = []
    folders = ["", str(tmp_path / "kept")]
    (tmp_path / "kept").mkdir()
    ask = lambda parent, caption, near: asked.append(caption) or folders.pop(0)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", ask)

    def copy(panel, name: str) -> None:
        text = panel.copy_as_python(None if name == "explain" else tmp_path / "kept")
        assert QApplication.clipboard().text() == text
        line, enabled = [line for line in text.splitlines() if "sx.load_model(" in line]
        texts[name] = text.replace(line, "", 1).replace(enabled, enabled.removeprefix("# "))

    # explain, and its checks: where to save is asked, and a no is a no
    panel = docks("Explain")
    panel.fields.method_box.setCurrentIndex([m.name for m in panel.fields.methods].index("seg-grad-cam"))
    panel.fields.target_fields.score_box.setCurrentText("probability")
    panel.fields.target_fields.seed_box.setValue(5)
    run(panel)
    run(panel, partial(panel.check, "other-seed"))
    QApplication.clipboard().setText("as before")
    assert panel.copy_as_python() == ""
    assert QApplication.clipboard().text() == "as before"
    needs = "a file of the image drawn on and the drawn region"
    assert panel.run_bar.status.text() == f"Nothing was copied: the script needs {needs}."
    copy(panel, "explain")
    assert [needs in caption for caption in asked] == [True, True]
    assert "image.tif and region.tif, saved in" in panel.run_bar.status.text()
    numbers = [row["number"] for row in panel.explanation.record.trust]
    assert len(numbers) == 1
    ours["explain"] = {"map": panel.explanation.map, "numbers": np.array(numbers, float)}
    saliency = next(layer for layer in viewer.layers if layer.name.startswith("saliency"))

    # compare, with a map that is there and a truth
    panel = docks("Compare and evaluate")
    panel.image_box.setCurrentText("drawn on")
    panel.fields.target_fields.score_box.setCurrentText("probability")
    panel.fields.methods.tick(["rise"], [saliency])
    panel.fields.methods.set_values("rise", {"masks": 6})
    panel.fields.metrics.tree.tick(["dice-explained", "f1-mask"])
    panel.fields.metrics.form.set_values({"chance": 3})
    run(panel)
    copy(panel, "compare")
    rows = np.array([row["value"] for row in panel.comparison.rows], float)
    ours["compare"] = {**panel.comparison.maps, "rows": rows}

    # information flow, with a truth
    panel = docks("Information flow")
    panel.image_box.setCurrentText("drawn on")
    run(panel)
    copy(panel, "flow")
    tiles = {f"{label} {layer}": tile.map for (label, layer), tile in panel.flow.tiles.items()}
    ours["flow"] = {**tiles, "rows": np.array([row["dice_truth"] for row in panel.flow.rows], float)}

    panel = docks("Sweep parameters")
    panel.image_box.setCurrentText("drawn on")
    panel.fields.method_box.setCurrentIndex(panel.fields.method_box.findData("rise"))
    panel.fields.form.set_values({"masks": 6})
    panel.fields.metrics.form.set_values({"chance": 3})
    run(panel)
    copy(panel, "sweep")
    rows = np.array([row["value"] for row in panel.sweep.comparison.rows], float)
    ours["sweep"] = {**panel.sweep.comparison.maps, "rows": rows}

    # nothing of an earlier script is written over
    assert len({path.name for path in (tmp_path / "kept").iterdir()}) == 4
    found = run_scripts(texts)
    for name, expected in ours.items():
        assert found[name].keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_array_equal(found[name][key], values, err_msg=f"{name}: {key}")
