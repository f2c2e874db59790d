"""Results that were opened from their folders in a real window: copied as Python, run again, saved, and shown by their docks."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from helpers.forks import Fork, be_new
from helpers.networks import LinearHead, card, planted_image
from helpers.scripts import WITHOUT_FIGURES
from qtpy.QtWidgets import QApplication, QMessageBox
from safetensors.torch import save_file
from skimage.io import imread, imsave

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.gui import worker
from napari_segxai.io.saving import complete

DOCKS = {
    "explanation": "Explain",
    "information flow": "Information flow",
    "comparison": "Compare and evaluate",
    "sweep": "Sweep parameters",
}

RUN = """
import os, runpy, sys
import numpy as np
for folder in sys.argv[1:]:
    os.chdir(folder)
    made = runpy.run_path("script.py")
    if "explanation" in made:
        found = {"map": made["explanation"].map}
    elif "flow" in made:
        found = {f"{label} {layer}": tile.map for (label, layer), tile in made["flow"].tiles.items()}
        rows = [[row[name] for name in ("dice_truth", "lost", "lost_zero")] for row in made["flow"].rows]
        found["rows"] = np.array(rows, float)
    else:
        comparison = made["comparison"] if "comparison" in made else made["sweep"].comparison
        found = dict(comparison.maps)
        found["rows"] = np.array([row["value"] for row in comparison.rows], float)
    np.savez("found.npz", **found)
"""


def numbers(result) -> dict[str, np.ndarray]:
    """Return what the script above writes of a result."""
    if isinstance(result, sx.Explanation):
        return {"map": result.map}
    if isinstance(result, sx.Flow):
        maps = {f"{label} {layer}": tile.map for (label, layer), tile in result.tiles.items()}
        rows = [[row[name] for name in ("dice_truth", "lost", "lost_zero")] for row in result.rows]
        return {**maps, "rows": np.array(rows, float)}
    comparison = result.comparison if isinstance(result, sx.Sweep) else result
    return {**comparison.maps, "rows": np.array([row["value"] for row in comparison.rows], float)}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name], name)


def held(dock):
    """Return what a dock shows."""
    return next(
        getattr(dock, name) for name in ("explanation", "flow", "comparison", "sweep") if hasattr(dock, name)
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of every kind, of one image; with all that can be given."""
    folder = tmp_path_factory.mktemp("saved")
    whole = imread(resource("sample_data/images/triangle_1.png"))
    imsave(folder / "triangle.png", whole[32:, :80])  # where the triangle is
    model, image = sx.load_model("triangle"), sx.read_image(folder / "triangle.png")
    region = np.zeros(image.spatial_shape, bool)
    region[:58, 30:] = True
    truth = np.roll(model.predict(image) == 1, 3, axis=0)
    target = sx.Target("triangle", region=region, score="probability")
    metrics = {"metrics": ["dice-explained", "f1-mask"], "chance": 3, "truth": truth}
    few, many = "rise:masks=04", ("rise", {"masks": 6})
    found = {
        "explanation": sx.explain(model, image, target, "rise", masks=6, seed=3),
        "information flow": sx.information_flow(
            model,
            image,
            ["triangle"],
            layers=["encoder2", "bottleneck", "decoder1"],
            truth=truth.astype(np.uint8),
            causal=True,
            ablation="both",
            seed=1,
        ),
        "comparison": sx.compare(
            model, image, target, [few, many], maps={"own": truth * 0.5}, controls=2, seed=2, **metrics
        ),
        "sweep": sx.sweep(model, image, target, "rise:cells=5", {"masks": [4, 6]}, seed=4, **metrics),
    }
    for kind, result in found.items():
        result.save(folder / kind)
    return folder, found


@pytest.fixture
def open_dock(viewer):
    def open_(kind: str):
        _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", DOCKS[kind])
        return dock

    return open_


def settled(dock) -> bool:
    return not dock.run_bar.is_running and dock.opened._waiting is None and worker._running is None


def copied_or_refused(dock):
    """Return a condition: something is on the clipboard, or the dock has said why not."""
    return lambda: (
        QApplication.clipboard().text() != "" or (settled(dock) and bool(dock.run_bar.status.styleSheet()))
    )


