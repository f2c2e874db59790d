"""Copy as Python: a script that is copied makes the same numbers in a process that knows nothing of the window."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import napari.plugins
import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
import yaml
from helpers.networks import LinearHead, card
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QApplication, QFileDialog
from safetensors.torch import save_file

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core import orientation
from napari_segxai.core.progress import finish
from napari_segxai.datasets.resources import resource
from napari_segxai.gui.manifest.reader import read_volumes
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import model_lines, python_of
from napari_segxai.gui.viewer.shown import joined, shown
from napari_segxai.models.card import ModelCard

TRIANGLE = resource("sample_data/images/triangle_1.png")
PLACES = np.array([[0, 0, -2.0, 9], [1.5, 0, 0, -8], [0, -3.1, 0, 7], [0, 0, 0, 1]])  # stored as A, I, L

WHOLE = sx.Target("object", "image")

RUN = """
import os, runpy, sys
import numpy as np
for folder in sys.argv[1:]:
    os.chdir(folder)
    made = runpy.run_path("script.py")
    if "explanation" in made:
        found = {"map": made["explanation"].map}
        if made["explanation"].record.trust:
            found["numbers"] = np.array([row["number"] for row in made["explanation"].record.trust], float)
    elif "flow" in made:
        found = {f"{label} {layer}": tile.map for (label, layer), tile in made["flow"].tiles.items()}
        found["rows"] = np.array([row["dice_truth"] for row in made["flow"].rows], float)
    else:
        comparison = made["comparison"] if "comparison" in made else made["sweep"].comparison
        found = dict(comparison.maps)
        found["rows"] = np.array([row["value"] for row in comparison.rows], float)
    np.savez("found.npz", **found)
"""


@pytest.fixture
def run_scripts(tmp_path):
    """Run scripts in one new process, each in a folder of its own; returns what each of them found."""

    def run(texts: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
        folders = {}
        for name, text in texts.items():
            folders[name] = tmp_path / "runs" / name.replace(" ", "_")
            folders[name].mkdir(parents=True)
            (folders[name] / "script.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, folders.values())],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return {name: dict(np.load(folder / "found.npz")) for name, folder in folders.items()}

    return run


def network(ndim: int, inputs: int = 1, **changes) -> sx.SegmentationModel:
    fields = card(ndim, channels=[f"c{k}" for k in range(inputs)], **changes)
    return sx.load_model(LinearHead(ndim, 4, inputs=inputs), card=fields)


@pytest.fixture
def stored(tmp_path):
    """A model folder with code of its own, whose weights are those of `network`."""

    def make(ndim: int, inputs: int = 1, **changes) -> sx.SegmentationModel:
        folder = tmp_path / f"model {ndim} {inputs}"
        folder.mkdir()
        (folder / "net.py").write_text(
            (Path(__file__).parents[2] / "helpers" / "networks.py")
            .read_text()
            .partition("class PatchSwitch")[0]
        )
        fields = card(ndim, architecture="net:LinearHead", **changes)
        fields["arguments"] = {"ndim": ndim, "channels": 4, "inputs": inputs}
        (folder / "model.yaml").write_text(yaml.safe_dump(fields))
        save_file(LinearHead(ndim, 4, inputs=inputs).state_dict(), folder / "weights.safetensors")
        return sx.load_model(folder, trust=True)

    return make


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


def volume(path: Path, shape=(7, 6, 5), affine=PLACES) -> str:
    values = np.random.default_rng(len(shape)).random(shape, np.float32)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return str(path)


def layer_of(path: str) -> ImageLayer:
    [(data, kwargs, _)] = read_volumes(path)
    return ImageLayer(data, **kwargs)


def boxed(shape) -> np.ndarray:
    """Half of a grid, off its middle along every axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(1, max(2, n - 2)) for n in shape)] = True
    mask[(0,) * len(shape)] = True
    return mask


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


