"""What was saved can be opened: value by value, with the same layers, the same record, and the same files when saved again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from helpers.labels import nested, regions
from helpers.networks import PatchSwitch, card, patch_of, planted_image, planted_model
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.explain.again import plan_again
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core.progress import finish
from napari_segxai.gui.explain.dock import ExplainDock
from napari_segxai.gui.manifest.reader import get_reader
from napari_segxai.gui.viewer.displayed import displayed_image


def same(a, b) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f") and np.shape(a) == np.shape(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def drawn_region():
    region = np.zeros((32, 32), bool)
    region[3:20, 5:9] = True
    return sx.Target("object", region=region)


def of_a_slice():
    model = sx.load_model(PatchSwitch(patch_of(2)), card=card(grid={"size": [32, 32]}))
    volume = np.zeros((32, 5, 32), np.float32)
    volume[:, 2] = planted_image().array
    return sx.explain(model, sx.Image(volume), "object", "seg-grad-cam", layer="mix", slice=2, axis=1), model


def of_a_frame():
    """One time point of a film with channels that lies turned in a viewer."""
    film = np.stack([planted_image().array * k for k in (0, 1, 2)])
    viewer = ViewerModel()
    layer = viewer.add_layer(
        ImageLayer(film, name="film", scale=(3, 0.5, 2), axis_labels=("t", "y", "x"), units=("s", "um", "um"))
    )
    viewer.dims.set_point(0, 3.0)
    model = planted_model()
    return sx.explain(model, displayed_image(layer, viewer, 1).image, "object", "occlusion", patch=8), model


def oblique(path: Path):
    model = planted_model(3)
    affine = np.array([[0, 1.5, 0.2, -7], [-2, 0, 0, 3], [0, 0.3, 2.5, 1], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(planted_image(3).array, affine), path / "head.nii.gz")
    image = sx.read_image(path / "head.nii.gz")
    return sx.explain(model, image, "object", "misure", iterations=4), model


def explained(kind: str, path: Path):
    """Return an explanation and its model."""
    flat, image = planted_model(), planted_image()
    if kind == "flat":
        return sx.explain(flat, image, "object", "misure", iterations=4), flat
    if kind == "drawn":
        return sx.explain(flat, image, drawn_region(), "seg-hires-grad-cam", layer="mix"), flat
    if kind == "overlapping":
        model = regions(3)
        return sx.explain(model, nested(3), model.labels[2], "vanilla-gradient"), model
    if kind == "volume":
        box = sx.Target("object", region=sx.Box((1, 2, 3), (4, 9, 9)), score="probability", reduction="sum")
        volume = sx.Image(planted_image(3).array, spacing=(1, 2, 1.5), units="um", name="a/b: ü")
        model = planted_model(3)
        return sx.explain(model, volume, box, "seg-grad-cam", layer="mix"), model
    return {"slice": of_a_slice, "frame": of_a_frame, "oblique": lambda: oblique(path)}[kind]()


@pytest.mark.parametrize("kind", ["flat", "drawn", "overlapping", "volume", "slice", "frame", "oblique"])
def test_a_round_trip_is_exact(kind, tmp_path):
    found, model = explained(kind, tmp_path)
    found.save(tmp_path / "a")
    opened = sx.load_explanation(tmp_path / "a")
    for name in (
        "map",
        "prediction",
        "native",
        "native_affine",
        "maps",
        "masks",
        "stages",
        "stage_table",
        "curves",
    ):
        assert same(getattr(found, name), getattr(opened, name)), name
    assert found.map.dtype == opened.map.dtype
    assert found.prediction.dtype == opened.prediction.dtype
    assert same(found.region, opened.region)
    assert opened.record.as_json() == found.record.as_json()
    assert opened.record.schema == 1
    opened.save(tmp_path / "b")
    files = [json.loads((tmp_path / name / "record.json").read_text())["files"] for name in "ab"]
    differ = {name for name in files[0] if files[0][name] != files[1].get(name)}
    assert differ <= (
        {"saliency.tif"} if kind == "frame" else set()
    )  # every OME-TIFF has an identity of its own
    assert files[0].keys() == files[1].keys()
    for (old, kwargs, role), (new, again, same_role) in zip(
        found.to_layers(3), opened.to_layers(3), strict=True
    ):
        assert same(old, new)
        assert role == same_role
        meta, told = kwargs.pop("metadata"), again.pop("metadata")
        assert same(
            json.loads(json.dumps(kwargs, default=plain)), json.loads(json.dumps(again, default=plain))
        )
        assert (meta["segxai_role"], meta["segxai_name"]) == (told["segxai_role"], told["segxai_name"])
    # what was opened can be asked again: of the image where it has a file, else of the one that is given
    image = opened.image if kind == "oblique" else found.image
    again = finish(explanation_steps(plan_again(opened, model, image=image)))
    np.testing.assert_array_equal(again.map, found.map)
    if kind == "oblique":
        np.testing.assert_array_equal(opened.image.array, found.image.array)
    else:
        with pytest.raises(sx.UserError, match="cannot be read"):
            _ = opened.image.array


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def test_values_are_read_from_the_file_only_if_they_are_those(tmp_path):
    path = tmp_path / "head.nii.gz"
    found, _ = oblique(tmp_path)
    found.save(tmp_path / "a")
    nib.save(nib.Nifti1Image(found.image.array + 1, found.image.affine), path)
    opened = sx.load_explanation(tmp_path / "a")
    np.testing.assert_array_equal(opened.map, found.map)
    with pytest.raises(sx.UserError, match=r"head\.nii\.gz is not there any more, or holds others"):
        _ = opened.image.array


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "flat"
    sx.explain(planted_model(), planted_image(), "object", "rise", masks=4).save(folder)
    return folder


def copy(saved: Path, place: Path, **changes) -> Path:
    """Copy a folder of results with something changed in its record; ... takes a key away."""
    place.mkdir()
    for file in saved.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    record = {**json.loads((saved / "record.json").read_text()), **changes}
    record = {key: value for key, value in record.items() if value is not ...}
    (place / "record.json").write_text(json.dumps(record))
    return place


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": ...}, "an older version.*make it again"),
        ({"schema": 2}, "a newer version.*update"),
        ({"schema": "1"}, "an older version"),
        ({"kind": "sweep"}, "holds a sweep, not an explanation"),
        ({"kind": "nothing"}, "not a record of this program"),
        ({"target": ...}, "lacks what the record of an explanation says"),
        ({"image": {}}, "lacks what the record of an explanation says"),
        ({"maps": {"x": "../../x"}}, "lists no file"),
        ({"files": {"../x": "0"}}, "outside its folder"),
    ],
)
def test_a_record_that_does_not_hold_is_refused(saved, tmp_path, changes, words):
    with pytest.raises(sx.UserError, match=words):
        sx.load_explanation(copy(saved, tmp_path / "x", **changes))


def test_no_image_of_another_computer_is_read(saved, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("napari_segxai.io.image_record.read_image", lambda path, **_: asked.append(path))
    image = json.loads((saved / "record.json").read_text())["image"]
    for k, path in enumerate(["//host/share/x.nii.gz", "\\\\host\\share\\x.nii.gz"]):
        told = {**image, "path": path, "layer": {"source": path}, "channels": [{"path": path, "name": "x"}]}
        opened = sx.load_explanation(copy(saved, tmp_path / str(k), image=told))
        with pytest.raises(sx.UserError, match="cannot be read"):
            _ = opened.image.array
    assert not asked


def test_files_that_were_changed_are_refused(saved, tmp_path):
    folder = copy(saved, tmp_path / "x")
    (folder / "saliency.tif").write_bytes(b"0")
    with pytest.raises(sx.UserError, match=r"saliency\.tif was changed since it was saved"):
        sx.load_explanation(folder)
    (folder / "saliency.tif").unlink()
    with pytest.raises(sx.UserError, match=r"saliency\.tif is missing"):
        sx.load_explanation(folder)
    with pytest.raises(sx.UserError, match="holds no record"):
        sx.load_explanation(tmp_path)


def test_a_folder_that_is_dropped_opens_its_layers(viewer, tmp_path):
    found, _ = oblique(tmp_path)
    found.save(tmp_path / "result")
    for path in (tmp_path / "result", tmp_path / "result" / "record.json"):
        viewer.layers.clear()
        assert get_reader(str(path)) is not None
        viewer.open(path, plugin="napari-segxai")
        names = [kwargs["name"] for _, kwargs, _ in found.to_layers()]
        assert [layer.name for layer in viewer.layers] == ["head", *names]
        assert viewer.layers[-1].metadata["segxai"]["method"] == "misure"
        assert viewer.layers[-1].metadata["segxai_folder"] == str(tmp_path / "result")
    drawn = {layer.metadata["segxai_role"]: layer for layer in viewer.layers if "segxai" in layer.metadata}
    assert [role for role, layer in drawn.items() if getattr(layer, "contour", 0)] == list(found.masks)
    assert drawn["saliency"].colorbar.visible
    viewer.open(tmp_path / "result", plugin="napari-segxai")  # the image is there already
    assert sum(layer.name.startswith("head") for layer in viewer.layers) == 1
    (tmp_path / "head.nii.gz").unlink()
    viewer.layers.clear()
    viewer.open(tmp_path / "result", plugin="napari-segxai")
    assert [layer.name for layer in viewer.layers] == names
    assert get_reader(str(tmp_path)) is None


def test_an_opened_result_is_copied_and_run_again_as_it_was_asked(viewer, wait, tmp_path):
    dock = ExplainDock(viewer)
    viewer.window.add_dock_widget(dock)
    model = planted_model()
    sx.register_model(model, "planted")
    dock.model_box.refresh_registered()
    tifffile.imwrite(tmp_path / "one.tif", planted_image().array)
    region = np.zeros((32, 32), bool)
    region[3:20, 5:9] = True
    target = sx.Target("object", region=region, score="probability")
    found = sx.explain(model, sx.read_image(tmp_path / "one.tif"), target, "rise", masks=6, seed=3)
    found.save(tmp_path / "result")
    viewer.open(tmp_path / "result", plugin="napari-segxai")
    viewer.layers.selection.active = viewer.layers[-1]
    assert dock.run_bar.copy.isEnabled()
    QApplication.clipboard().clear()
    assert dock.copy_as_python(tmp_path) == ""  # it is read in the worker thread first
    wait(lambda: QApplication.clipboard().text() != "")
    script = QApplication.clipboard().text()
    assert "one.tif" in script, dock.run_bar.status.text()
    assert "masks=6" in script
    assert "sx.read_region(" in script
    assert "seed=3" in script
    names = [layer.name for layer in viewer.layers]
    dock.run_again()
    wait(
        lambda: dock.explanation.record.created and len(viewer.layers) > len(names) and not dock.tasks.running
    )
    np.testing.assert_array_equal(dock.explanation.map, found.map)
    assert dock.explanation.record.target == found.record.target
    # the values that were explained are gone
    tifffile.imwrite(tmp_path / "one.tif", planted_image().array + 1)
    viewer.layers.clear()
    viewer.open(tmp_path / "result", plugin="napari-segxai")
    viewer.layers.selection.active = viewer.layers[-1]
    assert dock.copy_as_python(tmp_path) == ""
    wait(lambda: "cannot be read" in dock.run_bar.status.text())
    assert QApplication.clipboard().text() == script