def test_every_kind_is_copied_as_python_and_run_again(viewer, open_dock, saved, wait, tmp_path):
    folder, found = saved
    scripts = {}
    for kind, result in found.items():
        viewer.layers.clear()
        dock = open_dock(kind)
        buttons = (dock.run_bar.copy, dock.run_bar.again, dock.run_bar.save)
        assert not any(button.isEnabled() for button in buttons)
        viewer.open(folder / kind, plugin="napari-segxai")
        assert all(button.isEnabled() and not button.isHidden() for button in buttons), kind
        viewer.layers.selection.active = viewer.layers[0]  # the image
        assert not any(button.isEnabled() for button in buttons)
        viewer.layers.selection.active = viewer.layers[-1]
        # copied: the result is read in the worker thread, then shown as after a run
        QApplication.clipboard().clear()
        assert dock.copy_as_python(tmp_path) == ""
        assert dock.run_bar.is_running
        wait(copied_or_refused(dock))
        scripts[kind] = QApplication.clipboard().text()
        assert "sx.load_model('triangle')" in scripts[kind], dock.run_bar.status.text()
        assert dock.image_box.currentText() == "triangle"
        shown = held(dock)
        assert shown is not result
        same(numbers(shown), numbers(result))
        layers = len(viewer.layers)
        # run again: exactly what was asked, though the form says something else
        dock.fields.target_fields.seed_box.setValue(9)
        dock.run_bar.again.click()
        wait(lambda dock=dock, shown=shown: settled(dock) and held(dock) is not shown)
        assert not dock.run_bar.status.styleSheet(), dock.run_bar.status.text()
        same(numbers(held(dock)), numbers(result))
        # the script of what was run again is the same; and the dock does not go back to what is still selected
        wait(lambda dock=dock: not getattr(dock, "_to_show", None))
        QApplication.processEvents()  # the layer that was selected is selected again
        assert (
            dock.copy_as_python(tmp_path).partition("model = ")[2] == scripts[kind].partition("model = ")[2]
        )
        assert len(viewer.layers) >= layers
    texts = {kind: tmp_path / kind.replace(" ", "_") for kind in scripts}
    for kind, place in texts.items():
        place.mkdir()
        (place / "script.py").write_text(scripts[kind])
    done = Fork(partial(be_new, "-c", WITHOUT_FIGURES + RUN, *map(str, texts.values())), tmp_path / "said")
    assert done.wait() == 0, done.said
    for kind, place in texts.items():
        same(dict(np.load(place / "found.npz")), numbers(found[kind]))


def test_what_is_shown_of_an_opened_comparison_works(viewer, open_dock, saved, wait, tmp_path):
    """Rows show the layers that were opened, checks and the inspector run, and everything is saved again."""
    folder, _ = saved
    dock = open_dock("comparison")
    viewer.open(folder / "comparison", plugin="napari-segxai")
    layers = list(viewer.layers)
    dock.export.folder(tmp_path / "again")
    wait(lambda: (tmp_path / "again" / "record.json").exists() and settled(dock))
    files = [
        json.loads((place / "record.json").read_text())["files"]
        for place in (folder / "comparison", tmp_path / "again")
    ]
    assert files[0].keys() == files[1].keys()
    for name in ("own", "rise masks=04", "rise masks=6"):
        dock.results.table.select(name)
        seen = [layer.metadata.get("segxai_map") for layer in viewer.layers if layer.visible]
        assert [one for one in seen if one] == [name]
    assert list(viewer.layers) == layers  # no map is added once more
    wait(lambda: dock.results.inspector.found is not None and worker._running is None)
    dock.check("other-seed")
    wait(lambda: settled(dock))
    assert [row["check"] for row in dock.comparison.explanations["rise masks=6"].record.trust] == [
        "other-seed"
    ]
    # Explain takes one of the maps
    explain = open_dock("explanation")
    viewer.layers.selection.active = layers[-1]
    explain.check("other-seed")
    wait(
        lambda: (
            settled(explain) and explain.explanation is not None and bool(explain.explanation.record.trust)
        )
    )
    assert explain.explanation.record.parameters["masks"] == 6