def test_what_a_script_says_of_a_model(tmp_path, stored):
    assert model_lines(sx.load_model("triangle")) == ["model = sx.load_model('triangle')"]
    own = stored(2)
    other = sx.load_model(
        own, card=card(name="another card", arguments={"ndim": 2}, architecture="net:LinearHead")
    )
    lines = model_lines(other)
    assert lines[0].startswith("card = {'name': 'another card'")
    assert lines[-1] == f"# model = sx.load_model({str(own.path)!r}, card=card, trust=True)"
    with pytest.raises(NameError, match="make_network"):
        exec("\n".join(["import napari_segxai as sx", *model_lines(network(2))]))


def test_arrays_that_no_picture_holds_are_kept_by_numpy(tmp_path):
    files, image = ScriptFiles(), sx.Image(np.zeros((20, 18), np.float32), name="grey")
    stack = np.stack([boxed((20, 18)), ~boxed((20, 18))])  # the truth of labels that may overlap
    assert files.array(stack, image, image, "the truth", "truth") == "..."
    files.save_in(tmp_path, image.name)
    code = files.array(stack, image, image, "the truth", "truth")
    assert files.opening()[-1] == f"folder = Path({str(tmp_path / 'script_grey-1')!r})"
    space = {}
    exec("\n".join([*files.opening(), f"found = {code}"]), space)
    np.testing.assert_array_equal(space["found"], stack)
    assert [path.name for path in files.folder.iterdir()] == ["truth.npy"]


@pytest.fixture
def opened():
    """A viewer without a window that opens files with the reader that is named."""
    napari.plugins._initialize_plugins()
    return ViewerModel()


def read_by(code: str) -> np.ndarray:
    return eval(code, {"sx": sx}).array


def test_scripts_read_the_files_of_joined_channels(tmp_path, opened):
    paths = [volume(tmp_path / name) for name in ("t1.nii.gz", "t2.nii.gz")]
    values = nib.load(paths[1]).get_fdata(dtype=np.float32) + 1
    nib.save(nib.Nifti1Image(values, PLACES), paths[1])
    layers = opened.open(paths, plugin="napari-segxai")[::-1]  # in the order of the model, not of the files
    image = joined(layers, opened, ModelCard.model_validate(card(3, channels=["a", "b"]))).image
    assert image.array.shape == (2, 6, 7, 5)
    layers[1].data += 7  # what was explained is what counts
    files = ScriptFiles()
    code, seen = files.image(image, "the image")
    assert code == f"sx.read_image({paths[::-1]!r})"
    assert not files.wanted
    assert seen.spatial_shape == (7, 6, 5)  # as the first file stores it
    np.testing.assert_array_equal(read_by(code)[0], values)
    again = joined(layers, opened, ModelCard.model_validate(card(3, channels=["a", "b"]))).image
    assert ScriptFiles().image(again, "the image")[0] == "..."  # one of them is in no file now


@pytest.mark.parametrize(
    ("axes", "said", "note"),
    [
        (None, ", axes='ZYX')", "2D model: plane 2 of axis 0, which is shown."),
        ("ZYX", ", axes='ZYX')", "2D model: slice z = 2, which is shown."),
        ("TYX", ").frame(2)", "Frame t = 2, which is shown."),
        ("CYX", ").frame(2)", "The model takes one channel: channel 2, which is shown."),
    ],
)
def test_scripts_read_a_series_as_it_was_read(tmp_path, opened, axes, said, note):
    """The file says time, but napari's own reader does not pass it on."""
    stack, path = np.arange(5 * 9 * 8, dtype=np.uint16).reshape(5, 9, 8), str(tmp_path / "series.tif")
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    [layer] = opened.open(path, plugin="napari")
    found = shown(layer, opened, ModelCard.model_validate(card(2)), axes=axes)
    assert found.notes == (note,)
    files = ScriptFiles()
    code, _ = files.image(found.image, "the image")
    assert code == f"sx.read_image({path!r}{said}"
    np.testing.assert_array_equal(read_by(code), found.image.array)


def test_folders_of_scripts_have_short_names(tmp_path):
    files = ScriptFiles()
    files.save_in(tmp_path, "a picture whose name goes on and on, as those of microscopes do")
    assert len(files.folder.name) < 45