def test_an_opened_flow_goes_on_in_its_dock(viewer, open_dock, saved, wait, tmp_path):
    folder, _ = saved
    model = sx.register_model(sx.load_model(LinearHead(), card=card(name="of few layers")))
    flow = sx.information_flow(model, sx.read_image(folder / "triangle.png"), ["object"], layers="all")
    flow.save(tmp_path / "flow", tiles=[("object", flow.layers[-1].name)])
    dock = open_dock("information flow")
    viewer.open(tmp_path / "flow", plugin="napari-segxai")
    dock.export.table(tmp_path / "table.csv")
    wait(lambda: (tmp_path / "table.csv").exists() and settled(dock))
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "flow" / "flow.csv").read_bytes()
    dock.fields.causal.click()
    wait(lambda: settled(dock) and dock.flow.rows[0]["lost"] is not None)
    script = dock.copy_as_python(tmp_path)
    assert "layers='all'" in script
    assert "causal=True" in script
    # the whole can be saved from the dock, with the tiles that are marked
    dock.results.grid.select(("object", flow.layers[0].name))
    dock.export.folder(tmp_path / "whole")
    wait(lambda: (tmp_path / "whole" / "record.json").exists() and settled(dock))
    np.testing.assert_equal(sx.load_flow(tmp_path / "whole").rows, dock.flow.rows)
    assert json.loads((tmp_path / "whole" / "record.json").read_text())["tiles"][0][:2] == [
        "object",
        flow.layers[0].name,
    ]
    before = len(viewer.layers)
    dock.results.wanted.emit("object", flow.layers[0].name)
    wait(lambda: len(viewer.layers) > before and dock._all_shown())
    # the tile that was saved is an explanation, too
    explain = open_dock("explanation")
    tile = next(layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency")
    viewer.layers.selection.active = tile
    explain.run_again()
    wait(lambda: settled(explain) and explain.explanation is not None and explain._all_shown())
    wanted = flow.explanation("object", flow.layers[-1].name).map
    np.testing.assert_array_equal(explain.explanation.map, wanted)


def test_a_cell_of_an_opened_sweep_shows_its_map(viewer, open_dock, saved, wait, tmp_path):
    folder, found = saved
    dock = open_dock("sweep")
    viewer.open(folder / "sweep", plugin="napari-segxai")
    best = viewer.layers[-1]
    dock.save(tmp_path / "again")
    wait(lambda: (tmp_path / "again" / "record.json").exists() and settled(dock))
    assert dock.fields.grid_box.grid() == {"masks": [4, 6]}
    index = list(found["sweep"].comparison.maps).index(best.metadata["segxai_map"])
    layers = len(viewer.layers)
    dock.results.select(index)
    assert best.visible
    assert len(viewer.layers) == layers
    dock.results.select(1 - index)
    assert not best.visible
    assert len(viewer.layers) == layers + 1


@pytest.mark.parametrize("kind", DOCKS)
def test_what_cannot_be_taken_says_why(viewer, open_dock, saved, wait, tmp_path, kind):
    folder, _ = saved
    place = tmp_path / "copied"
    shutil.copytree(folder / kind, place)

    def change(model=None, **image) -> None:
        record = json.loads((place / "record.json").read_text())
        del record["files"]
        record["model"] |= model or {}
        record["image"] |= image
        (place / "record.json").unlink()
        complete(place, record)

    def refused(words: str) -> None:
        viewer.layers.clear()
        viewer.open(place, plugin="napari-segxai")
        dock.run_bar.again.click()
        wait(lambda: settled(dock) and bool(dock.run_bar.status.styleSheet()))
        assert words in dock.run_bar.status.text()
        assert held(dock) is None

    dock = open_dock(kind)
    change(model={"sha256": "0" * 64})
    refused("has other weights")
    if kind != "comparison":
        return  # the rest is one mechanism
    change(model={"name": "of somebody", "path": str(tmp_path / "nowhere")})
    refused("the model of somebody is not in the list")
    change(model={"path": "//host/share/model"})
    refused("the model of somebody is not in the list")
    change(path=str(tmp_path / "gone.png"))
    refused("cannot be read")


def test_a_model_is_opened_from_its_path_after_a_yes(viewer, open_dock, wait, tmp_path, monkeypatch):
    code = tmp_path / "model"
    code.mkdir()
    (code / "net.py").write_text(
        (Path(__file__).parents[1] / "helpers" / "networks.py").read_text().partition("class PatchSwitch")[0]
    )
    fields = card(
        architecture="net:LinearHead", arguments={"ndim": 2, "channels": 4, "inputs": 1}, name="with code"
    )
    (code / "model.yaml").write_text(yaml.safe_dump(fields))
    save_file(LinearHead(2, 4).state_dict(), code / "weights.safetensors")
    tifffile.imwrite(tmp_path / "one.tif", planted_image().array)
    model, image = sx.load_model(code, trust=True), sx.read_image(tmp_path / "one.tif")
    target = sx.Target("object", region="image")
    found = sx.compare(model, image, target, ["vanilla-gradient"], metrics=["ips"])
    found.save(tmp_path / "c")
    asked = []
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(
        QMessageBox, "question", lambda *args: asked.append(args[2]) or answers[len(asked) - 1]
    )
    dock = open_dock("comparison")
    viewer.open(tmp_path / "c", plugin="napari-segxai")
    dock.run_again()
    wait(lambda: settled(dock) and bool(dock.run_bar.status.styleSheet()))
    assert "its code was not trusted" in dock.run_bar.status.text()
    dock.run_again()
    wait(lambda: settled(dock) and dock.comparison is not None and dock.comparison.created == "")
    assert len(asked) == 2
    assert dock.model_box.entry.path == code
    np.testing.assert_array_equal(dock.comparison.maps["vanilla-gradient"], found.maps["vanilla-gradient"])


def test_a_run_of_the_dock_is_meant_until_another_layer_is_selected(viewer, open_dock, saved, wait, tmp_path):
    folder, found = saved
    viewer.open(folder / "information flow", plugin="napari-segxai")
    dock = open_dock("information flow")  # it hears of what is selected already
    assert dock.run_bar.copy.isEnabled()
    wait(lambda: dock.run_bar.run.isEnabled())
    dock.run_bar.run.click()
    wait(lambda: settled(dock) and dock.flow is not None)
    own = dock.flow
    assert "causal=True" not in dock.copy_as_python(tmp_path)
    assert dock.flow is own
    dock.run_bar.again.click()
    wait(lambda: settled(dock) and dock.flow is not own)
    assert all(tile.lost is None for tile in dock.flow.tiles.values())
    chosen = viewer.layers[-1]
    viewer.layers.selection.active = viewer.layers[0]
    assert dock.run_bar.copy.isEnabled()  # its own is still there
    viewer.layers.selection.active = chosen
    QApplication.clipboard().clear()
    dock.copy_as_python(tmp_path)
    wait(lambda: QApplication.clipboard().text() != "")
    same(numbers(dock.flow), numbers(found["information flow"]))


def test_opening_can_be_cancelled_and_does_not_hold_the_window(
    viewer, open_dock, saved, wait, tmp_path, monkeypatch
):
    """It is done in the worker thread, behind what runs there."""
    folder, _ = saved
    dock = open_dock("comparison")
    viewer.open(folder / "comparison", plugin="napari-segxai")
    threads = []
    load = dock._load
    monkeypatch.setattr(
        dock.opened, "_load", lambda place: threads.append(threading.current_thread()) or load(place)
    )
    dock.run_again()
    assert "opening" in dock.run_bar.status.text()
    dock.run_bar.run.click()  # Cancel
    wait(lambda: settled(dock))
    assert dock.comparison is None
    assert dock.run_bar.copy.isEnabled()
    QApplication.clipboard().clear()
    dock.copy_as_python(tmp_path)
    wait(lambda: settled(dock) and dock.comparison is not None)
    assert threading.main_thread() not in threads
